"""Trips in a row: what the battery must hold before each, with or without charging between."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.planning.charging_losses import USUAL_CHARGER, OnboardCharger, loss_share
from backend.planning.road import DriveEnergy


@dataclass(frozen=True, slots=True)
class Leg:
    """One trip of a journey and the stop after it.

    Attributes:
        energy: What it costs.
        charge_power_kw: Power at the meter at the stop after it; 0 where there is none.
        charge_h: How long the vehicle can charge there.
        charger: The losses of that charging.
        charge_kwh: Most energy it takes there, into the battery; None for all that power and time
            give. Without a power it is what the stop brings.
    """

    energy: DriveEnergy
    charge_power_kw: float = 0.0
    charge_h: float = 0.0
    charger: OnboardCharger = USUAL_CHARGER
    charge_kwh: float | None = None

    def __post_init__(self) -> None:
        for name in ("charge_power_kw", "charge_h", "charge_kwh"):
            if not 0 <= (getattr(self, name) or 0.0) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")

    @property
    def chargeable_kwh(self) -> float:
        """Most energy the stop can bring into the battery."""
        if not self.charge_power_kw:
            return self.charge_kwh or 0.0
        kept = 1 - loss_share(self.charge_power_kw, self.charger)
        possible_kwh = self.charge_power_kw * self.charge_h * kept
        return possible_kwh if self.charge_kwh is None else min(possible_kwh, self.charge_kwh)


def leg_of(
    energy_kwh: float,
    *,
    distance_km: float,
    charge_power_kw: float = 0.0,
    charge_h: float = 0.0,
    charge_kwh: float | None = None,
) -> Leg:
    """A leg of known energy, its reserve included; nothing about it is uncertain any more."""
    known = DriveEnergy(energy_kwh, 0.0, 0.0, 0.0, 0.0, distance_km, 0.0)
    return Leg(known, charge_power_kw, charge_h, charge_kwh=charge_kwh)


@dataclass(frozen=True, slots=True)
class Journey:
    """The legs of one vehicle in the order it drives them.

    Attributes:
        legs: One at least.
        capacity_kwh: Usable battery.
        reserve_kwh: What must be left at every arrival.
    """

    legs: Sequence[Leg]
    capacity_kwh: float
    reserve_kwh: float = 0.0

    def __post_init__(self) -> None:
        if not self.legs:
            raise ValueError("a journey has at least one leg")
        if not 0 <= self.reserve_kwh <= self.capacity_kwh < math.inf:
            raise ValueError("reserve_kwh must lie between 0 and capacity_kwh")


@dataclass(frozen=True, slots=True)
class JourneyNeed:
    """What a journey asks of the battery.

    Attributes:
        before_leg_kwh: Energy needed at the start of each leg, at most the capacity.
        short_by_kwh: What each leg needs beyond a full battery; 0 where it can be driven.
    """

    before_leg_kwh: tuple[float, ...]
    short_by_kwh: tuple[float, ...]

    @property
    def departure_kwh(self) -> float:
        """Energy needed before the first leg."""
        return self.before_leg_kwh[0]

    @property
    def beyond_battery_kwh(self) -> float:
        """What all legs together need beyond full batteries."""
        return sum(self.short_by_kwh)

    @property
    def is_possible(self) -> bool:
        """Whether a full battery and the stops are enough."""
        return not any(self.short_by_kwh)


def journey_need(journey: Journey, *, quantile: float = 0.9) -> JourneyNeed:
    """Work out backwards what the battery must hold before every leg.

    A bad day is bad on every leg, so each counts with the same quantile of its energy. A leg that
    gains energy still starts with the reserve.

    Args:
        journey: The legs of one vehicle.
        quantile: Probability with which each leg's energy suffices.

    Raises:
        ValueError: If the quantile is not between 0 and 1.
    """
    needed_after_kwh = journey.reserve_kwh
    before_kwh: list[float] = []
    short_kwh: list[float] = []
    for leg in reversed(journey.legs):
        arrival_kwh = max(journey.reserve_kwh, needed_after_kwh - leg.chargeable_kwh)
        needed_kwh = max(journey.reserve_kwh, arrival_kwh + leg.energy.quantile_kwh(quantile))
        short_kwh.append(max(0.0, needed_kwh - journey.capacity_kwh))
        needed_after_kwh = min(needed_kwh, journey.capacity_kwh)
        before_kwh.append(needed_after_kwh)
    return JourneyNeed(tuple(reversed(before_kwh)), tuple(reversed(short_kwh)))


def journey_needs(journeys: Iterable[Journey], *, quantile: float = 0.9) -> tuple[JourneyNeed, ...]:
    """The same for several vehicles at once, in their order."""
    return tuple(journey_need(journey, quantile=quantile) for journey in journeys)
