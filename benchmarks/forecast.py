"""Demand forecasts on recorded sites: skill, bands, cold start, shift, drift and cost.

`--data DIR` holds `*_hourly.csv` files (site, timestamp with offset, energy_kwh, sessions,
occupancy), `--split FILE` says which days are tested: the README's sentences or JSON, both
described at `backend.features.forecasts.recorded.read_windows`. Without a split the README of the
folder is read, else the last eight weeks of each site are tested. `--shift DIR` holds files of much
later data; a model of the first folder, trained until 2019, forecasts them.
Horizons 1, 3, 6, 12, 18 and 24 h are pooled, origins every 3 h; absolute errors are the median's,
R² the mean's. What the given files do not allow is null.
"""

import argparse
import importlib
import json
import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from backend.features.forecasts.recorded import RecordsUnreadable, read_hourly, read_windows
from backend.forecasting.backtest import Backtest, Window, backtest, cold_start_wape
from backend.forecasting.drift import REFERENCE_DAYS, find_drift, work_days
from backend.forecasting.history import FloatArray, SiteHistory

DEMAND = Path(os.environ.get("TASCO_DATA", "../shared/data")) / "demand"
LEAST_KWH = 3.0  # per hour; smaller sites' days say nothing about their level
STABLE_WITHIN = 0.15  # how far later months may lie from the reference
SHIFT = 1 - 0.46
SEEDED_SHIFTS = 8
SHIFT_SEED = 7
SETTLING_DAYS = 30
DAYS_A_YEAR = 250  # work days
TRAINED_UNTIL = datetime(2020, 1, 1, tzinfo=UTC)
MUCH_LATER = datetime(2020, 6, 1, tzinfo=UTC)
VEHICLE_KEYS = (
    "availability_auc",
    "availability_auc_1h",
    "availability_ece",
    "availability_after_gap_auc",
    "energy_at_plug_in_mae_kwh",
    "energy_to_full_skill_pct",
    "edge_bundle_kb",
    "edge_row_us_p50",
    "onnx_parity_max",
)


def demand_figures(outcome: Backtest) -> dict[str, Any]:
    """The keys about skill and bands."""
    sites = outcome.figures
    loss = np.array([one.pinball for one in sites.values()])

    def skill_against(form: str) -> float:
        usual = np.array([getattr(one, form) for one in sites.values()])
        return 100 * (1 - float(loss.sum() / usual.sum()))

    coverage = [100 * one.coverage_80 for one in sites.values()]
    by_site = {name.replace("-", "_"): one for name, one in sites.items()}
    return {
        "macro_mae_skill_pct": 100 * float(np.mean([one.mae_skill for one in sites.values()])),
        **{f"{name}_wape": one.wape for name, one in by_site.items()},
        **{f"{name}_r2": one.r2 for name, one in by_site.items()},
        "sites_worse_than_like_day": sum(one.wape > one.like_day_wape for one in sites.values()),
        "pinball_skill_pct": skill_against("climatology_pinball"),
        "pinball_skill_of_level_pct": skill_against("level_climatology_pinball"),
        "pinball_skill_of_utc_pct": skill_against("utc_climatology_pinball"),
        "coverage_80_min": min(coverage),
        "coverage_80_max": max(coverage),
    }


def cold_start(
    histories: list[SiteHistory], windows: dict[str, Window], outcome: Backtest, console: Console
) -> dict[str, Any]:
    """Points of WAPE lost where a site was never trained on."""
    if len(histories) < 2:  # noqa: PLR2004  # somebody else has to be trained on
        return {"cold_start_loss_points": None, "cold_start_wape": {}}
    wape = {}
    for site_id in outcome.figures:
        console.print(f"leaving out {site_id}")
        wape[site_id] = cold_start_wape(histories, windows, site_id=site_id)
    lost = [100 * (wape[site_id] - one.wape) for site_id, one in outcome.figures.items()]
    return {"cold_start_loss_points": float(np.mean(lost)), "cold_start_wape": wape}


def shift_figures(histories: list[SiteHistory], folder: Path | None) -> dict[str, Any]:
    """A model that has seen nothing after 2019 on what came much later.

    Later are the sites of the folder, else those of the data that begin after `MUCH_LATER`; where
    the data begin after 2019, the model is trained on the development set if it is there.
    """
    given = read_hourly(folder) if folder else [one for one in histories if one.start > MUCH_LATER]
    earlier = [one for one in histories if one.start < TRAINED_UNTIL]
    if given and not earlier and DEMAND.exists():
        earlier = read_hourly(DEMAND)
    past = [
        one.cut(since_h=0, until_h=max(one.index_of(TRAINED_UNTIL), 0))
        for one in earlier
        if one.start < TRAINED_UNTIL
    ]
    if not given or not past:
        return {"shift_wape": None, "shift_r2": None}
    later = [replace(one, site_id=f"{one.site_id} later") for one in given]
    windows = {
        one.site_id: replace(
            Window.last_weeks(one),
            test_from=one.start + (one.end - one.start) * 0.3,
            calibrate_from=one.start,
            train_from=one.end,  # nothing of it is trained on
        )
        for one in later
    }
    sites = backtest([*past, *later], windows).figures
    return {
        "shift_wape": float(np.mean([one.wape for one in sites.values()])),
        "shift_r2": float(np.mean([one.r2 for one in sites.values()])),
        "shift_sites": {name: asdict(one) for name, one in sites.items()},
    }


