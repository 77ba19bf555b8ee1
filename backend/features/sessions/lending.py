"""Energy out of a vehicle: what has to come together before a site may borrow any."""

from dataclasses import dataclass, replace

from backend.features.sessions.schemas import V2gConsent, V2gView
from backend.features.sessions.stay_terms import Abilities, StayTerms, V2gTerms
from backend.features.sites.models import SalesTariff
from backend.features.sites.wiring import ChargerEquipment
from backend.features.vehicles.sheets import VehicleEquipment
from backend.planning.trip import TripFormula

RESERVE_SHARE = 1 / 6
"""The plain formula adds a fifth to a distance's energy, which is a sixth of the sum."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a vehicle plugs in, as far as lending goes."""

    charger: ChargerEquipment | None
    tariff: SalesTariff


def terms_of(
    formula: TripFormula,
    vehicle: VehicleEquipment,
    *,
    capacity_kwh: float,
    is_soc_known: bool,
    has_reserve: bool,
    v2g: V2gTerms | None,
) -> StayTerms:
    """What is settled for a stay: tiers of its energy, the vehicle, what it lends.

    Args:
        formula: Energy of the trip and what the battery holds.
        vehicle: Its data sheet.
        capacity_kwh: Of its battery.
        is_soc_known: Whether what the battery holds was told.
        has_reserve: Whether the needed energy contains the formula's reserve.
        v2g: What the driver lends.
    """
    held_kwh, needed_kwh = formula.current_energy_kwh, formula.needed_trip_energy_kwh
    reserve_kwh = RESERVE_SHARE * needed_kwh if has_reserve else 0.0
    target_kwh = formula.extra_energy_needed_kwh - formula.exceeds_battery_kwh
    trip_kwh = max(0.0, min(needed_kwh, capacity_kwh) - held_kwh)
    return StayTerms(
        held_kwh=held_kwh if is_soc_known else None,
        reserve_kwh=min(target_kwh, max(0.0, reserve_kwh - held_kwh)),
        comfort_kwh=max(0.0, target_kwh - trip_kwh),
        vehicle=vehicle,
        v2g=v2g,
    )


def with_trip(
    terms: StayTerms, now: Abilities, formula: TripFormula, *, charged_kwh: float, has_reserve: bool
) -> tuple[StayTerms, Abilities]:
    """The terms of a stay, and what it allows from now on, once its trip is another.

    Args:
        terms: The terms until now.
        now: What they allow now.
        formula: Energy of the new trip and what the battery holds by now.
        charged_kwh: Energy charged by now.
        has_reserve: Whether the needed energy contains the formula's reserve.
    """
    capacity_kwh, v2g = now.capacity_kwh, terms.v2g
    if v2g is not None:
        floor_kwh = min(capacity_kwh, max(formula.needed_trip_energy_kwh, v2g.wished_kwh))
        v2g = replace(v2g, floor_kwh=floor_kwh)
    ahead = terms_of(
        formula,
        terms.vehicle,
        capacity_kwh=capacity_kwh,
        is_soc_known=terms.held_kwh is not None,
        has_reserve=has_reserve,
        v2g=v2g,
    )
    abilities = replace(
        now,
        reserve_kwh=ahead.reserve_kwh,
        comfort_kwh=ahead.comfort_kwh,
        floor_kwh=v2g.floor_kwh if v2g else now.floor_kwh,
    )
    reserve_kwh = ahead.reserve_kwh + charged_kwh if ahead.reserve_kwh else 0.0
    return replace(ahead, held_kwh=terms.held_kwh, reserve_kwh=reserve_kwh), abilities


def obstacle(
    consent: V2gConsent | None, vehicle: VehicleEquipment, place: Place, *, is_soc_known: bool
) -> str | None:
    """Why the site borrows no energy from this vehicle; None if it may."""
    if consent is None:
        return "The driver has not agreed to it."
    if not vehicle.max_discharge_power_kw:
        return "The vehicle gives no energy back, as far as its data sheet says."
    if place.charger is None or not place.charger.max_discharge_power_kw:
        return "The charger takes no energy out of vehicles."
    if place.tariff.v2g_credit_eur_per_kwh is None:
        return "The site states no price for energy out of vehicles."
    if not is_soc_known:
        return "Nobody knows what the battery holds."
    return None


def lent(
    consent: V2gConsent,
    vehicle: VehicleEquipment,
    tariff: SalesTariff,
    *,
    needed_kwh: float,
    capacity_kwh: float,
) -> V2gTerms:
    """What a driver lends, once nothing stands against it."""
    wished_kwh = capacity_kwh * consent.min_soc_percent / 100
    most_kw = vehicle.max_discharge_power_kw or 0.0
    return V2gTerms(
        max_power_kw=min(most_kw, consent.max_power_kw or most_kw),
        floor_kwh=min(capacity_kwh, max(needed_kwh, wished_kwh)),
        wished_kwh=wished_kwh,
        wear_eur_per_kwh=consent.wear_eur_per_kwh,
        credit_eur_per_kwh=float(tariff.v2g_credit_eur_per_kwh or 0),
    )


def told(v2g: V2gTerms | None, why_not: str | None, capacity_kwh: float) -> V2gView:
    """What the driver is told of it."""
    if v2g is None:
        return V2gView(is_allowed=False, reason=why_not or "")
    return V2gView(
        is_allowed=True,
        reason="It may lend energy above its floor and has it back before it leaves.",
        floor_soc_percent=100 * v2g.floor_kwh / capacity_kwh,
        max_power_kw=v2g.max_power_kw,
        wear_eur_per_kwh=v2g.wear_eur_per_kwh,
        credit_eur_per_kwh=v2g.credit_eur_per_kwh,
    )
