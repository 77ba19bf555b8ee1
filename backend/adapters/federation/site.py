"""The ClientApp of a SuperNode at a site: who it is and where its data lies is in its settings.

Started as `flower-supernode … --node-config 'participant="NAME" series="FILE" timezone="ZONE"'`;
`country="DE"` adds public holidays, `noise-key="FILE"` keeps the noise of private training equal
when a round is taken up again.
"""

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

from backend.adapters.federation.client_app import Site, make_client_app
from backend.federation.demand import Examples, hourly_examples

HOUR = timedelta(hours=1)
MOST_HOURS = 24 * 366 * 20
SHORTEST_KEY = 16


class SeriesRefused(ValueError):
    """A file that is no hourly series of energy."""


def site_of_node(context: Context) -> Site:
    """The site that a node's settings describe.

    Raises:
        KeyError: If a setting is missing.
        SeriesRefused: If the file is no hourly series.
    """
    config = {name: str(value) for name, value in context.node_config.items()}
    return Site(
        config["participant"],
        examples_of_file(
            Path(config["series"]), timezone=config["timezone"], country=config.get("country")
        ),
        noise_key_of(config.get("noise-key")),
    )


def examples_of_file(path: Path, *, timezone: str, country: str | None) -> Examples:
    """Examples of a CSV file with columns `timestamp` (with its zone) and `energy_kwh`.

    Raises:
        SeriesRefused: If it is no hourly series.
    """
    with path.open(newline="") as file:
        start, energy_kwh = hourly_series(csv.DictReader(file))
    return hourly_examples(energy_kwh, start, timezone=timezone, country=country)


def hourly_series(rows: Iterable[dict[str, str]]) -> tuple[datetime, NDArray[np.float64]]:
    """The first hour and the energy of each hour since, kWh; NaN where no row tells.

    Raises:
        SeriesRefused: If a row is not understood, or an hour comes twice.
    """
    try:
        known = [(_hour(row["timestamp"]), float(row["energy_kwh"] or "nan")) for row in rows]
    except (KeyError, TypeError, ValueError) as bad:
        raise SeriesRefused("a row needs a timestamp with its zone and an energy_kwh") from bad
    if not known:
        raise SeriesRefused("there are no rows")
    start = min(hour for hour, _ in known)
    steps = [round((hour - start) / HOUR) for hour, _ in known]
    if len(set(steps)) < len(steps) or max(steps) >= MOST_HOURS:
        raise SeriesRefused("an hour comes twice, or hours lie too far apart")
    energy_kwh = np.full(max(steps) + 1, np.nan)
    energy_kwh[steps] = [energy for _, energy in known]
    return start, energy_kwh


def noise_key_of(path: str | None) -> bytes | None:
    """The secret in a file.

    Raises:
        ValueError: If it is too short to be one.
    """
    if path is None:
        return None
    key = Path(path).read_bytes()
    if len(key) < SHORTEST_KEY:
        raise ValueError("The noise key is too short.")
    return key


def _hour(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.minute or moment.second or moment.microsecond:
        raise ValueError(text)
    return moment.astimezone(UTC)


app = make_client_app(site_of_node)
