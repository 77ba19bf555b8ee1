"""Charging sessions in somebody else's CSV: columns found, rows checked, reasons given."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import isfinite
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from backend.features.sites.service import EPOCH
from backend.units import PowerKw

NEEDED = ("session_id", "site", "station", "arrival", "departure", "energy_kwh")
OPTIONAL = ("user", "done_charging", "requested_kwh", "requested_departure", "max_kw")
SEPARATORS = (",", ";", "\t", "|")
MAX_LINE_BYTES = 1_000_000
MAX_ENERGY_KWH, MAX_POWER_KW = 2_000.0, 2_000.0
POWER = TypeAdapter(PowerKw)
ASSUMED_POWER_KW = 22.0  # of a charger whose power nobody wrote down
LONGEST_STAY = timedelta(days=14)
HOUR = timedelta(hours=1)
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")

NO_UTF8 = "holds bytes that are not UTF-8"
NO_POWER = f"max_kw missing: {ASSUMED_POWER_KW:g} kW assumed, or the mean power where it is higher"


class ImportRefused(ValueError):
    """The import was refused as a whole and nothing was stored; the message says why."""


class RowRefused(ValueError):
    """One row is not a charging session; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row by field; `lines` says where it stands in the file, such as `7` or `7-9`."""

    lines: str
    values: Mapping[str, str]
    fault: str | None = None  # why it could not be split into fields


@dataclass(frozen=True, slots=True)
class Record:
    """A session as the file tells it, times in UTC.

    Attributes:
        charged_until: When the vehicle stopped drawing, recorded or worked out.
        remarks: What was odd and how it was read.
    """

    lines: str
    session_id: str
    site: str
    station: str
    user: str
    arrival: datetime
    departure: datetime
    charged_until: datetime
    energy_kwh: float
    requested_kwh: float | None
    requested_departure: datetime | None
    max_kw: float
    remarks: tuple[str, ...]


class RecordTable:
    """A CSV of sessions, read row by row: UTF-8, separated by comma, semicolon, tab or bar.

    Args:
        raw: The file, at its beginning.
        columns: Names of columns by field, where they differ from the field's.

    Raises:
        ImportRefused: If it is no such file or a needed column is missing.
    """

    def __init__(self, raw: BinaryIO, columns: Mapping[str, str]) -> None:
        self._lines = _lines(raw)
        header = next(self._lines, "")
        self.separator = max(SEPARATORS, key=header.count)
        self._rows = csv.reader(chain([header], self._lines), delimiter=self.separator)
        self._names = [name.strip() for name in self._next() or []]
        self._places = _places(self._names, columns)

    def __iter__(self) -> Iterator[Row]:
        """Every row that is not blank, in order.

        Raises:
            ImportRefused: Where the file stops being CSV.
        """
        above = self._rows.line_num
        while (cells := self._next()) is not None:
            first, above = above + 1, self._rows.line_num
            if any(cell.strip() for cell in cells):
                yield self._row(f"{first}" if first == above else f"{first}-{above}", cells)

    def _next(self) -> list[str] | None:
        above = self._rows.line_num
        try:
            return next(self._rows, None)
        except csv.Error as error:
            raise ImportRefused(f"Line {above + 1} cannot be read as CSV: {error}.") from error

    def _row(self, lines: str, cells: list[str]) -> Row:
        if len(cells) != len(self._names):
            fault = "number of values differs from the header"
            return Row(lines, {}, fault)
        values = {field: cells[place].strip() for field, place in self._places.items()}
        is_text = all(value.isascii() or _is_text(value) for value in values.values())
        return Row(lines, values, None if is_text else NO_UTF8)


def _lines(raw: BinaryIO) -> Iterator[str]:
    """The lines; bytes that are not UTF-8 become lone surrogates, refused with their row."""
    number, line = 1, raw.readline(MAX_LINE_BYTES + 1).removeprefix(UTF8_MARK)
    if line.startswith(UTF16_MARKS):
        raise ImportRefused("The file is UTF-16; save it as UTF-8.")
    while line:
        if len(line) > MAX_LINE_BYTES:
            raise ImportRefused(f"Line {number} is longer than a megabyte: this is no CSV.")
        yield line.decode("utf-8", "surrogateescape")
        number, line = number + 1, raw.readline(MAX_LINE_BYTES + 1)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _places(names: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Where each field stands; refuses unknown fields and missing or doubtful columns."""
    fields = (*NEEDED, *OPTIONAL)
    unknown = sorted(set(columns) - set(fields))
    if unknown:
        raise ImportRefused(f"No such field: {', '.join(unknown)}. Fields: {', '.join(fields)}.")
    wanted = {field: columns.get(field, field) for field in fields}
    needed = {*NEEDED, *columns}
    missing = [name for field, name in wanted.items() if field in needed and name not in names]
    if missing:
        raise ImportRefused(
            f"Missing {_listed(missing)}; found {_listed(names) or 'no columns'}. "
            "Say what a column is called with --map, such as --map energy_kwh=kWhDelivered."
        )
    twice = [name for name in wanted.values() if names.count(name) > 1]
    if twice:
        raise ImportRefused(f"More than one column is called {_listed(twice)}.")
    return {field: names.index(name) for field, name in wanted.items() if name in names}