def is_stable(energy_kwh: FloatArray) -> bool:
    """Whether work days lie at one level: later thirds within 15 % of the reference."""
    if energy_kwh.size < REFERENCE_DAYS + 3 * SETTLING_DAYS:
        return False
    usual = float(energy_kwh[:REFERENCE_DAYS].mean())
    thirds = [float(part.mean()) for part in np.array_split(energy_kwh[REFERENCE_DAYS:], 3)]
    return usual > 24 * LEAST_KWH and all(abs(one / usual - 1) < STABLE_WITHIN for one in thirds)


def stable_stretch(energy_kwh: FloatArray) -> FloatArray | None:
    """The work days from the earliest multiple of 30 on from which they are stable to their end."""
    for since in range(0, energy_kwh.size, SETTLING_DAYS):
        if is_stable(energy_kwh[since:]):
            return energy_kwh[since:]
    return None


def drift_figures(histories: list[SiteHistory]) -> dict[str, Any]:
    """False alarms of stable sites, and how soon a loss of 46 % is noticed in them."""
    alarms, days, delays = 0, 0, []
    stable = {
        one.site_id: energy_kwh
        for one in histories
        if (energy_kwh := stable_stretch(work_days(one).energy_kwh)) is not None
    }
    rng = np.random.default_rng(SHIFT_SEED)
    for energy_kwh in stable.values():
        usual = np.full(1, energy_kwh[:REFERENCE_DAYS].mean())
        alarms += sum(one.is_sure for one in find_drift(energy_kwh, usual))
        days += energy_kwh.size - REFERENCE_DAYS
        last = energy_kwh.size - SETTLING_DAYS
        for begins in rng.integers(REFERENCE_DAYS + 10, last, SEEDED_SHIFTS):
            moved = np.where(np.arange(energy_kwh.size) >= begins, SHIFT, 1.0) * energy_kwh
            found = [one.day for one in find_drift(moved, usual) if one.is_sure]
            after = [day for day in found if day >= begins]
            delays.append(after[0] - int(begins) + 1 if after else energy_kwh.size)
    return {
        "drift_false_alarms_per_year": alarms * DAYS_A_YEAR / days if days else None,
        "drift_delay_days": float(np.median(delays)) if delays else None,
        "drift_delay_days_worst": max(delays, default=None),
        "drift_stable_sites": {name: int(days.size) for name, days in stable.items()},
    }


def vehicle_figures(folder: Path) -> dict[str, Any]:
    """The keys about vehicles and the edge, where the files for them are there."""
    empty: dict[str, Any] = dict.fromkeys(VEHICLE_KEYS)
    try:
        module = importlib.import_module("benchmarks._forecast_vehicles")
    except ImportError:
        return empty
    measured: dict[str, Any] = module.figures(folder)
    return empty | measured


def measure(data: Path, split: Path | None, shift: Path | None, console: Console) -> dict[str, Any]:
    """Every key."""
    try:
        histories = read_hourly(data)
        readme = data / "README.md"
        windows = (
            read_windows(split or readme, histories)
            if split or readme.exists()
            else {one.site_id: Window.last_weeks(one) for one in histories}
        )
    except RecordsUnreadable as unreadable:
        console.print(str(unreadable))
        return vehicle_figures(data)
    spent: dict[str, float] = {}

    def note(share: float, step: str) -> None:
        spent[step] = time.process_time()
        console.print(f"{100 * share:3.0f} % {step}")

    outcome = backtest(histories, windows, progress=note)
    return {
        **demand_figures(outcome),
        **cold_start(histories, windows, outcome, console),
        **shift_figures(histories, shift),
        **drift_figures(histories),
        **vehicle_figures(data),
        "train_cpu_s": spent["Trained"] - spent["Preparing features"],
        "sites": {name: asdict(one) for name, one in outcome.figures.items()},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--json", action="store_true")
    options.add_argument("--data", type=Path, default=DEMAND)
    options.add_argument("--split", type=Path)
    options.add_argument("--shift", type=Path)
    args = options.parse_args()
    console = Console(stderr=True)
    figures = measure(args.data, args.split, args.shift, console)
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"{name:<34}{value:.4g}" if isinstance(value, float) else f"{name:<34}{value}")


if __name__ == "__main__":
    main()
