"""Fleet trips as callers see and send them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from backend.documentation import ahead
from backend.features.vehicles.trips import LegIn, Legs
from backend.paging import Body
from backend.units import DistanceKm, UtcDatetime

VehicleDid = Annotated[
    str,
    Field(
        pattern=r"^did:[a-z0-9]{1,20}:[A-Za-z0-9._:%-]{1,200}$",
        examples=["did:denso:vehicle:vehicle001"],
    ),
]
TRIP_FORMS = ("distance_km", "legs")
ExternalId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,80}$", examples=["tour-17"])]


class FleetTripNew(Body):
    """A trip that a vehicle has to be ready for: a distance, or a chain of legs."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [form]} for form in TRIP_FORMS]}
    )

    external_id: ExternalId | None = Field(
        default=None, description="Your own key: the same key again replaces the trip"
    )
    vehicle_did: VehicleDid
    departure_time: UtcDatetime = Field(examples=[ahead(20)])
    distance_km: DistanceKm | SkipJsonSchema[None] = None
    legs: Legs | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _exactly_one_form(self) -> Self:
        given = [form for form in TRIP_FORMS if form in self.model_fields_set]
        if len(given) != 1 or getattr(self, given[0]) is None:
            raise ValueError(f"give exactly one of {', '.join(TRIP_FORMS)}")
        return self

    @property
    def total_km(self) -> float:
        """Distance of the whole trip."""
        return self.distance_km or sum(leg.distance_km for leg in self.legs or ())


class FleetTripsNew(Body):
    """Trips to plan for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trips": [
                        {
                            "external_id": "tour-17",
                            "vehicle_did": "did:denso:vehicle:vehicle021",
                            "departure_time": ahead(20),
                            "distance_km": 140,
                        }
                    ]
                }
            ]
        }
    )

    trips: list[FleetTripNew] = Field(min_length=1, max_length=1_000)


class FleetTripResult(BaseModel):
    """What became of one row."""

    row: int
    outcome: Literal["created", "replaced", "refused"]
    trip_id: str | None
    reason: str | None


class FleetTripsAccepted(BaseModel):
    """What became of every row, or would become of it when it is stored."""

    created: int
    replaced: int
    refused: int
    stored: bool = Field(description="False for a dry run, or if one bad row was enough")
    results: list[FleetTripResult]


class FleetTripView(BaseModel):
    """A trip of the fleet."""

    trip_id: str
    external_id: str | None
    vehicle_did: str
    departure_time: UtcDatetime
    distance_km: float
    legs: list[LegIn] = Field(description="Of a chain; empty for a plain distance")
