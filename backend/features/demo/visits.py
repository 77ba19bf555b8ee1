"""Who comes to which site when: the habits of the demo world and the chance around them.

The shapes follow published charging sessions: at a workplace most cars arrive between half past six
and nine and stay eight to ten hours, some come at lunch; weekends have two in a hundred arrivals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from backend.features.demo.fixtures import (
    CARS,
    FLEET_DRIVERS,
    HQ_STAFF,
    OFFICE_STAFF,
    POOL_CARS,
    VANS,
)

Purpose = Literal["work", "pool", "shift", "shopping"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

HOUR_MIN = 60
DAY_MIN = 24 * HOUR_MIN
SATURDAY = 5
NOON_MIN = 12 * HOUR_MIN
SHOPS_OPEN_MIN = 9 * HOUR_MIN
SHOPS_CLOSE_MIN = 21 * HOUR_MIN
EVENING_MIN = 15 * HOUR_MIN + 30
"""From here on the cars of the staff may be at the shops."""

STAFF = len(HQ_STAFF) + len(OFFICE_STAFF)
PRESENCE = 0.94
OFF_DAY_PRESENCE = 0.03
SHOPPERS_A_DAY = {"site_mall": (13.2, 19.0), "site_retail": (10.3, 14.5)}
"""Expected arrivals on a work day and on a day off."""
EVENING_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Visit:
    """A vehicle that wants to charge; it is turned away when no charger is free.

    Attributes:
        site_id: Where it goes.
        purpose: What it comes for.
        arrival_min: Local time of arrival, minutes after midnight.
        stay_min: How long it means to stay.
        candidates: Positions of the vehicles that may come; the first that is free does.
        driver: Position of the driver, None for the owner of the vehicle.
        driven_km: Distance driven since it charged last.
    """

    site_id: str
    purpose: Purpose
    arrival_min: int
    stay_min: int
    candidates: tuple[int, ...]
    driver: int | None
    driven_km: float


@dataclass(frozen=True, slots=True, eq=False)
class Habits:
    """What people do the same way every week.

    Attributes:
        arrival_min: Usual arrival at work, minutes after midnight, shape (staff,).
        leave_min: Usual end of work, shape (staff,).
        commute_km: Distance between two days at work, shape (staff,).
        day_plan: Each weekday 0 stays at home, 1 comes in the morning, 2 at lunch, shape
            (staff, 5).
        van_return_min: Usual return to the depot, shape (vans,).
        van_leave_min: Usual start in the morning, shape (vans,).
        route_km: Length of the daily route, shape (vans,).
        van_runs: Whether the van has a route on this weekday, shape (vans, 7).
    """

    arrival_min: NDArray[np.float64]
    leave_min: NDArray[np.float64]
    commute_km: NDArray[np.float64]
    day_plan: NDArray[np.int64]
    van_return_min: NDArray[np.float64]
    van_leave_min: NDArray[np.float64]
    route_km: NDArray[np.float64]
    van_runs: NDArray[np.bool_]


def draw_habits(rng: Generator) -> Habits:
    """Draw the habits of one world."""
    day_plan = rng.choice(3, size=(STAFF, 5), p=(0.10, 0.70, 0.20))
    van_runs = np.zeros((VANS, 7), dtype=np.bool_)
    van_runs[:, :5] = rng.random((VANS, 5)) < 0.88  # noqa: PLR2004  # share of routes a weekday has
    van_runs[:2, SATURDAY] = True
    return Habits(
        arrival_min=np.clip(rng.normal(7.7, 0.6, STAFF), 6.6, 8.9) * HOUR_MIN,
        leave_min=np.clip(rng.normal(16.4, 0.6, STAFF), 15.2, 17.8) * HOUR_MIN,
        commute_km=rng.uniform(35.0, 110.0, STAFF),
        day_plan=day_plan.astype(np.int64),
        van_return_min=rng.uniform(16.4, 19.5, VANS) * HOUR_MIN,
        van_leave_min=rng.uniform(5.3, 6.8, VANS) * HOUR_MIN,
        route_km=rng.uniform(85.0, 165.0, VANS),
        van_runs=van_runs,
    )


def visits_of_day(day: date, *, is_off_day: bool, habits: Habits, rng: Generator) -> list[Visit]:
    """Draw the visits that begin on one local day.

    Args:
        day: The day.
        is_off_day: Whether it is a weekend day or a public holiday.
        habits: What everyone usually does.
        rng: Chance of this day.
    """
    weekday = day.weekday()
    return [
        *_staff(weekday, is_off_day=is_off_day, habits=habits, rng=rng),
        *(() if is_off_day else _pool_cars(rng)),
        *_vans(weekday, is_off_day=is_off_day, habits=habits, rng=rng),
        *_shoppers(is_off_day=is_off_day, rng=rng),
    ]


def _staff(weekday: int, *, is_off_day: bool, habits: Habits, rng: Generator) -> Iterator[Visit]:
    for person in range(STAFF):
        plan = 1 if is_off_day else habits.day_plan[person, weekday]
        comes = rng.random() < (OFF_DAY_PRESENCE if is_off_day else PRESENCE)
        arrival_min = rng.normal(habits.arrival_min[person] if plan == 1 else NOON_MIN - 10, 11.0)
        leave_min = rng.normal(habits.leave_min[person], 18.0)
        driven_km = habits.commute_km[person] * rng.normal(1.0, 0.08)
        if comes and plan:
            yield Visit(
                site_id="site_hq" if person in HQ_STAFF else "site_office",
                purpose="work",
                arrival_min=int(arrival_min),
                stay_min=int(leave_min - arrival_min),
                candidates=(person,),
                driver=None,
                driven_km=driven_km,
            )


def _pool_cars(rng: Generator) -> Iterator[Visit]:
    """Company cars back from the morning's errands."""
    for site_id in ("site_hq", "site_hq", "site_office"):
        if rng.random() < 0.8:  # noqa: PLR2004  # share of days with such an errand
            yield Visit(
                site_id=site_id,
                purpose="pool",
                arrival_min=int(rng.normal(NOON_MIN, 20.0)),
                stay_min=int(rng.uniform(90.0, 160.0)),
                candidates=_shuffled(POOL_CARS, rng),
                driver=int(rng.choice(FLEET_DRIVERS)),
                driven_km=rng.uniform(40.0, 90.0),
            )


