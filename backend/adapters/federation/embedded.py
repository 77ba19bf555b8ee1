"""The embedded engine: every participant is a thread here, and runs Flower's ClientApp."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backend.federation.tasks import Answer, Task

if TYPE_CHECKING:
    from flwr.app import UserConfig

    from backend.adapters.federation.grid_exchange import GridExchange
    from backend.federation.participant import Examples

MOST_WORKERS = 4


class EmbeddedExchange:
    """Participants whose examples lie in this process.

    Args:
        examples: Of each participant, by name.
        workers: Threads; by default the machine's cores, at most four.
    """

    def __init__(self, examples: "Mapping[str, Examples]", *, workers: int | None = None) -> None:
        self._exchange = _open(dict(examples), workers or min(MOST_WORKERS, os.cpu_count() or 1))

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


def _open(examples: "Mapping[str, Examples]", workers: int) -> "GridExchange":
    # Flower takes a second to import, which only who federates should pay.
    from backend.adapters.federation.client_app import make_client_app  # noqa: PLC0415
    from backend.adapters.federation.grid_exchange import GridExchange  # noqa: PLC0415
    from backend.adapters.federation.thread_grid import ThreadGrid  # noqa: PLC0415

    names = sorted(examples)
    app = make_client_app(
        name_of=lambda context: str(context.node_config["participant"]),
        examples_of=lambda context: examples[str(context.node_config["participant"])],
    )
    nodes = {name: number for number, name in enumerate(names, start=1)}
    configs: dict[int, UserConfig] = {nodes[name]: {"participant": name} for name in names}
    grid = ThreadGrid(app, configs, workers=workers)
    return GridExchange(grid, lambda: nodes, on_close=grid.close)
