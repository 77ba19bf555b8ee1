"""What a session cost: where its energy went in time, its bill and its reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from backend.features.sessions.models import ChargingSession, MeterValue, SessionPlan
from backend.features.sessions.site_problem import is_solar_hour
from backend.features.sessions.stay_terms import StayTerms
from backend.features.sites.models import PurchasePrice, SalesTariff
from backend.features.sites.service import price_curve
from backend.planning.problem import STEP, step_edges

HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=15)  # after departure, before the idle fee begins
METER_TOLERANCE = 1.05
TOLERANCE_KWH = 0.1
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Energy that flowed evenly over a stretch of time, negative out of the vehicle."""

    start: datetime
    end: datetime
    energy_kwh: float

    @property
    def power_kw(self) -> float:
        """Mean power without its sign; 0 where it took no time."""
        return abs(self.energy_kwh) / hours if (hours := (self.end - self.start) / HOUR) else 0.0


def from_readings(started_at: datetime, readings: Sequence[MeterValue]) -> list[Stretch]:
    """The stretches between meter readings, in less out."""
    stretches, since, before_kwh = [], started_at, 0.0
    for reading in readings:
        net_kwh = reading.energy_kwh - reading.discharged_kwh
        stretches.append(Stretch(since, reading.at, net_kwh - before_kwh))
        since, before_kwh = reading.at, net_kwh
    return [one for one in stretches if one.end > one.start]


def foreseen(row: SessionPlan, *, since: datetime, until: datetime) -> list[Stretch]:
    """What a plan has flow between two times, negative out of the vehicle."""
    edges = step_edges(row.planned_at, row.planned_at + STEP * len(row.setpoint_kw))
    pieces = [
        (max(start, since), min(end, until, row.departure_at), power_kw)
        for start, end, power_kw in zip(edges, edges[1:], row.setpoint_kw, strict=False)
    ]
    return [
        Stretch(start, end, power_kw * ((end - start) / HOUR))
        for start, end, power_kw in pieces
        if end > start and power_kw
    ]


def as_planned(
    session: ChargingSession, planned: Sequence[Stretch], *, energy_kwh: float, ended_at: datetime
) -> list[Stretch]:
    """Where unmetered energy went: as the plans had it, evenly if they do not say.

    Energy out of a vehicle counts only where a meter saw it.
    """
    planned = [one for one in planned if one.energy_kwh > 0]
    planned_kwh = sum(one.energy_kwh for one in planned)
    if planned_kwh <= 0:
        return [Stretch(session.started_at, ended_at, energy_kwh)]
    factor = energy_kwh / planned_kwh
    return [Stretch(one.start, one.end, one.energy_kwh * factor) for one in planned]


def at_once(session: ChargingSession, *, energy_kwh: float) -> list[Stretch]:
    """The same energy charged from plug-in on at full power."""
    end = session.started_at + energy_kwh / session.effective_power_kw * HOUR
    return [Stretch(session.started_at, end, energy_kwh)] if energy_kwh > 0 else []


def purchase_eur(stretches: Sequence[Stretch], price: PurchasePrice | None, zone: str) -> Decimal:
    """What the site pays for the energy, in EUR to a hundredth of a cent."""
    cost = sum(energy_kwh * rate for energy_kwh, rate in _priced_quarters(stretches, price, zone))
    return Decimal(cost).quantize(Decimal("0.0001"))


def _priced_quarters(
    stretches: Sequence[Stretch], price: PurchasePrice | None, zone: str
) -> list[tuple[float, float]]:
    quarters = [one for stretch in stretches for one in in_quarters(stretch)]
    rates = price_curve(price, zone, [start for start, _ in quarters])
    return [(kwh, rate) for (_, kwh), rate in zip(quarters, rates, strict=True)]


def in_quarters(stretch: Stretch) -> list[tuple[datetime, float]]:
    """The stretch cut at quarter-hours: start and energy (kWh) of each piece."""
    if stretch.end <= stretch.start:
        return [(stretch.start, stretch.energy_kwh)]
    edges = step_edges(stretch.start, stretch.end)
    whole = stretch.end - stretch.start
    return [
        (start, stretch.energy_kwh * ((min(end, stretch.end) - start) / whole))
        for start, end in pairwise(edges)
    ]