def _vans(weekday: int, *, is_off_day: bool, habits: Habits, rng: Generator) -> Iterator[Visit]:
    for van in range(VANS):
        runs = habits.van_runs[van, weekday] and (weekday == SATURDAY or not is_off_day)
        return_min = rng.normal(habits.van_return_min[van], 12.0)
        leave_min = DAY_MIN + rng.normal(habits.van_leave_min[van], 8.0)
        driven_km = habits.route_km[van] * rng.normal(1.0, 0.08)
        if runs and rng.random() < 0.95:  # noqa: PLR2004  # the rest is in the workshop
            yield Visit(
                site_id="site_depot",
                purpose="shift",
                arrival_min=int(return_min),
                stay_min=int(leave_min - return_min),
                candidates=(CARS + van,),
                driver=FLEET_DRIVERS[van % len(FLEET_DRIVERS)],
                driven_km=driven_km,
            )


def _shoppers(*, is_off_day: bool, rng: Generator) -> Iterator[Visit]:
    for site_id, arrivals_a_day in SHOPPERS_A_DAY.items():
        for _ in range(rng.poisson(arrivals_a_day[is_off_day])):
            arrival_min = _shopping_time(is_off_day=is_off_day, rng=rng)
            if not SHOPS_OPEN_MIN <= arrival_min < SHOPS_CLOSE_MIN:
                continue
            yield Visit(
                site_id=site_id,
                purpose="shopping",
                arrival_min=arrival_min,
                stay_min=int(np.clip(48.0 * rng.lognormal(0.0, 0.3), 20.0, 120.0)),
                candidates=_shopping_vehicles(arrival_min, is_off_day=is_off_day, rng=rng),
                driver=None,
                driven_km=rng.gamma(9.0, 6.5),
            )


def _shopping_time(*, is_off_day: bool, rng: Generator) -> int:
    if rng.random() < EVENING_SHARE:
        return int(rng.normal(17.9 * HOUR_MIN, 45.0))
    return int(rng.normal((14.5 if is_off_day else 13.0) * HOUR_MIN, 100.0))


def _shopping_vehicles(arrival_min: int, *, is_off_day: bool, rng: Generator) -> tuple[int, ...]:
    """Vans and pool cars by day, everybody's own car in the evening and on days off."""
    if is_off_day or arrival_min >= EVENING_MIN:
        return _shuffled(range(CARS), rng)
    return _shuffled(range(POOL_CARS.start, CARS + VANS), rng)


def _shuffled(vehicles: range, rng: Generator) -> tuple[int, ...]:
    return tuple(
        int(vehicle) for vehicle in rng.permutation(np.arange(vehicles.start, vehicles.stop))
    )
