"""A site's own telemetry as the file of rows that its SuperNode grows trees on."""

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from backend.features.federated.trees_rows import FEATURES, TooFewRows, rows_by_participant
from backend.features.federated.trees_schemas import TreeTarget
from backend.features.forecasts.vehicles_queries import gathered
from backend.features.vehicles.telemetry import TelemetryUnreadable
from backend.features.vehicles.telemetry_importing import CAPACITY, points_of_file
from backend.features.vehicles.telemetry_schemas import TelemetryPointNew
from backend.federation.tree_rows import SiteRows
from backend.forecasting.telemetry_features import Fleet, Trace, trace_of

Points = dict[tuple[str, str], list[TelemetryPointNew]]
OWN = "own"


def rows_of_telemetry(
    file: Path, *, timezone: str, country: str | None, gap_min: float, seed: int, now: datetime
) -> dict[TreeTarget, SiteRows | TooFewRows]:
    """A site's rows of every target, or why there are too few.

    Args:
        file: CSV as for `import telemetry`: `vehicle_did`, `battery_capacity_kwh`, `at`,
            `is_plugged_in`, `soc_percent`, `power_kw`.
        timezone: IANA zone of the site.
        country: Whose public holidays count, if any.
        gap_min: Silence that is a gap, minutes.
        seed: Rows are drawn where there are more than needed.
        now: Points after it are refused.

    Raises:
        TelemetryUnreadable: If a row is no point, or no vehicle has two days of them.
    """
    fleet = _fleet(file, timezone=timezone, country=country, gap_min=gap_min, now=now)
    return {
        target: rows_by_participant({OWN: fleet}, target, seed=seed)[OWN] for target in FEATURES
    }


def _fleet(
    file: Path, *, timezone: str, country: str | None, gap_min: float, now: datetime
) -> Fleet:
    points: Points = defaultdict(list)
    for vehicle, capacity, point in points_of_file(file, now):
        points[vehicle, capacity].append(point)
    traces = [_trace(vehicle, capacity, its) for (vehicle, capacity), its in points.items()]
    long_enough = [one for one in traces if not one.is_very_short]
    if not long_enough:
        raise TelemetryUnreadable("No vehicle has two days of telemetry.")
    last_s = max(int(one.at_s[-1]) for one in long_enough)
    end = datetime.fromtimestamp(last_s, tz=UTC)
    return gathered(long_enough, home=(timezone, country), now=end, gap_min=gap_min)


def _trace(vehicle: str, capacity: str, points: list[TelemetryPointNew]) -> Trace:
    try:
        capacity_kwh = CAPACITY.validate_python(capacity)
    except ValueError as bad:
        raise TelemetryUnreadable(f"{vehicle} has no battery_capacity_kwh.") from bad
    return trace_of(
        vehicle,
        capacity_kwh,
        at_s=np.array([one.at.timestamp() for one in points]).astype(np.int64),
        soc_percent=np.array([_or_nan(one.soc_percent) for one in points]),
        is_plugged_in=np.array([one.is_plugged_in for one in points], dtype=np.int8),
        power_kw=np.array([_or_nan(one.power_kw) for one in points]),
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
