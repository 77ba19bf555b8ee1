"""Recorded hourly demand in CSV files, how its days are split, and the picture of a backtest."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from backend.forecasting.backtest import Backtest, Window
from backend.forecasting.history import HOUR, SiteHistory

FILES = "*_hourly.csv"
COLUMNS = ("energy_kwh", "occupancy", "sessions")
LONGEST_H = 24 * 366 * 20

PLACES = {  # offsets in January and July → zone and country
    (-8, -7): ("America/Los_Angeles", "US"),
    (-7, -6): ("America/Denver", "US"),
    (-6, -5): ("America/Chicago", "US"),
    (-5, -4): ("America/New_York", "US"),
    (0, 1): ("Europe/London", "GB"),
    (1, 2): ("Europe/Paris", "FR"),
    (2, 3): ("Europe/Helsinki", "FI"),
}


class RecordsUnreadable(ValueError):
    """A file is not what it has to be; the message says which and why."""


def read_hourly(folder: Path) -> list[SiteHistory]:
    """Every site of the folder's `*_hourly.csv` files.

    Columns: `site`, `timestamp` (beginning of the hour, with offset), `energy_kwh`, `sessions`,
    `occupancy`. Hours may be missing: they are unknown. The zone and the country whose holidays
    count follow from the offsets of the stamps; stamps all in UTC are taken as they are.

    Raises:
        RecordsUnreadable: If there is no such file, or one has other content.
    """
    files = sorted(folder.glob(FILES))
    if not files:
        raise RecordsUnreadable(f"no {FILES} in {folder}")
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                rows[row.get("site") or ""].append(row)
    try:
        return [_history(site_id, of_site) for site_id, of_site in rows.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordsUnreadable(f"{folder}: {error!r}") from error


def read_windows(file: Path, histories: Sequence[SiteHistory]) -> dict[str, Window]:
    """The hours each site is tested on.

    Two forms. Sentences in a text, as a README has them: "Test targets: jpl/caltech
    2020-01-05..2020-02-29, perth-* 2019-07-01..2019-08-31. Calibration: the 42 days before. Train:
    the 430 days before that." Or JSON: `{"calibration_days": 42, "train_days": 430, "test":
    {"jpl": ["2020-01-05", "2020-02-29"], "perth-*": ["2019-07-01", "2019-08-31"]}}`. Days are local
    and both are included; names may hold `*`.

    Raises:
        RecordsUnreadable: If the file says nothing about tests.
    """
    text = file.read_text(encoding="utf-8")
    split = _from_json(text) if file.suffix == ".json" else _from_sentences(text)
    if not split["test"]:
        raise RecordsUnreadable(f"{file} names no test targets")
    found = {}
    for history in histories:
        for name, (first, last) in split["test"].items():
            if fnmatch(history.site_id, name):
                found[history.site_id] = _window(history, first, last, split)
    return found


def plot(
    outcome: Backtest,
    site_id: str,
    *,
    lead_h: int = 24,
    days: int = 14,
    image_format: str = "svg",
) -> bytes:
    """Two weeks of a site: what happened, the median a day ahead and its 80 % band."""
    from io import BytesIO  # noqa: PLC0415

    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    samples, predicted = outcome.samples[site_id], outcome.predicted[site_id]
    rows = np.flatnonzero(samples.rows.column("lead_h") == lead_h)
    rows = rows[np.argsort(samples.hour[rows])][: days * 24 // 3]
    when = [datetime.fromtimestamp(3600 * int(hour), tz=UTC) for hour in samples.hour[rows]]
    figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
    bounds = predicted["p10"][rows], predicted["p90"][rows]
    axes.fill_between(when, *bounds, alpha=0.25, label="80 % band")  # type: ignore[arg-type]
    axes.plot(when, predicted["q50"][rows], label=f"median, {lead_h} h ahead")  # type: ignore[arg-type]
    axes.plot(when, samples.energy_kwh[rows], ".", color="black", label="happened")  # type: ignore[arg-type]
    axes.set(ylabel="kWh per hour", title=site_id)
    axes.legend(loc="upper right")
    image = BytesIO()
    figure.savefig(image, format=image_format)
    plt.close(figure)
    return image.getvalue()


def _history(site_id: str, rows: list[dict[str, str]]) -> SiteHistory:
    stamps = [datetime.fromisoformat(row["timestamp"]) for row in rows]
    if not site_id or any(stamp.tzinfo is None for stamp in stamps):
        raise RecordsUnreadable("every row needs a site and a timestamp with its offset")
    start = min(stamps).astimezone(UTC)
    hour = np.array([(stamp - start) // HOUR for stamp in stamps])
    if hour.max() > LONGEST_H:
        raise RecordsUnreadable(f"{site_id} spans more than twenty years")
    table = np.full((len(COLUMNS), int(hour.max()) + 1), np.nan)
    table[:, hour] = [[float(row[name]) for row in rows] for name in COLUMNS]
    timezone, country = _place(stamps)
    return SiteHistory(site_id, timezone, country, start, *table)


def _place(stamps: Sequence[datetime]) -> tuple[str, str | None]:
    offsets = sorted({(stamp.utcoffset() or timedelta()) // HOUR for stamp in stamps})
    if offsets == [0]:
        return "UTC", None
    for pair, place in PLACES.items():
        if set(offsets) == set(pair):
            return place
    for pair, place in PLACES.items():
        if set(offsets) <= set(pair) and _fits(stamps, place[0]):
            return place
    return "UTC", None


def _fits(stamps: Sequence[datetime], timezone: str) -> bool:
    zone = ZoneInfo(timezone)
    return all(one.utcoffset() == one.astimezone(zone).utcoffset() for one in stamps[::97])


def _from_json(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
        test = {
            name: (date.fromisoformat(first), date.fromisoformat(last))
            for name, (first, last) in given["test"].items()
        }
        return {
            "test": test,
            "calibration_days": int(given.get("calibration_days", 42)),
            "train_days": int(given.get("train_days", 430)),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordsUnreadable(f"a split that is no split: {error!r}") from error


def _from_sentences(text: str) -> dict[str, Any]:
    match = re.search(r"Test targets:(.*?)\.\s", text, re.DOTALL)
    spans = re.findall(
        r"([\w\-*/. ]+?)\s+(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)", match[1] if match else ""
    )
    days = {name: re.search(rf"{name}: the (\d+) days", text) for name in ("Calibration", "Train")}
    return {
        "test": {
            name.strip(): (date.fromisoformat(first), date.fromisoformat(last))
            for names, first, last in spans
            for name in names.split("/")
        },
        "calibration_days": int(days["Calibration"][1]) if days["Calibration"] else 42,
        "train_days": int(days["Train"][1]) if days["Train"] else 430,
    }


def _window(history: SiteHistory, first: date, last: date, split: Mapping[str, Any]) -> Window:
    zone = ZoneInfo(history.timezone)
    begins = datetime(first.year, first.month, first.day, tzinfo=zone).astimezone(UTC)
    after = last + timedelta(days=1)
    ends = datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC)
    calibrate_from = begins - timedelta(days=split["calibration_days"])
    return Window(
        test_from=begins,
        test_to=ends,
        calibrate_from=calibrate_from,
        # What the first features look back to comes on top.
        train_from=calibrate_from - timedelta(days=split["train_days"] + 56),
    )
