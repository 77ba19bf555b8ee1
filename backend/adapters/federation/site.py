"""The ClientApp of a SuperNode at a site: who it is and where its data lies is in its settings.

Started as `flower-supernode … --node-config 'participant="NAME" key="FILE" series="FILE"
timezone="ZONE"'`; `key` is the PEM of the Ed25519 key that signs what the site sends (`did` if that
is not its did:key). Masked sums need `peers`, a JSON object of the other sites' DIDs, and `memory`,
a file of this node's own: whoever asks anew is not helped twice; with `masked-only="true"` no
update is sent otherwise. `country="DE"` adds public
holidays, `noise-key="FILE"` is a secret of its own for noise and masks, `trees="FILE"` its rows for
trees, with which `series` may be left out.
"""

import csv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import Context
from numpy.typing import NDArray

from backend.adapters.federation.client_app import make_client_app
from backend.federation.demand import Examples, hourly_examples
from backend.federation.masking_messages import MaskingRefused
from backend.federation.peers import Peers, peers_of
from backend.federation.signing import Signer, noise_key_of
from backend.federation.sites import Site
from backend.federation.tree_rows import from_npz
from backend.masked_sums import Memory

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
        RowsRefused: If the file of rows is none.
        ValueError: If a key or the list of peers cannot be used.
    """
    config = {name: str(value) for name, value in context.node_config.items()}
    signer = Signer(key_in(Path(config["key"])), config.get("did"))
    secret = noise_key_in(config.get("noise-key"))
    rows = from_npz(Path(config["trees"]).read_bytes()) if "trees" in config else {}
    return Site(
        config["participant"],
        None if rows and "series" not in config else _examples(config),
        noise_key_of(signer.key) if secret is None else secret,
        signer,
        peers_in(config.get("peers")),
        rows,
        is_masked_only=config.get("masked-only") == "true",
    )


def memory_of_node(context: Context) -> Memory:
    """What a node remembers of masked sums, also when another run asks.

    Raises:
        MaskingRefused: If its settings name no file for that.
    """
    config = {name: str(value) for name, value in context.node_config.items()}
    if "memory" not in config:
        raise MaskingRefused("this node has no memory, and takes part in no masked sum")
    return Memory(Path(config["memory"]), site_id=config["participant"])


def _examples(config: Mapping[str, str]) -> Examples:
    return examples_of_file(
        Path(config["series"]), timezone=config["timezone"], country=config.get("country")
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


def key_in(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file.

    Raises:
        ValueError: If it is none, or of another kind.
    """
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("The key of a site is an Ed25519 key.")  # noqa: TRY004 - a file's content
    return key


def peers_in(path: str | None) -> Peers:
    """The DIDs of the others in a JSON file; nobody without one.

    Raises:
        ValueError: If it is no object of texts.
    """
    return {} if path is None else peers_of(Path(path).read_text(encoding="utf-8"))


def noise_key_in(path: str | None) -> bytes | None:
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


app = make_client_app(site_of_node, memory_of_node)
