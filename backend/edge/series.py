"""A site's hourly energy from a CSV file: `timestamp, energy_kwh`, and `site` where it has more."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from backend.federation.demand import Examples, Series, TooFewExamples, hourly_examples

HOUR = timedelta(hours=1)
LONGEST_H = 24 * 366 * 20


class DataRefused(Exception):
    """The file holds no hourly energy to learn from; the message says why."""


def examples_in(path: Path, *, series: str | None, timezone: str, country: str | None) -> Examples:
    """The examples of a file.

    Args:
        path: The CSV file.
        series: Which value of the column `site` counts; None where there is one only.
        timezone: IANA zone of the site.
        country: ISO 3166 code whose holidays count, if any.

    Raises:
        DataRefused: If the file cannot be read or holds too little.
    """
    start, energy = hours_in(path, series=series)
    try:
        return hourly_examples(energy, start, timezone=timezone, country=country)
    except (TooFewExamples, KeyError, NotImplementedError, OSError) as error:
        raise DataRefused(f"{path.name}: {error}") from error


def hours_in(path: Path, *, series: str | None) -> tuple[datetime, Series]:
    """The first hour and the energy of every hour since, NaN where there is no line.

    Raises:
        DataRefused: If the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            known = dict(_line(row) for row in csv.DictReader(file) if _is_asked(row, series))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataRefused(f"{path.name} has no line such as {_EXAMPLE}: {error!r}") from error
    if not known:
        raise DataRefused(f"{path.name} has no hour of {series or 'any site'}")
    first = min(known)
    length = (max(known) - first) // HOUR + 1
    if length > LONGEST_H:
        raise DataRefused(f"{path.name} spans {length} hours")
    energy = np.full(length, np.nan)
    for at, value in known.items():
        energy[(at - first) // HOUR] = value
    return first, energy


_EXAMPLE = "timestamp,energy_kwh: 2026-03-01T00:00+02:00,12.5"


def _is_asked(row: dict[str, str], series: str | None) -> bool:
    return series is None or row.get("site") == series


def _line(row: dict[str, str]) -> tuple[datetime, float]:
    at, energy = datetime.fromisoformat(row["timestamp"]), float(row["energy_kwh"])
    if at.tzinfo is None:
        raise ValueError(f"{row['timestamp']} needs an offset, such as Z")
    if not 0 <= energy < float("inf"):
        raise ValueError(f"{energy} kWh")
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0), energy
