"""Twenty sites of recorded demand as participants, and how to begin one of them late.

Caltech, office1 and the four Perth sites of `demand/`; JPL's chargers in twelve groups by the index
of their connector, each a site of its own; two named workplaces of `sessions/`. Energy of a session
is spread evenly over the time it charged (where that is unknown, the time its energy takes at 85 %
of the plug's power, at most the stay).
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Examples, hourly_examples

DATA = Path(os.environ.get("TASCO_DATA", "../shared/data"))
HOURLY = ("acn_workplace_hourly.csv", "perth_public_hourly.csv")
LEFT_OUT = "jpl"  # its vehicles are the twelve groups
GROUPS = 12
WORKPLACES = ("workplace_493904", "workplace_976902")
PLUG_SHARE, USUAL_KW = 0.85, 6.6
HOLDOUT_SHARE, TEST_SHARE = 0.1, 0.2
HOUR = timedelta(hours=1)
WEEK_H = 24 * 7

Charge = tuple[datetime, datetime, float]
"""When a session began and ended to charge, and its energy in kWh."""


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Series:
    """A site's recorded hours."""

    energy_kwh: NDArray[np.float64]
    start: datetime
    timezone: str
    country: str

    def examples(
        self, *, holdout_share: float = HOLDOUT_SHARE, test_share: float = TEST_SHARE
    ) -> Examples:
        """The site as a participant: the first 70 % trained on, 10 % held out, 20 % tested."""
        return hourly_examples(
            self.energy_kwh,
            self.start,
            timezone=self.timezone,
            country=self.country,
            holdout_share=holdout_share,
            test_share=test_share,
        )

    def young(self, weeks: int) -> Examples:
        """The site as if it had opened so many weeks before its test began."""
        hours = len(self.energy_kwh)
        opened = round(hours * (1 - TEST_SHARE)) - weeks * WEEK_H
        cut = replace(self, energy_kwh=self.energy_kwh[opened:], start=self.start + opened * HOUR)
        test = hours - opened - weeks * WEEK_H
        share = 0.15 * weeks * WEEK_H / len(cut.energy_kwh)
        return cut.examples(holdout_share=share, test_share=test / len(cut.energy_kwh))


def read_sites() -> dict[str, Series]:
    """All twenty, by name."""
    return dict(sorted({**_hourly_sites(), **_connector_groups(), **_workplaces()}.items()))


def _hourly_sites() -> dict[str, Series]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name in HOURLY:
        for row in _rows(DATA / "demand" / name):
            rows[row["site"]].append(row)
    return {
        site: Series(
            np.array([float(row["energy_kwh"]) for row in of_site]),
            datetime.fromisoformat(of_site[0]["timestamp"]).astimezone(UTC),
            *(("Europe/London", "GB") if "perth" in site else ("America/Los_Angeles", "US")),
        )
        for site, of_site in rows.items()
        if site != LEFT_OUT
    }


def _connector_groups() -> dict[str, Series]:
    charges: dict[str, list[Charge]] = defaultdict(list)
    for row in _rows(DATA / "demand" / "jpl_vehicle_sessions.csv"):
        end = row["charge_end"] or row["plug_out"]
        charges[f"jpl-{int(row['connector'][1:]) % GROUPS:02d}"].append(
            (_moment(row["plug_in"]), _moment(end), float(row["energy_kwh"]))
        )
    return {name: _series(each, "America/Los_Angeles") for name, each in charges.items()}


def _workplaces() -> dict[str, Series]:
    charges: dict[str, list[Charge]] = defaultdict(list)
    for row in _rows(DATA / "sessions" / "us_workplaces_2014_2015.csv"):
        if row["site"] in WORKPLACES:
            energy, power = float(row["energy_kwh"]), float(row["max_kw"] or USUAL_KW)
            arrival = _moment(row["arrival"])
            full = arrival + timedelta(hours=energy / (PLUG_SHARE * power))
            charges[row["site"]].append((arrival, min(_moment(row["departure"]), full), energy))
    # Their wall-clock times are written as UTC, so UTC is their zone.
    return {name: _series(each, "UTC") for name, each in charges.items()}


def _series(charges: Iterable[Charge], timezone: str) -> Series:
    known = sorted(charges)
    start = known[0][0].replace(minute=0, second=0, microsecond=0)
    hours = int((max(end for _, end, _ in known) - start) / HOUR) + 1
    energy = np.zeros(hours)
    for begin, end, energy_kwh in known:
        first, last = (begin - start) / HOUR, max((end - start) / HOUR, (begin - start) / HOUR)
        span = max(last - first, 1 / 60)
        edges = np.arange(int(first), min(int(first + span), hours - 1) + 1)
        parts = np.minimum(edges + 1, first + span) - np.maximum(edges, first)
        energy[edges] += energy_kwh * np.maximum(parts, 0) / span
    return Series(energy, start, timezone, "US")


def _rows(file: Path) -> Iterable[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
