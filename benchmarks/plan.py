"""How close the plan comes to perfect foresight on recorded days, and what it costs to make.

Sites (S1-S4): every policy lives through the same days, seeing arrivals when they happen. The ratio
is the bill plus 0.5 per kWh of shortfall over that of perfect foresight; a vehicle is met that
misses at most 0.1 kWh. Stated departures (S3): demand is the energy that was delivered, departures
are what drivers said, stays are learned from the 75 days before. Solver (S5-S11) and trips (T1-T3)
are measured by plan_solver and plan_trip.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.features.sessions.recordings import (
    Day,
    Recording,
    day_of,
    days_to_measure,
    days_with_statements,
    read_sessions,
    with_equipment,
)
from backend.features.sessions.replays import FORESIGHT, Lived, live
from benchmarks._crowded import burst_24_first_try, start_with_50_open_p95_ms

DATA = Path(os.environ.get("TASCO_DATA", "../shared/data")) / "sessions"
SITE_FILE, STATED_FILE = DATA / "jpl_2019H1.csv", DATA / "caltech_2020-12_2021-05.csv"
SITE_DAYS = tuple(date(2019, 5, day) for day in (6, 7, 8, 9, 13, 14, 15, 16, 20, 21))
STATED_FROM = date(2021, 3, 1)
SHORTFALL_PER_KWH = 0.5
TAPER_KWH = 3.0
RULES = ("round-robin", "fcfs", "edf", "llf")
OURS = ("mpc-naive", "mpc")
UNLIMITED = float("inf")

KEYS = (  # measured or null
    *("ratio_cap_0_7", "ratio_cap_0_5", "delivered_pct_cap_0_7", "delivered_pct_cap_0_5"),
    *("offline_delivered_pct_cap_0_7", "offline_delivered_pct_cap_0_5"),
    *("congested_delivered_pct", "congested_met_pct"),
    *("congested_delivered_minus_llf", "congested_met_minus_edf"),
    *("stated_delivered_pct", "stated_met_pct", "stated_ratio", "limit_violations"),
    *("step_cpu_ms_median_76", "step_cpu_ms_p99_76", "step_cpu_ms_1000", "step_cpu_ms_5000"),
    *("x_raw_piqp", "x_raw_highs", "next_step_change_pct", "random_cases", "random_cases_failed"),
    *("three_phase_gap_pct", "three_phase_violations", "three_phase_ms"),
    *("v2g_floor_violations", "v2g_losses", "explanation_error_pct"),
    *("trip_winter_error_points", "trip_losses_error_points", "start_with_50_open_p95_ms"),
    "burst_24_first_try",
)


@dataclass(frozen=True, slots=True)
class Row:
    """What a policy made of a set of days."""

    days: str
    cap: float | None
    policy: str
    vehicles: int
    delivered_pct: float
    met_pct: float
    mean_peak_kw: float
    bill: float
    ratio: float | None
    violations: int
    step_cpu_ms_median: float | None
    step_cpu_ms_p99: float | None


def row_of(name: str, cap: float, policy: str, lived: Sequence[Lived], best: float | None) -> Row:
    """Sum up days; `best` is what perfect foresight paid, None if it is not to be compared."""
    outcomes = [one.outcome for one in lived]
    vehicles = sum(one.vehicles for one in outcomes)
    demand_kwh = sum(one.demand_kwh for one in outcomes)
    delivered_kwh = sum(one.delivered_kwh for one in outcomes)
    cpu_ms = 1000 * np.concatenate([one.replay.step_cpu_s for one in lived])
    return Row(
        days=name,
        cap=None if cap == UNLIMITED else cap,
        policy=policy,
        vehicles=vehicles,
        delivered_pct=100 * delivered_kwh / demand_kwh,
        met_pct=100 * sum(one.met for one in outcomes) / vehicles,
        mean_peak_kw=float(np.mean([one.peak_kw for one in outcomes])),
        bill=sum(one.bill_eur for one in outcomes),
        ratio=None if best is None else paid(lived) / best,
        violations=sum(len(one.replay.violations) for one in lived),
        step_cpu_ms_median=float(np.median(cpu_ms)) if cpu_ms.size else None,
        step_cpu_ms_p99=float(np.quantile(cpu_ms, 0.99)) if cpu_ms.size else None,
    )


def paid(lived: Iterable[Lived]) -> float:
    """The bill, and what the shortfall counts."""
    return sum(
        one.outcome.bill_eur
        + SHORTFALL_PER_KWH * (one.outcome.demand_kwh - one.outcome.delivered_kwh)
        for one in lived
    )


def measure(name: str, days: Sequence[Day], cap: float, policies: Sequence[str]) -> list[Row]:
    """Let every policy live through the same days."""
    rows, best = [], None
    for policy in policies:
        print(f"{name}, cap {cap}: {policy}", file=sys.stderr)
        lived = [live(day, policy) for day in days]
        best = paid(lived) if policy == FORESIGHT else best
        rows.append(row_of(name, cap, policy, lived, best))
    return rows


def site_rows(places: Sequence[tuple[Recording, Sequence[date]]]) -> list[Row]:
    """Every policy at every cap, and ours once more with minimum current and tapering batteries."""
    rows: list[Row] = []
    for cap in (UNLIMITED, 0.7, 0.5, 0.3):
        days = [day_of(place, one, cap=cap) for place, dates in places for one in dates]
        policies = ("uncontrolled",) if cap == UNLIMITED else (FORESIGHT, *RULES, *OURS)
        rows += measure("departures known", days, cap, policies)
        if cap in {0.5, 0.3}:
            equipped = [with_equipment(day, taper_kwh=TAPER_KWH) for day in days]
            rows += measure("6 A and taper", equipped, cap, ("edf", "mpc"))
    return rows


def stated_rows(places: Sequence[tuple[Recording, Sequence[date]]]) -> list[Row]:
    """Days on which the plan knows only what drivers said and what earlier days taught."""
    days = [day_of(place, one, cap=0.6, is_stated=True) for place, dates in places for one in dates]
    days = [day for day in days if len(day.visits.demand_kwh)]
    return measure("departures stated", days, 0.6, (FORESIGHT, "edf", "mpc", "mpc-stays"))


def site_figures(rows: Sequence[Row]) -> dict[str, float]:
    """The keys of S1 and S2."""
    found = {(row.cap, row.policy): row for row in rows if row.days == "departures known"}
    ours = {cap: found[cap, "mpc"] for cap in (0.7, 0.5, 0.3)}
    figures: dict[str, float] = {}
    for cap, key in ((0.7, "cap_0_7"), (0.5, "cap_0_5")):
        figures[f"ratio_{key}"] = ours[cap].ratio or float("inf")
        figures[f"delivered_pct_{key}"] = ours[cap].delivered_pct
        figures[f"offline_delivered_pct_{key}"] = found[cap, FORESIGHT].delivered_pct
    congested, llf, edf = ours[0.3], found[0.3, "llf"], found[0.3, "edf"]
    return figures | {
        "congested_delivered_pct": congested.delivered_pct,
        "congested_met_pct": congested.met_pct,
        "congested_delivered_minus_llf": congested.delivered_pct - llf.delivered_pct,
        "congested_met_minus_edf": congested.met_pct - edf.met_pct,
    }


def stated_figures(rows: Sequence[Row]) -> dict[str, float]:
    """The keys of S3."""
    ours = next(row for row in rows if row.policy == "mpc-stays")
    return {
        "stated_delivered_pct": ours.delivered_pct,
        "stated_met_pct": ours.met_pct,
        "stated_ratio": ours.ratio or float("inf"),
    }


Rule = Callable[[Recording], Sequence[date]]


def chosen(file: Path, rule: Rule) -> list[tuple[Recording, Sequence[date]]]:
    """The sites of a file that have days to measure, with these days."""
    places = [(place, rule(place)) for place in read_sessions(file).values()]
    return [(place, dates) for place, dates in places if dates]


def named_days(place: Recording, *, named: Sequence[date]) -> Sequence[date]:
    """Those of the named days on which somebody came."""
    return [day for day in named if place.on(day)]


def named_days_with_statements(place: Recording, *, named: Sequence[date]) -> Sequence[date]:
    """Those of the named days on which somebody said when to leave."""
    return [day for day in named if any(one.stated_departure for one in place.on(day))]


def days_of_spring(place: Recording) -> Sequence[date]:
    """The days with statements that are measured unless a file is given."""
    return [day for day in days_with_statements(place) if day >= STATED_FROM]


def rules(args: argparse.Namespace) -> tuple[Rule, Rule]:
    """How days are chosen: for known and for stated departures."""
    if args.days:
        return (
            partial(named_days, named=args.days),
            partial(named_days_with_statements, named=args.days),
        )
    if args.data:
        return days_to_measure, days_with_statements
    return partial(named_days, named=SITE_DAYS), days_of_spring


def day_figures(args: argparse.Namespace) -> tuple[dict[str, float], list[Row]]:
    """S1 to S4, as far as the files have days for them."""
    known, stated = rules(args)
    figures: dict[str, float] = {}
    rows: list[Row] = []
    places = chosen(args.data or SITE_FILE, known)
    if places:
        rows += site_rows(places)
        figures |= site_figures(rows)
    places = chosen(args.data or STATED_FILE, stated)
    if places:
        found = stated_rows(places)
        figures |= stated_figures(found)
        rows += found
    if rows:
        held = (row.violations for row in rows if row.policy != "uncontrolled")
        figures["limit_violations"] = sum(held)
    return figures, rows


def solver_figures(random_cases: int) -> dict[str, Any]:
    """S5 to S11, or nothing while their benchmark does not exist."""
    module = part("plan_solver")
    if module is None:
        return {}
    day = module.real_day(SITE_FILE, "2019-05-15") if SITE_FILE.exists() else None
    return dict(module.all_figures(day=day, random_cases=random_cases))


def trip_figures() -> dict[str, Any]:
    """T1 and T2, and T3 when its oracle is installed."""
    module = part("plan_trip")
    if module is None:
        return {}
    oracle = module.fastsim_figures() if module.has_fastsim() else {}
    return {**module.winter_figures(), **module.losses_figures(), **oracle}


def part(name: str) -> ModuleType | None:
    """Another benchmark, None if it does not exist."""
    if importlib.util.find_spec(f"benchmarks.{name}") is None:
        return None
    print(name, file=sys.stderr)
    return importlib.import_module(f"benchmarks.{name}")


def table_of(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    table = Table(*(field.name for field in fields(Row)))
    for row in rows:
        table.add_row(*(_shown(value) for value in asdict(row).values()))
    return table


def _shown(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}".removesuffix(".000") if isinstance(value, float) else str(value)


def options() -> argparse.Namespace:
    """What the caller asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, help="file of sessions, with its columns")
    parser.add_argument(
        "--days",
        type=lambda text: [date.fromisoformat(day) for day in text.split(",") if day],
        default=[],
        help="dates to measure: 2019-05-06,2019-05-07",
    )
    parser.add_argument(
        "--parts",
        type=lambda text: set(text.split(",")),
        default={"days", "solver", "trips", "start"},
        help="what to measure: days,solver,trips,start",
    )
    parser.add_argument("--random-cases", type=int, default=10_000)
    return parser.parse_args()


def main() -> None:
    args = options()
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    rows: list[Row] = []
    if "days" in args.parts:
        found, rows = day_figures(args)
        figures |= found
    if "solver" in args.parts:
        figures |= solver_figures(args.random_cases)
    if "trips" in args.parts:
        figures |= trip_figures()
    if "start" in args.parts:
        figures["start_with_50_open_p95_ms"] = start_with_50_open_p95_ms()
        figures["burst_24_first_try"] = burst_24_first_try()
    if args.json:
        print(json.dumps(figures | {"policies": [asdict(row) for row in rows]}))
        return
    console = Console(width=160)
    console.print(table_of(rows))
    for name, value in figures.items():
        console.print(f"{name:<40}{_shown(value):>12}")


if __name__ == "__main__":
    main()
