"""Flower's ServerApp: it hands the exchange over a SuperLink's nodes to whoever conducts."""

from collections import Counter
from collections.abc import Callable, Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from backend.adapters.federation.exchange import Exchange
from backend.adapters.federation.grid_exchange import GridExchange

Conduct = Callable[[Exchange, Mapping[str, str]], None]


def make_server_app(conduct: Conduct) -> ServerApp:
    """The ServerApp that conducts: `conduct(exchange, settings of the run)` is all it does."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        settings = {name: str(value) for name, value in context.run_config.items()}
        conduct(GridExchange(grid, lambda: registered_nodes(grid)), settings)

    return app


def registered_nodes(grid: Grid) -> dict[str, int]:
    """The connected nodes by the names under which their keys were registered.

    A node cannot name itself: the name is the operator's. One that was given twice names nobody.
    """
    named = [(node.name, node.node_id) for node in grid.get_nodes() if node.name]
    count = Counter(name for name, _ in named)
    return {name: node_id for name, node_id in named if count[name] == 1}