def solar_kwh(stretches: Sequence[Stretch], zone: str) -> float:
    """Energy charged in the site's solar hours."""
    pieces = [one for stretch in stretches for one in in_quarters(stretch)]
    return sum(max(energy, 0.0) for start, energy in pieces if is_solar_hour(start, zone))


def energy_before(stretches: Sequence[Stretch], moment: datetime) -> float:
    """Energy (kWh) that was charged before a moment."""
    total = 0.0
    for one in stretches:
        if one.energy_kwh > 0 and one.start < moment and one.end > one.start:
            total += one.energy_kwh * ((min(one.end, moment) - one.start) / (one.end - one.start))
    return total


@dataclass(frozen=True, slots=True)
class Bill:
    """What the driver pays, each part in whole cents, VAT contained."""

    energy_eur: Decimal
    session_eur: Decimal
    idle_eur: Decimal
    discount_eur: Decimal
    vat_eur: Decimal
    v2g_credit_eur: Decimal = Decimal(0)

    @property
    def total_eur(self) -> Decimal:
        """Sum of the parts."""
        paid_eur = self.energy_eur + self.session_eur + self.idle_eur
        return paid_eur - self.discount_eur - self.v2g_credit_eur


def bill(
    tariff: SalesTariff,
    *,
    energy_kwh: float,
    idle_h: float,
    discount_percent: float,
    discharged_kwh: float = 0.0,
) -> Bill:
    """Work out the bill; half a cent is rounded up.

    Metered energy out of the vehicle is credited at the tariff's price for it, VAT contained, so
    that a bill may be below zero: then the site owes the driver.
    """
    energy_eur = _cents(Decimal(str(energy_kwh)) * tariff.eur_per_kwh)
    session_eur = _cents(tariff.eur_per_session if energy_kwh > 0 else Decimal(0))
    idle_eur = _cents(Decimal(str(idle_h)) * tariff.idle_eur_per_hour)
    discount_eur = _cents(energy_eur * Decimal(str(discount_percent)) / 100)
    credit_eur = _cents(Decimal(str(discharged_kwh)) * (tariff.v2g_credit_eur_per_kwh or 0))
    total = energy_eur + session_eur + idle_eur - discount_eur - credit_eur
    vat_eur = _cents(total * tariff.vat_percent / (100 + tariff.vat_percent))
    return Bill(energy_eur, session_eur, idle_eur, discount_eur, vat_eur, credit_eur)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def idle_h(session: ChargingSession, *, last_reading_at: datetime | None, until: datetime) -> float:
    """Hours the charger was blocked: from fifteen minutes after departure and the last reading."""
    since = max(session.departure_at, last_reading_at or session.departure_at) + GRACE
    return max(0.0, (until - since) / HOUR)


def implausible(session: ChargingSession, *, energy_kwh: float, until: datetime) -> str | None:
    """Why so much energy cannot have flowed by then; None if it can."""
    hours = max(0.0, (until - session.started_at) / HOUR)
    return beyond_power(energy_kwh, rated_power_kw=session.rated_power_kw, hours=hours)


def not_discharged(
    session: ChargingSession, *, discharged_kwh: float, until: datetime
) -> str | None:
    """Why so much energy cannot have come out of the vehicle; None if it can."""
    if discharged_kwh <= TOLERANCE_KWH:
        return None
    v2g = StayTerms.read(session.equipment).v2g
    if v2g is None:
        return f"{discharged_kwh:.2f} kWh came out of a vehicle whose driver did not agree to it."
    hours = max(0.0, (until - session.started_at) / HOUR)
    return beyond_power(discharged_kwh, rated_power_kw=v2g.max_power_kw, hours=hours)


def beyond_power(energy_kwh: float, *, rated_power_kw: float, hours: float) -> str | None:
    """Why so much energy cannot flow in that time; None if it can."""
    possible_kwh = rated_power_kw * hours * METER_TOLERANCE + TOLERANCE_KWH
    if energy_kwh > possible_kwh:
        return (
            f"{energy_kwh:.2f} kWh in {hours:.2f} h is more than {rated_power_kw:.1f} kW "
            f"can deliver ({possible_kwh:.2f} kWh)."
        )
    return None
