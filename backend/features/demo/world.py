"""A simulated world of five charging sites: its sessions, its demand and its weather.

All of it is drawn from one seed. What people do every week (`visits.Habits`) and the weather belong
to the world; who comes on a day, when and with how much in the battery is chance. The mean over
many draws of that chance is the best forecast one could make a day ahead (`oracle_intensity`).
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator

from backend.features.demo.fixtures import (
    CHARGERS,
    DRIVERS,
    SITES,
    TIMEZONE,
    VEHICLES,
    DemoCharger,
    DemoDriver,
    DemoSite,
    DemoVehicle,
    Priority,
)
from backend.features.demo.simulation import (
    QUARTER_MIN,
    FloatArray,
    Frame,
    Progress,
    Stay,
    demand_of,
    on_arrival,
    simulate,
)

PlanType = Literal["GREEN", "ECONOMY", "FAST", "STANDARD"]
OfferType = Literal["discount", "reward_points", "priority_slot"]

QUARTERS_AN_HOUR = 4
PEAK_HOURS = range(16, 20)
"""Local hours in which shops ask drivers to charge later."""
DELAY_H = 3
ACCEPTANCE: dict[OfferType, float] = {
    "reward_points": 0.62,
    "discount": 0.41,
    "priority_slot": 0.23,
}


@dataclass(frozen=True, slots=True)
class DemoOffer:
    """An incentive offered with a plan.

    Attributes:
        type: What kind of incentive.
        value: Per cent for a discount, points for reward points, EUR for a priority slot.
        reason: Why it was offered.
        time_slot: When the driver should charge instead, or None.
        is_accepted: What the driver answered.
    """

    type: OfferType
    value: float
    reason: str
    time_slot: tuple[datetime, datetime] | None
    is_accepted: bool


@dataclass(frozen=True, slots=True, eq=False)
class DemoSession:
    """A completed charging session.

    Attributes:
        site_id: Where.
        charger_did: At which charger.
        driver_did: Whose session it is.
        vehicle_did: Which vehicle.
        started_at: Plugged in.
        departure: When the driver meant to leave.
        ended_at: Unplugged.
        trip_distance_km: The trip stated at the start.
        requested_kwh: What the battery lacked to its target, as far as the stay allowed.
        energy_kwh: Delivered; whole watt-hours.
        soc_start_percent: State of charge when plugged in.
        soc_end_percent: State of charge when unplugged.
        effective_power_kw: Power reached on average.
        priority: What mattered to the driver.
        plan_type: What the plan was called.
        offers: Incentives and their answers.
        profile_start: Beginning of the first quarter-hour of the profiles, UTC.
        profile_kwh: Energy of each quarter-hour, as charged, shape (quarters,).
        uncontrolled_kwh: The same energy charged from arrival at full power, shape (quarters,).
        purchase_cost_eur: What the energy cost the site.
        uncontrolled_purchase_cost_eur: What it would have cost without smart charging.
        sales_cost_eur: What the driver pays.
    """

    site_id: str
    charger_did: str
    driver_did: str
    vehicle_did: str
    started_at: datetime
    departure: datetime
    ended_at: datetime
    trip_distance_km: float
    requested_kwh: float
    energy_kwh: float
    soc_start_percent: float
    soc_end_percent: float
    effective_power_kw: float
    priority: Priority
    plan_type: PlanType
    offers: tuple[DemoOffer, ...]
    profile_start: datetime
    profile_kwh: FloatArray
    uncontrolled_kwh: FloatArray
    purchase_cost_eur: float
    uncontrolled_purchase_cost_eur: float
    sales_cost_eur: float


@dataclass(frozen=True, slots=True, eq=False)
class SiteDemand:
    """The demand of one site by quarter-hour.

    Attributes:
        site_id: The site.
        start: Beginning of the first quarter-hour, UTC, a local midnight.
        energy_kwh: Energy delivered, shape (quarters,).
        occupancy: Mean number of vehicles plugged in, shape (quarters,).
        sessions_started: Sessions begun, shape (quarters,).
    """

    site_id: str
    start: datetime
    energy_kwh: FloatArray
    occupancy: FloatArray
    sessions_started: FloatArray

    def hourly(self) -> "SiteDemand":
        """The demand of the whole hours; arrays have shape (hours,)."""
        return SiteDemand(
            site_id=self.site_id,
            start=self.start,
            energy_kwh=_by_hour(self.energy_kwh),
            occupancy=_by_hour(self.occupancy) / QUARTERS_AN_HOUR,
            sessions_started=_by_hour(self.sessions_started),
        )


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Everything the demo shows.

    Attributes:
        sites: The five sites.
        chargers: The chargers of all sites.
        drivers: The drivers.
        vehicles: The vehicles.
        sessions: Completed sessions, earliest first.
        demand: One entry per site.
        first_day: Local day of the first temperature.
        temperature_c: Daily mean temperature, also of the week to come, shape (days,).
        start: A local midnight, UTC.
        end: Everything happened before it, UTC.
    """

    sites: tuple[DemoSite, ...]
    chargers: tuple[DemoCharger, ...]
    drivers: tuple[DemoDriver, ...]
    vehicles: tuple[DemoVehicle, ...]
    sessions: tuple[DemoSession, ...]
    demand: tuple[SiteDemand, ...]
    first_day: date
    temperature_c: FloatArray
    start: datetime
    end: datetime

    def hourly_temperature_c(self) -> FloatArray:
        """The temperature of every hour from the start to the end of the known weather."""
        zone, days = ZoneInfo(TIMEZONE), self.temperature_c.size
        moments = [self.start + timedelta(hours=hour) for hour in range(24 * days)]
        day = [(moment.astimezone(zone).date() - self.first_day).days for moment in moments]
        return self.temperature_c[np.minimum(day, days - 1)]


