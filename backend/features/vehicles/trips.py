"""Trips as callers state them beyond a distance: conditions of the road, and legs in a row."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from backend.paging import Body
from backend.planning.journeys import Journey, JourneyNeed, Leg, journey_need, leg_of
from backend.planning.trip import DrivingConditions, trip_need
from backend.planning.vehicle_classes import ClassName
from backend.units import DistanceKm, EnergyKwh

MOST_LEGS = 20


class Conditions(Body):
    """What is known about a trip beyond its distance; with any of it, physics is used."""

    temperature_c: float | None = Field(default=None, ge=-60, le=60, description="Of the air")
    headwind_m_s: float | None = Field(default=None, ge=-50, le=50)
    payload_kg: float | None = Field(default=None, ge=0, le=10_000)
    mean_speed_km_h: float | None = Field(default=None, ge=5, le=200)
    stops: float | None = Field(default=None, ge=0, le=10_000)
    climb_m: float | None = Field(default=None, ge=0, le=20_000)
    descent_m: float | None = Field(default=None, ge=0, le=20_000)
    is_preconditioned: bool | None = None
    vehicle_class: ClassName | None = None
    has_heat_pump: bool = False

    def driving(self) -> DrivingConditions:
        """The same for the physical model."""
        return DrivingConditions(
            temperature_c=self.temperature_c,
            headwind_m_s=self.headwind_m_s,
            payload_kg=self.payload_kg,
            mean_speed_km_h=self.mean_speed_km_h,
            stops=self.stops,
            climb_m=self.climb_m,
            descent_m=self.descent_m,
            is_preconditioned=self.is_preconditioned,
        )


class LegIn(Body):
    """One trip of a chain, and the stop after it."""

    distance_km: DistanceKm
    stop_hours: float = Field(
        default=0, ge=0, le=168, description="How long it can charge at the stop after this leg"
    )
    charge_power_kw_at_stop: float = Field(
        default=0, ge=0, le=2_000, description="Power of the charger there; 0 if there is none"
    )
    charge_kwh_at_stop: EnergyKwh | None = Field(
        default=None,
        description="Most it charges there, into the battery; without it all that power and time "
        "give. Alone it is taken as stated.",
    )
    conditions: Conditions | None = Field(
        default=None, description="Of this leg, instead of the trip's"
    )


Legs = Annotated[
    list[LegIn],
    Field(
        min_length=1,
        max_length=MOST_LEGS,
        description="Trips in a row; what the battery must hold at the start is worked out "
        "backwards, with what stops bring",
    ),
]


class LegView(BaseModel):
    """What one leg of a chain asks of the battery."""

    distance_km: float
    energy_kwh: float = Field(description="What the leg uses, its reserve included")
    needed_at_start_kwh: float = Field(description="In the battery when it begins")
    charged_at_stop_kwh: float = Field(description="Most that the stop after it brings")
    short_by_kwh: float = Field(description="What it needs beyond a full battery")


def is_physical(legs: Sequence[LegIn], conditions: Conditions | None) -> bool:
    """Whether more than distances is known of a chain."""
    known = [leg.conditions or conditions for leg in legs]
    return any(one is not None and one.driving().says_anything for one in known)


def journey_of(
    legs: Sequence[LegIn],
    conditions: Conditions | None,
    *,
    capacity_kwh: float,
    consumption_wh_per_km: float,
    by_road: bool,
) -> Journey:
    """A chain of legs; each has its energy by the plain formula, or by the road where it can."""
    return Journey(
        [
            _leg(
                leg,
                (leg.conditions or conditions) if by_road else None,
                consumption_wh_per_km=consumption_wh_per_km,
            )
            for leg in legs
        ],
        capacity_kwh=capacity_kwh,
    )


def _leg(leg: LegIn, known: Conditions | None, *, consumption_wh_per_km: float) -> Leg:
    need = trip_need(
        distance_km=leg.distance_km,
        consumption_wh_per_km=consumption_wh_per_km,
        conditions=known.driving() if known else None,
        vehicle_class=known.vehicle_class if known else None,
        has_heat_pump=known.has_heat_pump if known else False,
    )
    return leg_of(
        need.needed_trip_energy_kwh,
        distance_km=leg.distance_km,
        charge_power_kw=leg.charge_power_kw_at_stop,
        charge_h=leg.stop_hours,
        charge_kwh=leg.charge_kwh_at_stop,
    )


def shown(journey: Journey) -> list[LegView]:
    """Leg by leg, as plans show it."""
    need: JourneyNeed = journey_need(journey)
    last = len(journey.legs) - 1
    return [
        LegView(
            distance_km=leg.energy.distance_km,
            energy_kwh=leg.energy.battery_kwh,
            needed_at_start_kwh=need.before_leg_kwh[place],
            charged_at_stop_kwh=leg.chargeable_kwh if place < last else 0.0,
            short_by_kwh=need.short_by_kwh[place],
        )
        for place, leg in enumerate(journey.legs)
    ]


def sentence(legs: Sequence[LegView]) -> str:
    """A chain in words: what is driven, and what stops between bring."""
    ways = " + ".join(f"{leg.distance_km:g}" for leg in legs)
    brought_kwh = sum(leg.charged_at_stop_kwh for leg in legs)
    stops = f"stops bring up to {brought_kwh:.1f} kWh" if brought_kwh else "no stop charges it"
    return f"The trip is a chain of {len(legs)} legs ({ways} km); {stops}."
