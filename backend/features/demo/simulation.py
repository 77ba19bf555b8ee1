"""The play behind the demo world: visits find chargers, batteries fill, demand adds up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

import holidays
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from backend.features.demo.fixtures import (
    AC_LIMIT_KW,
    CHARGERS,
    COUNTRY,
    DRIVERS,
    FLEET_DRIVERS,
    SITES,
    TIMEZONE,
    VEHICLES,
    Priority,
)
from backend.features.demo.visits import (
    PURPOSES,
    SATURDAY,
    Habits,
    Purpose,
    Visit,
    draw_habits,
    visits_of_day,
)

FloatArray = NDArray[np.float64]
Progress = Callable[[float, str], None]

MINUTE = timedelta(minutes=1)
QUARTER_MIN = 15
FORECAST_DAYS = 7
"""Days after the end for which the weather is known."""

PRICE_QUARTERS_AHEAD = 2 * 96

_SITE_ROW = {site.site_id: row for row, site in enumerate(SITES)}

TARGET_SOC = {"work": 0.85, "pool": 0.85, "shift": 0.95, "shopping": 0.85}
MIN_SOC = 0.08
MIN_ENERGY_KWH = 1.0
LAST_ARRIVAL_MIN = 30
"""Nobody plugs in this shortly before the end; whoever is still there then unplugs early."""
CHARGER_PAUSE_MIN = 3
VEHICLE_PAUSE_MIN = 10
EARLY_SHARE = 0.12
MILD_C = 15.0
COLD_EXTRA_PER_C = 0.012


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What does not depend on the chance of a day; minutes count from the start.

    Attributes:
        start: Midnight of the first local day, UTC.
        end_min: When the world ends.
        quarters: Quarter-hours from the start to the end, the last one may be cut.
        first_day: The first local day.
        days: Local days, the one that is cut included.
        temperature_c: Daily means, also of the days to come, shape (days + 7,).
        habits: What people do every week.
        price_eur_per_kwh: Purchase price, known two days beyond the end, shape
            (sites, quarters + 192).
    """

    start: datetime
    end_min: int
    quarters: int
    first_day: date
    days: int
    temperature_c: FloatArray
    habits: Habits
    price_eur_per_kwh: FloatArray

    @classmethod
    def of(cls, *, days: int, end: datetime, seed: int) -> Self:
        """Set up the days before `end` and the part of its day before it."""
        if days < 1 or end.tzinfo is None:
            raise ValueError("a world needs at least one day and an end with a time zone")
        first_day = end.astimezone(ZoneInfo(TIMEZONE)).date() - timedelta(days=days)
        start = midnight(first_day)
        end_min = (end - start) // MINUTE
        quarters = -(-end_min // QUARTER_MIN)
        rng = np.random.default_rng([seed, 0])
        return cls(
            start=start,
            end_min=end_min,
            quarters=quarters,
            first_day=first_day,
            days=days + 1,
            habits=draw_habits(rng),
            temperature_c=_temperature(first_day, days + 1 + FORECAST_DAYS, rng),
            price_eur_per_kwh=_prices(start, quarters + PRICE_QUARTERS_AHEAD),
        )

    def at(self, minute: int) -> datetime:
        """The moment so many minutes after the start, UTC."""
        return self.start + minute * MINUTE

    def prices(self, site_id: str, *, since_min: int) -> FloatArray:
        """The purchase price of a site from the quarter-hour a minute falls into."""
        return self.price_eur_per_kwh[_SITE_ROW[site_id], since_min // QUARTER_MIN :]


@dataclass(frozen=True, slots=True, eq=False)
class Stay:
    """A visit that charged; positions point into the fixtures, minutes count from the start.

    Attributes:
        visit: Who came and why.
        charger: Position of the charger.
        vehicle: Position of the vehicle.
        driver: Position of the driver.
        arrival_min: Plugged in.
        departure_min: When the driver meant to leave.
        end_min: Unplugged.
        soc_start_kwh: Energy in the battery on arrival.
        requested_kwh: What it lacked to its target, as far as the stay allowed.
        power_kw: Power reached on average.
        priority: What mattered to the driver.
        profile_kwh: Energy of each quarter-hour in whole watt-hours, shape (quarters,).
    """

    visit: Visit
    charger: int
    vehicle: int
    driver: int
    arrival_min: int
    departure_min: int
    end_min: int
    soc_start_kwh: float
    requested_kwh: float
    power_kw: float
    priority: Priority
    profile_kwh: FloatArray

    @property
    def quarters(self) -> slice:
        """The quarter-hours of the world it touches."""
        first = self.arrival_min // QUARTER_MIN
        return slice(first, first + self.profile_kwh.size)

    def limit_kwh(self) -> FloatArray:
        """Most energy each quarter-hour could have delivered, shape (quarters,)."""
        return self.power_kw * _overlap_h(self.arrival_min, self.end_min)

    @property
    def energy_kwh(self) -> float:
        """Energy delivered, a whole number of watt-hours."""
        return round(float(self.profile_kwh.sum()), 3)


@dataclass(slots=True)
class _State:
    """Until which minute chargers and vehicles are taken, and the energy in the batteries."""

    charger_free_min: list[int]
    vehicle_free_min: list[int]
    battery_kwh: list[float]

    @classmethod
    def drawn(cls, rng: Generator) -> Self:
        battery_kwh = [each.battery_capacity_kwh * rng.uniform(0.7, 0.85) for each in VEHICLES]
        return cls([0] * len(CHARGERS), [0] * len(VEHICLES), battery_kwh)

    def take(self, stay: Stay) -> None:
        self.charger_free_min[stay.charger] = stay.end_min + CHARGER_PAUSE_MIN
        self.vehicle_free_min[stay.vehicle] = stay.end_min + VEHICLE_PAUSE_MIN
        self.battery_kwh[stay.vehicle] = stay.soc_start_kwh + stay.energy_kwh


def simulate(frame: Frame, *, rng: Generator, progress: Progress | None = None) -> list[Stay]:
    """Play the days through in the order of arrivals.

    Args:
        frame: The world.
        rng: The chance of every day.
        progress: Called with the share done (0 to 1) and what is being done.

    Returns:
        The stays in the order of their arrivals.
    """
    state = _State.drawn(rng)
    stays: list[Stay] = []
    years = range(frame.first_day.year, frame.first_day.year + frame.days // 365 + 2)
    holiday = holidays.country_holidays(COUNTRY, years=years)
    for number in range(frame.days):
        day = frame.first_day + timedelta(days=number)
        is_off_day = day.weekday() >= SATURDAY or day in holiday
        visits = visits_of_day(day, is_off_day=is_off_day, habits=frame.habits, rng=rng)
        cold = 1.0 + COLD_EXTRA_PER_C * max(0.0, MILD_C - frame.temperature_c[number])
        midnight_min = (midnight(day) - frame.start) // MINUTE
        for visit in sorted(visits, key=lambda each: each.arrival_min):
            stay = _charged(visit, midnight_min, cold=cold, frame=frame, state=state, rng=rng)
            if stay is not None:
                state.take(stay)
                stays.append(stay)
        if progress is not None:
            progress((number + 1) / frame.days, f"Simulated {day.isoformat()}")
    return stays


def cheapest_first(
    energy_kwh: float, *, limit_kwh: FloatArray, price_eur_per_kwh: FloatArray
) -> FloatArray:
    """Place energy in the cheapest quarter-hours, the earliest of equal ones first.

    Args:
        energy_kwh: How much; what does not fit is left out.
        limit_kwh: Most energy each quarter-hour can deliver, shape (quarters,).
        price_eur_per_kwh: Its price, shape (quarters,).

    Returns:
        Energy of each quarter-hour, shape (quarters,).
    """
    order = np.argsort(price_eur_per_kwh, kind="stable")
    reached = np.minimum(np.cumsum(limit_kwh[order]), energy_kwh)
    placed = np.zeros(limit_kwh.shape)
    placed[order] = np.diff(reached, prepend=0.0)
    return placed


def on_arrival(energy_kwh: float, *, limit_kwh: FloatArray) -> FloatArray:
    """Place energy from the first quarter-hour on at full power, shape (quarters,)."""
    return np.diff(np.minimum(np.cumsum(limit_kwh), energy_kwh), prepend=0.0)


def demand_of(stays: Sequence[Stay], frame: Frame) -> dict[str, FloatArray]:
    """Add the stays up by site and quarter-hour.

    Returns:
        For each site the energy in kWh, the mean number of vehicles plugged in and the number of
        sessions started, shape (3, quarters).
    """
    total = {site.site_id: np.zeros((3, frame.quarters)) for site in SITES}
    for stay in stays:
        demand = total[stay.visit.site_id]
        demand[0, stay.quarters] += stay.profile_kwh
        demand[1, stay.quarters] += _overlap_h(stay.arrival_min, stay.end_min) * 60 / QUARTER_MIN
        demand[2, stay.quarters.start] += 1
    return total


def midnight(day: date) -> datetime:
    """The beginning of a local day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(TIMEZONE)).astimezone(UTC)


def _charged(
    visit: Visit, midnight_min: int, *, cold: float, frame: Frame, state: _State, rng: Generator
) -> Stay | None:
    """Give a visit its vehicle and charger and charge it; None if it goes away again.

    Args:
        visit: Who would like to charge.
        midnight_min: Beginning of its day.
        cold: How much more a vehicle consumes in the cold, 1 for not at all.
        frame: The world.
        state: Where everything is.
        rng: Chance.
    """
    arrival_min = midnight_min + visit.arrival_min
    departure_min = arrival_min + visit.stay_min
    last_min = frame.end_min - int(rng.integers(1, 6))
    end_min = min(_unplugged_min(visit, departure_min, rng), last_min)
    vehicle = _free_vehicle(visit, arrival_min, state)
    charger = _free_charger(visit, arrival_min, state)
    if vehicle is None or charger is None or arrival_min > frame.end_min - LAST_ARRIVAL_MIN:
        return None
    battery = VEHICLES[vehicle]
    driver = _driver_of(vehicle) if visit.driver is None else visit.driver
    used_kwh = visit.driven_km * battery.nominal_consumption_wh_per_km / 1000 * cold
    soc_start_kwh = max(
        state.battery_kwh[vehicle] - used_kwh, MIN_SOC * battery.battery_capacity_kwh
    )
    power_kw = battery.effective_power_kw(CHARGERS[charger])
    target_kwh = TARGET_SOC[visit.purpose] * battery.battery_capacity_kwh
    requested_kwh = max(min(target_kwh - soc_start_kwh, power_kw * visit.stay_min / 60), 0.0)
    priority = "cost" if visit.purpose == "shift" else DRIVERS[driver].priority
    profile_kwh = _profile(
        requested_kwh,
        planned_limit_kwh=power_kw * _overlap_h(arrival_min, departure_min),
        limit_kwh=power_kw * _overlap_h(arrival_min, end_min),
        price_eur_per_kwh=frame.prices(visit.site_id, since_min=arrival_min),
        is_smart=priority != "speed",
    )
    if profile_kwh.sum() < MIN_ENERGY_KWH:
        return None
    return Stay(
        visit=visit,
        charger=charger,
        vehicle=vehicle,
        driver=driver,
        arrival_min=arrival_min,
        departure_min=departure_min,
        end_min=end_min,
        soc_start_kwh=soc_start_kwh,
        requested_kwh=requested_kwh,
        power_kw=power_kw,
        priority=priority,
        profile_kwh=profile_kwh,
    )


def _profile(
    energy_kwh: float,
    *,
    planned_limit_kwh: FloatArray,
    limit_kwh: FloatArray,
    price_eur_per_kwh: FloatArray,
    is_smart: bool,
) -> FloatArray:
    """Plan until the stated departure, deliver until the vehicle is really unplugged."""
    if is_smart:
        price = price_eur_per_kwh[: planned_limit_kwh.size]
        planned = cheapest_first(energy_kwh, limit_kwh=planned_limit_kwh, price_eur_per_kwh=price)
    else:
        planned = on_arrival(energy_kwh, limit_kwh=planned_limit_kwh)
    stayed = np.pad(planned, (0, limit_kwh.size))[: limit_kwh.size]
    return np.floor(np.minimum(stayed, limit_kwh) * 1000 + 1e-9) / 1000  # meters count watt-hours


def _unplugged_min(visit: Visit, departure_min: int, rng: Generator) -> int:
    """When the vehicle really leaves: vans on time, others sometimes early or a little late."""
    if visit.purpose == "shift":
        return departure_min
    if rng.random() < EARLY_SHARE:
        return departure_min - int(rng.uniform(0.05, 0.3) * visit.stay_min)
    return departure_min + int(rng.exponential(8.0))


def _free_vehicle(visit: Visit, arrival_min: int, state: _State) -> int | None:
    """The first candidate that is free and may charge at the site."""
    for vehicle in visit.candidates:
        is_allowed = visit.site_id in DRIVERS[_driver_of(vehicle)].allowed_sites
        if is_allowed and state.vehicle_free_min[vehicle] <= arrival_min:
            return vehicle
    return None


def _free_charger(visit: Visit, arrival_min: int, state: _State) -> int | None:
    """The free charger that suits best: slow for long stays, fast for short ones."""
    free = [
        position
        for position in _SUITED[visit.site_id, visit.purpose]
        if state.charger_free_min[position] <= arrival_min
    ]
    return free[0] if free else None


def _driver_of(vehicle: int) -> int:
    """Who drives a vehicle when nobody else is named."""
    return vehicle if vehicle < len(DRIVERS) else FLEET_DRIVERS[vehicle % len(FLEET_DRIVERS)]


def _suitability(power_kw: float, purpose: Purpose) -> float:
    """The lower the better."""
    if purpose == "work":
        return power_kw
    return abs(power_kw - AC_LIMIT_KW) if purpose == "shift" else -power_kw


_SUITED: Mapping[tuple[str, Purpose], Sequence[int]] = {
    (site.site_id, purpose): sorted(
        (i for i, charger in enumerate(CHARGERS) if charger.site_id == site.site_id),
        key=lambda i: _suitability(CHARGERS[i].max_power_kw, purpose),
    )
    for site in SITES
    for purpose in PURPOSES
}


def _overlap_h(begin_min: int, end_min: int) -> FloatArray:
    """How much of each quarter-hour an interval covers, from the one it begins in, in hours."""
    first = begin_min // QUARTER_MIN
    edges = QUARTER_MIN * np.arange(first, -(-end_min // QUARTER_MIN) + 1)
    covered = np.diff(np.clip(edges, begin_min, end_min)) / 60
    return covered.astype(np.float64)


def _temperature(first_day: date, days: int, rng: Generator) -> FloatArray:
    """Daily means around the climate of Helsinki, with spells of a few days."""
    day_of_year = first_day.timetuple().tm_yday + np.arange(days)
    climate_c = 6.5 - 11.5 * np.cos(2 * np.pi * (day_of_year - 28) / 365.25)
    spell_c = np.zeros(days)
    for day in range(days):
        spell_c[day] = 0.75 * spell_c[max(day - 1, 0)] + rng.normal(0.0, 2.2)
    return np.asarray(climate_c + spell_c, dtype=np.float64)


def _prices(start: datetime, quarters: int) -> FloatArray:
    zone = ZoneInfo(TIMEZONE)
    moments = (start + quarter * QUARTER_MIN * MINUTE for quarter in range(quarters))
    hours = [moment.astimezone(zone).hour for moment in moments]
    by_hour = np.array([site.purchase_price_eur_per_kwh for site in SITES])
    return np.asarray(by_hour[:, hours], dtype=np.float64)