def _listed(names: list[str], most: int = 40) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:most] if name)
    return shown + (", …" if len(names) > most else "")


def record_of(row: Row, *, has_decimal_comma: bool, now: datetime) -> Record:
    """Check one row.

    Raises:
        RowRefused: If it is not a charging session that ended.
    """
    if row.fault is not None:
        raise RowRefused(row.fault)
    values = row.values
    for field in NEEDED:
        if not values[field]:
            raise RowRefused(f"{field} is missing")
    remarks: list[str] = []
    arrival, departure = _stay(values, now=now)
    energy_kwh = _energy(values["energy_kwh"], has_decimal_comma=has_decimal_comma)
    max_kw = _power(values.get("max_kw", ""), has_decimal_comma=has_decimal_comma)
    if max_kw is None:
        remarks.append(NO_POWER)
        mean_kw = energy_kwh / ((departure - arrival) / HOUR)
        max_kw = min(max(ASSUMED_POWER_KW, mean_kw), MAX_POWER_KW)
    charging_h = min((departure - arrival) / HOUR, energy_kwh / max_kw)
    done = _done_charging(values.get("done_charging", ""), arrival, departure, remarks)
    return Record(
        lines=row.lines,
        session_id=values["session_id"],
        site=values["site"],
        station=values["station"],
        user=values.get("user", ""),
        arrival=arrival,
        departure=departure,
        charged_until=done or arrival + charging_h * HOUR,
        energy_kwh=energy_kwh,
        requested_kwh=_requested_kwh(
            values.get("requested_kwh", ""), remarks, has_decimal_comma=has_decimal_comma
        ),
        requested_departure=_requested_departure(
            values.get("requested_departure", ""), arrival, remarks
        ),
        max_kw=max_kw,
        remarks=tuple(remarks),
    )


def _stay(values: Mapping[str, str], *, now: datetime) -> tuple[datetime, datetime]:
    arrival = _moment("arrival", values["arrival"])
    departure = _moment("departure", values["departure"])
    if arrival < EPOCH:
        raise RowRefused("arrival is before the year 2000")
    if departure <= arrival:
        raise RowRefused("departure is not after arrival")
    if departure - arrival > LONGEST_STAY:
        raise RowRefused(f"stay is longer than {LONGEST_STAY.days} days")
    if departure > now:
        raise RowRefused("departure lies in the future")
    return arrival, departure


def _moment(field: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RowRefused(f"{field} is not an ISO 8601 time") from None
    raise RowRefused(f"{field} has no UTC offset, such as +02:00 or Z")


def _energy(text: str, *, has_decimal_comma: bool) -> float:
    energy_kwh = _number(text, has_decimal_comma=has_decimal_comma)
    if energy_kwh is None:
        raise RowRefused("energy_kwh is not a number")
    if energy_kwh <= 0:
        raise RowRefused("energy_kwh is not above 0")
    if energy_kwh > MAX_ENERGY_KWH:
        raise RowRefused(f"energy_kwh is above {MAX_ENERGY_KWH:g}")
    return energy_kwh


def _power(text: str, *, has_decimal_comma: bool) -> float | None:
    if not text:
        return None
    max_kw = _number(text, has_decimal_comma=has_decimal_comma)
    try:
        return POWER.validate_python(max_kw)
    except ValidationError:
        raise RowRefused("max_kw is not a power that chargers have") from None


def _number(text: str, *, has_decimal_comma: bool) -> float | None:
    """A finite number; a decimal comma only where commas do not separate columns."""
    try:
        value = float(text.replace(",", ".") if has_decimal_comma else text)
    except ValueError:
        return None
    return value if isfinite(value) and "_" not in text else None


def _done_charging(
    text: str, arrival: datetime, departure: datetime, remarks: list[str]
) -> datetime | None:
    done = _optional_moment("done_charging", text, remarks)
    if done is None:
        return None
    if done <= arrival:
        remarks.append("done_charging is not after arrival: ignored")
        return None
    if done > departure:
        remarks.append("done_charging is after departure: departure taken")
    return min(done, departure)


def _requested_departure(text: str, arrival: datetime, remarks: list[str]) -> datetime | None:
    requested = _optional_moment("requested_departure", text, remarks)
    if requested is None or arrival < requested <= arrival + LONGEST_STAY:
        return requested
    remarks.append("requested_departure does not follow arrival within 14 days: ignored")
    return None


def _optional_moment(field: str, text: str, remarks: list[str]) -> datetime | None:
    if not text:
        return None
    try:
        return _moment(field, text)
    except RowRefused as reason:
        remarks.append(f"{reason}: ignored")
        return None


def _requested_kwh(text: str, remarks: list[str], *, has_decimal_comma: bool) -> float | None:
    if not text:
        return None
    requested_kwh = _number(text, has_decimal_comma=has_decimal_comma)
    if requested_kwh is None or not 0 <= requested_kwh <= MAX_ENERGY_KWH:
        remarks.append(f"requested_kwh is not between 0 and {MAX_ENERGY_KWH:g}: ignored")
        return None
    return requested_kwh
