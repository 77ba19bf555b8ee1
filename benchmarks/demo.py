"""How close the demand model comes to the ceiling of the demo world, and what it costs.

The ceiling is an oracle that knows the generator: the mean of many replicates with the same
calendar and weather but other arrivals. R² is pooled over all site-hours of the last fifth of the
days, at leads of 1 to 24 h; naive is the seasonal one (last week, else yesterday).
"""

import argparse
import json
import time
from datetime import UTC, datetime

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.features.demo.world import World, generate_world, oracle_intensity
from backend.forecasting import metrics
from backend.forecasting.history import SiteHistory
from backend.forecasting.models import train
from backend.forecasting.samples import holdout_samples, split_time


def histories_of(world: World) -> list[SiteHistory]:
    """The hourly demand of every site."""
    places = {site.site_id: site for site in world.sites}
    return [
        SiteHistory(
            site_id=hourly.site_id,
            timezone=places[hourly.site_id].timezone,
            country=places[hourly.site_id].country,
            start=hourly.start,
            energy_kwh=hourly.energy_kwh,
            occupancy=hourly.occupancy,
            sessions_started=hourly.sessions_started,
        )
        for hourly in (demand.hourly() for demand in world.demand)
    ]


def measure(seed: int, *, days: int, end: datetime, replicates: int) -> dict[str, float]:
    """Figures of one seed."""
    began = time.process_time()
    world = generate_world(days=days, end=end, seed=seed)
    generated = time.process_time()
    histories = histories_of(world)
    model = train(histories)
    trained = time.process_time()
    expected = oracle_intensity(days=days, end=end, seed=seed, replicates=replicates)
    test = holdout_samples(histories, since=split_time(histories))
    oracle_kwh = np.choose(test.site, [expected[one][test.rows.target] for one in test.site_ids])
    oracle_r2 = metrics.r2(test.energy_kwh, oracle_kwh)
    return {
        "seed": seed,
        "sessions": len(world.sessions),
        "test_r2": model.metrics["test_r2"],
        "oracle_r2": oracle_r2,
        "share_of_ceiling": model.metrics["test_r2"] / oracle_r2,
        "naive_r2": model.metrics["seasonal_naive_r2"],
        "coverage_80_active": model.metrics["coverage_80_active"],
        "generate_cpu_s": generated - began,
        "train_cpu_s": trained - generated,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--json", action="store_true")
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--seeds", type=int, nargs="+", default=[42, 7, 2026])
    options.add_argument("--replicates", type=int, default=40)
    args = options.parse_args()
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [
        measure(seed, days=args.days, end=end, replicates=args.replicates) for seed in args.seeds
    ]
    if args.json:
        worst = min(row["share_of_ceiling"] for row in rows)
        print(json.dumps({"share_of_ceiling_min": worst, "seeds": rows}))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}".removesuffix(".000") for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
