"""The embedded engine: every participant is a thread here, and runs Flower's ClientApp."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backend.federation.demand import Examples
from backend.federation.signing import Signer
from backend.federation.sites import Site
from backend.federation.tasks import Answer, Task
from backend.federation.tree_rows import SiteRows

if TYPE_CHECKING:
    from flwr.app import Context, UserConfig

    from backend.adapters.federation.grid_exchange import GridExchange

MOST_WORKERS = 4


class EmbeddedExchange:
    """Participants whose examples lie in this process.

    Args:
        examples: Of each participant, by name.
        noise_keys: What the noise of private training is made of, by name; see `train`.
        signers: Their keys, by name; without any nobody signs.
        rows: What they grow trees on, by name and by what is foretold.
        workers: Threads; by default the machine's cores, at most four.
    """

    def __init__(
        self,
        examples: Mapping[str, Examples],
        *,
        noise_keys: Mapping[str, bytes] | None = None,
        signers: Mapping[str, Signer] | None = None,
        rows: Mapping[str, Mapping[str, SiteRows]] | None = None,
        workers: int | None = None,
    ) -> None:
        threads = workers or min(MOST_WORKERS, os.cpu_count() or 1)
        sites = sites_of(examples, noise_keys or {}, signers or {}, rows or {})
        self._exchange = _open(sites, threads)

    def participants(self) -> Sequence[str]:
        """Everybody, in order of their names."""
        return self._exchange.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Train or score in threads; see `Exchange`."""
        return self._exchange.ask(tasks, timeout_s=timeout_s)

    def missing(self) -> Mapping[str, str]:
        """Why who was asked last and did not answer did not."""
        return self._exchange.missing()

    def close(self) -> None:
        """End the threads; who is at work finishes it first."""
        self._exchange.close()


def sites_of(
    examples: Mapping[str, Examples],
    noise_keys: Mapping[str, bytes],
    signers: Mapping[str, Signer],
    rows: Mapping[str, Mapping[str, SiteRows]],
) -> dict[str, Site]:
    """Each participant with its key; those who sign know each other's DIDs."""
    peers = {name: one.did for name, one in signers.items()} if signers else None
    return {
        name: Site(
            name,
            examples.get(name),
            noise_keys.get(name),
            signers.get(name),
            peers,
            rows.get(name, {}),
        )
        for name in sorted({*examples, *rows})
    }


def _open(sites: Mapping[str, Site], workers: int) -> "GridExchange":
    # Flower takes a second to import, which only who federates should pay.
    from backend.adapters.federation.client_app import make_client_app  # noqa: PLC0415
    from backend.adapters.federation.grid_exchange import GridExchange  # noqa: PLC0415
    from backend.adapters.federation.thread_grid import ThreadGrid  # noqa: PLC0415

    nodes = {name: number for number, name in enumerate(sorted(sites), start=1)}
    configs: dict[int, UserConfig] = {nodes[name]: {"participant": name} for name in nodes}

    def site_of(context: "Context") -> Site:
        return sites[str(context.node_config["participant"])]

    grid = ThreadGrid(make_client_app(site_of), configs, workers=workers)
    return GridExchange(grid, lambda: nodes, on_close=grid.close)
