"""The question for several vehicles at once, and its answer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.features.sessions.schemas import (
    Assurance,
    ChargerIn,
    DriverIn,
    QuotedCharger,
    TripIn,
    TripModel,
    VehicleIn,
)
from backend.features.sites.schemas import SiteId
from backend.features.vehicles.trips import LegView
from backend.paging import Body

MOST_VEHICLES = 100


class FleetQuoteVehicle(Body):
    """One vehicle of the question."""

    vehicle: VehicleIn
    trip: TripIn
    charger: ChargerIn | None = Field(
        default=None, description="Without it the weakest free one that is strong enough"
    )
    driver: DriverIn | None = Field(default=None, description="The caller if left out")


class FleetQuoteRequest(Body):
    """Would all of them be ready, were they plugged in now?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": "site_hq",
                    "vehicles": [
                        {
                            "vehicle": {
                                "did": "did:denso:vehicle:vehicle001",
                                "battery_capacity_kwh": 75,
                                "nominal_consumption_wh_per_km": 180,
                                "max_charge_power_kw": 150,
                                "current_soc_percent": 20,
                            },
                            "trip": {"distance_km": 150, "departure_time": ahead(5)},
                        },
                        {
                            "vehicle": {
                                "did": "did:denso:vehicle:vehicle002",
                                "battery_capacity_kwh": 60,
                                "nominal_consumption_wh_per_km": 170,
                                "max_charge_power_kw": 11,
                                "current_soc_percent": 10,
                            },
                            "trip": {
                                "legs": [
                                    {
                                        "distance_km": 80,
                                        "stop_hours": 2,
                                        "charge_power_kw_at_stop": 11,
                                    },
                                    {"distance_km": 80},
                                ],
                                "departure_time": ahead(8),
                            },
                        },
                    ],
                }
            ]
        }
    )

    site_id: SiteId
    vehicles: list[FleetQuoteVehicle] = Field(min_length=1, max_length=MOST_VEHICLES)


class FleetVehicleQuote(BaseModel):
    """One vehicle among all of the question."""

    vehicle_did: str
    is_feasible: bool
    code: str | None = Field(
        description="Why not: `short_of_energy`, or what starting it would be refused with"
    )
    reason: str | None
    needed_trip_energy_kwh: float | None
    trip_model: TripModel | None
    legs: list[LegView]
    quote: QuotedCharger | None = Field(description="Null where it could not even start")


class FleetQuote(BaseModel):
    """Nothing was stored; the vehicles stand in the order of the question."""

    site_id: str
    vehicles: list[FleetVehicleQuote]
    infeasible: list[str] = Field(description="Vehicles that would not be ready")
    others_made_short: int = Field(
        description="Open sessions that would miss energy they are to get by the present plan"
    )
    method: Literal["optimal", "fallback"] | None = Field(description="Null if none could start")
    message: str
    warnings: list[str]
    assurance: Assurance