def generate_world(
    *, days: int, end: datetime, seed: int = 42, progress: Progress | None = None
) -> World:
    """Simulate the days before `end`.

    Args:
        days: Whole days before the day of `end`; the part of that day before `end` comes on top.
        end: When the simulation stops, in UTC; every session has ended before it.
        seed: Makes the world repeatable.
        progress: Called with the share done (0 to 1) and what is being done.

    Raises:
        ValueError: If there is no day to simulate or `end` has no time zone.
    """
    frame = Frame.of(days=days, end=end, seed=seed)
    stays = simulate(frame, rng=np.random.default_rng([seed, 1, 0]), progress=progress)
    rng = np.random.default_rng([seed, 2])
    return World(
        sites=SITES,
        chargers=CHARGERS,
        drivers=DRIVERS,
        vehicles=VEHICLES,
        sessions=tuple(_session(stay, frame, rng) for stay in stays),
        demand=tuple(
            SiteDemand(site_id, frame.start, *demand)
            for site_id, demand in demand_of(stays, frame).items()
        ),
        first_day=frame.first_day,
        temperature_c=frame.temperature_c,
        start=frame.start,
        end=end,
    )


def oracle_intensity(
    *, days: int, end: datetime, seed: int = 42, replicates: int = 40
) -> dict[str, FloatArray]:
    """The expected energy of every hour: the ceiling for forecasts that do not see the day so far.

    Calendar, weather and habits are those of `generate_world` with the same arguments; arrivals,
    distances and stays are drawn anew each time and averaged.

    Args:
        days: As in `generate_world`.
        end: As in `generate_world`.
        seed: The world.
        replicates: Over how many draws to average.

    Returns:
        Expected energy in kWh of each whole hour by site, shape (hours,).
    """
    frame = Frame.of(days=days, end=end, seed=seed)
    total = {site.site_id: np.zeros(frame.quarters) for site in SITES}
    for replicate in range(1, replicates + 1):
        stays = simulate(frame, rng=np.random.default_rng([seed, 1, replicate]))
        for site_id, demand in demand_of(stays, frame).items():
            total[site_id] += demand[0] / replicates
    return {site_id: _by_hour(energy_kwh) for site_id, energy_kwh in total.items()}


