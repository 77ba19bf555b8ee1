"""Telemetry as vehicles send it."""

from pydantic import BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.paging import Body
from backend.units import SocPercent, UtcDatetime

MOST_POINTS = 5_000


class TelemetryPointNew(Body):
    """What a vehicle says of itself at a moment."""

    at: UtcDatetime = Field(examples=[ahead(0)])
    is_plugged_in: bool
    soc_percent: SocPercent | None = None
    power_kw: float | None = Field(
        default=None, ge=0, le=2_000, description="Charging power at the meter", examples=[7.4]
    )


class TelemetryBatch(Body):
    """Points in any order; those that are known already are left as they are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "points": [
                        {
                            "at": ahead(0),
                            "is_plugged_in": True,
                            "soc_percent": 41.5,
                            "power_kw": 7.4,
                        }
                    ]
                }
            ]
        }
    )

    points: list[TelemetryPointNew] = Field(min_length=1, max_length=MOST_POINTS)


class TelemetryAccepted(BaseModel):
    """What became of a batch."""

    vehicle_did: str
    received: int
    stored: int
    duplicates: int = Field(description="Points whose moment was known already")
    latest_at: UtcDatetime = Field(description="The newest point of the batch")
    soc_percent: float | None = Field(description="The vehicle's last known state of charge")
    soc_at: UtcDatetime | None
