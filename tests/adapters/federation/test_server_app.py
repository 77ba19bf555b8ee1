"""What Flower's ServerApp hands on, and the bundle that it is submitted as."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.cli.config_utils import load_and_validate
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo

from backend.adapters.federation.bundle import write_app
from backend.adapters.federation.exchange import Exchange
from backend.adapters.federation.server_app import make_server_app, registered_nodes
from backend.adapters.federation.superlink import superlink_at
from backend.adapters.federation.thread_grid import ThreadGrid

CONDUCT = "backend.features.federated.flower_app:conduct_run"


class Register(ThreadGrid):
    """A grid whose nodes were registered under names."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__(ClientApp(), {node: {} for node in names}, workers=1)
        self._names = names

    def get_nodes(self) -> list[NodeInfo]:
        """The nodes with their names."""
        return [NodeInfo(node_id=node, name=name) for node, name in self._names.items()]


def test_nodes_go_by_the_names_their_keys_were_registered_under() -> None:
    grid = Register({1: "depot", 2: "canal"})

    assert registered_nodes(grid) == {"depot": 1, "canal": 2}


def test_a_name_that_was_given_twice_or_not_at_all_is_nobodys() -> None:
    grid = Register({1: "depot", 2: "canal", 3: "depot", 4: ""})

    assert registered_nodes(grid) == {"canal": 2}


def test_whoever_conducts_gets_the_exchange_and_the_settings_of_the_run() -> None:
    seen: list[tuple[list[str], Mapping[str, str]]] = []

    def conduct(exchange: Exchange, settings: Mapping[str, str]) -> None:
        seen.append((list(exchange.participants()), settings))

    context = Context(1, 0, {}, RecordDict(), {"experiment-id": "fex_1"})
    make_server_app(conduct)(Register({1: "depot", 2: "canal"}), context)

    assert seen == [(["canal", "depot"], {"experiment-id": "fex_1"})]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # Flower's own use of pathspec
def test_flower_accepts_the_bundle_and_equal_runs_have_equal_bundles(tmp_path: Path) -> None:
    apps = [
        write_app(tmp_path / name / "tasco", CONDUCT, {"experiment-id": 'a "quoted" \\ id'})
        for name in ("one", "two")
    ]

    config, warnings = load_and_validate(apps[0] / "pyproject.toml")

    assert config["tool"]["flwr"]["app"]["config"] == {"experiment-id": 'a "quoted" \\ id'}
    assert warnings == []
    hashes = {hashlib.sha256(build_fab_from_disk(app)).hexdigest() for app in apps}
    assert len(hashes) == 1


@pytest.mark.parametrize("conduct", ["os:system('x')", "backend", "a.b:c.d", "import os;x:y", ""])
def test_only_a_name_is_taken_for_what_conducts(tmp_path: Path, conduct: str) -> None:
    with pytest.raises(ValueError, match="package"):
        write_app(tmp_path / "tasco", conduct, {})


@pytest.mark.parametrize(
    "url", ["flower://127.0.0.1", "http://127.0.0.1:9", "flower://:9", "flower://host:port"]
)
def test_what_is_no_address_of_a_superlink_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"flower|[Pp]ort"):
        superlink_at(url, ca_file=Path("ca.pem"))
