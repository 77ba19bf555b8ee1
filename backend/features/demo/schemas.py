"""The demonstration as callers see it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.features.demo.sample_identities import SampleIdentity, SampleSignIn
from backend.paging import Body
from backend.units import UtcDatetime


class DemoStatistics(BaseModel):
    """What was made."""

    sites_created: int
    chargers_created: int
    driver_dids: int
    vehicle_dids: int
    sessions_created: int


class DemoData(BaseModel):
    """Fresh demonstration data."""

    status: Literal["success"] = "success"
    message: str
    statistics: DemoStatistics
    assurance: Literal["simulated"] = "simulated"


class SampleDids(BaseModel):
    """Who and what there is to try, and requests that work when pasted."""

    driver_dids: list[str]
    vehicle_dids: list[str]
    charger_dids: list[str]
    payloads: dict[str, Any] = Field(description="Scenario → ready body for /sessions/start")
    identities: list[SampleIdentity] = Field(
        description="Some of them with their keys and signed credentials"
    )
    sign_in: SampleSignIn | None = Field(
        description="A presentation for a challenge of just now; null without demonstration data"
    )
    assurance: Literal["simulated"] = "simulated"


class ClockChange(Body):
    """Set the clock, move it on, change its speed: in this order, whatever is given."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"set_to": ahead(1)}]})

    set_to: UtcDatetime | None = None
    advance_s: float = Field(default=0.0, ge=-86_400 * 31, le=86_400 * 31)
    speed: float | None = Field(default=None, ge=0, le=3_600)


class ClockView(BaseModel):
    """What the demonstration's clock shows."""

    now: UtcDatetime
    speed: float
    replanned_sites: list[str]
