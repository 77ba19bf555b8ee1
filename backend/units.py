"""Quantities as they enter and leave: checked once at the edge, plain floats inside."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, TypeAdapter

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_LENIENT = TypeAdapter(AwareDatetime)


def _from_rfc3339(value: object) -> object:
    """Read a time with its offset; numbers, dates and naive times are refused."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("a time needs date, time and offset, such as 2026-05-04T17:30:00Z")
    return _LENIENT.validate_python(value)


def _in_utc(value: datetime) -> datetime:
    """The same instant in UTC; the calendar's own ends where the offset leads beyond them."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return FIRST if value.year == 1 else LAST


def _whole(value: object) -> object:
    """JSON knows one kind of number: 5.0 is a whole one (JSON Schema, `integer`)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # PostgreSQL stores no NUL; nobody needs the rest
UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_from_rfc3339), AfterValidator(_in_utc)]
WHOLE = BeforeValidator(_whole)  # after the bounds of a whole number, or OpenAPI would lose them
SocPercent = Annotated[float, Field(ge=0, le=100, examples=[35.0])]
EnergyKwh = Annotated[float, Field(ge=0, le=2_000, examples=[25.5])]
CapacityKwh = Annotated[float, Field(ge=0.1, le=2_000, examples=[75.0])]
PowerKw = Annotated[float, Field(ge=0.1, le=2_000, examples=[150.0])]
ConsumptionWhPerKm = Annotated[float, Field(ge=1, le=5_000, examples=[180.0])]
DistanceKm = Annotated[float, Field(ge=0, le=5_000, examples=[120.0])]
PriceEurPerKwh = Annotated[float, Field(ge=0, le=10, examples=[0.35])]