def _session(stay: Stay, frame: Frame, rng: Generator) -> DemoSession:
    """What is told about a stay."""
    vehicle, charger = VEHICLES[stay.vehicle], CHARGERS[stay.charger]
    quarters = stay.profile_kwh.size
    price = frame.prices(charger.site_id, since_min=stay.arrival_min)[:quarters]
    uncontrolled_kwh = on_arrival(stay.energy_kwh, limit_kwh=stay.limit_kwh())
    capacity_kwh = vehicle.battery_capacity_kwh
    plan_type = _plan_type(DRIVERS[stay.driver], stay.priority)
    return DemoSession(
        site_id=charger.site_id,
        charger_did=charger.did,
        driver_did=DRIVERS[stay.driver].did,
        vehicle_did=vehicle.did,
        started_at=frame.at(stay.arrival_min),
        departure=frame.at(stay.departure_min),
        ended_at=frame.at(stay.end_min),
        trip_distance_km=round(stay.visit.driven_km, 1),
        requested_kwh=stay.requested_kwh,
        energy_kwh=stay.energy_kwh,
        soc_start_percent=100 * stay.soc_start_kwh / capacity_kwh,
        soc_end_percent=100 * (stay.soc_start_kwh + stay.energy_kwh) / capacity_kwh,
        effective_power_kw=stay.power_kw,
        priority=stay.priority,
        plan_type=plan_type,
        offers=_offers(stay, plan_type, frame, rng),
        profile_start=frame.at(stay.quarters.start * QUARTER_MIN),
        profile_kwh=stay.profile_kwh,
        uncontrolled_kwh=uncontrolled_kwh,
        purchase_cost_eur=float(stay.profile_kwh @ price),
        uncontrolled_purchase_cost_eur=float(uncontrolled_kwh @ price),
        sales_cost_eur=stay.energy_kwh * charger.tariff_eur_per_kwh,
    )


def _plan_type(driver: DemoDriver, priority: Priority) -> PlanType:
    if driver.is_carbon_conscious or priority == "carbon":
        return "GREEN"
    return "FAST" if priority == "speed" else "ECONOMY"


def _offers(stay: Stay, plan_type: PlanType, frame: Frame, rng: Generator) -> tuple[DemoOffer, ...]:
    """The incentives a plan came with, answered by chance."""
    started_at = frame.at(stay.arrival_min)
    is_peak = started_at.astimezone(ZoneInfo(TIMEZONE)).hour in PEAK_HOURS
    offers: list[tuple[OfferType, float, str, tuple[datetime, datetime] | None]] = []
    if plan_type == "GREEN":
        offers.append(("reward_points", 50.0, "Charge while the sun shines", None))
    if stay.visit.purpose == "shopping" and is_peak:
        later = started_at + timedelta(hours=DELAY_H)
        slot = (later, later + timedelta(minutes=stay.visit.stay_min))
        offers.append(("discount", 10.0, "Charge after the evening peak", slot))
    if plan_type == "FAST":
        offers.append(("priority_slot", 2.0, "Charge before the others", None))
    return tuple(
        DemoOffer(kind, value, reason, slot, is_accepted=bool(rng.random() < ACCEPTANCE[kind]))
        for kind, value, reason, slot in offers
    )


def _by_hour(values: FloatArray) -> FloatArray:
    """Sums of the whole hours, shape (quarters // 4,)."""
    hours = values.size // QUARTERS_AN_HOUR
    total: FloatArray = values[: hours * QUARTERS_AN_HOUR].reshape(hours, -1).sum(axis=1)
    return total
