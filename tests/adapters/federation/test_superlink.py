"""The real thing: a SuperLink with TLS, and five sites whose SuperNodes have registered keys."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import certifi
import pytest

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.superlink import (
    COMPLETED,
    SuperLink,
    SuperLinkUnavailable,
    superlink_at,
)
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import ZONE, examples_of, run_rounds, write_series
from tests.adapters.federation.supernodes import END_S, HOURS_FILE, TLS, Node, end, new_node

SITES, ROUNDS = 5, 2
ANSWER_S, RUN_S = 120, 170

URL = os.environ.get("TASCO_TEST_SUPERLINK")
pytestmark = pytest.mark.skipif(URL is None, reason="python3 run.py services superlink")


def wait_for(file: Path) -> None:
    """Look for a file; asking the SuperLink instead would cost the nodes a second's computing."""
    until = time.monotonic() + RUN_S
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.5)


@pytest.fixture(scope="module")
def link() -> SuperLink:
    assert URL is not None
    return superlink_at(URL, ca_file=TLS / "ca.pem")


@pytest.fixture
def nodes(link: SuperLink, tmp_path: Path) -> Iterator[list[Node]]:
    """Registered and running SuperNodes; their keys go with the test's folder."""
    with ExitStack() as stack:
        started = []
        for number in range(SITES):
            folder = tmp_path / str(number)
            node = new_node(folder, f"site_{os.getpid()}_{number}")
            write_series(folder / HOURS_FILE, number)
            link.register(node.name, node.public_key)
            stack.callback(end, node.start(link, timezone=ZONE))
            started.append(node)
        yield started


def test_five_supernodes_come_to_the_model_that_threads_come_to(
    link: SuperLink, nodes: list[Node], tmp_path: Path
) -> None:
    out = tmp_path / "model_hash"
    settings = {
        "num-rounds": str(ROUNDS),
        "names": ",".join(node.name for node in nodes),
        "timeout-s": str(ANSWER_S),
        "out": str(out),
    }

    run_id = link.submit("tests.adapters.federation.scene:conduct", settings)
    wait_for(out)
    status = link.wait(run_id, timeout_s=END_S)

    examples = {node.name: examples_of(number) for number, node in enumerate(nodes)}
    with closing(EmbeddedExchange(examples)) as threads:
        expected = run_rounds(threads, list(examples), num_rounds=ROUNDS, timeout_s=ANSWER_S)
    assert status == COMPLETED, (nodes[0].folder / "log").read_text()[-2000:]
    assert out.read_text() == content_hash(expected)


def test_a_node_whose_key_is_not_registered_is_refused(link: SuperLink, tmp_path: Path) -> None:
    stranger = new_node(tmp_path / "stranger", "site_stranger")
    write_series(stranger.folder / HOURS_FILE, 0)

    process = stranger.start(link, timezone=ZONE)

    try:
        assert process.wait(END_S) != 0
    finally:
        process.kill()
    assert "SuperNode ID" not in (stranger.folder / "log").read_text()


def test_a_key_is_registered_once(link: SuperLink, tmp_path: Path) -> None:
    node = new_node(tmp_path / "node", f"site_{os.getpid()}_twice")
    node_id = link.register(node.name, node.public_key)

    try:
        with pytest.raises(SuperLinkUnavailable, match="already in use"):
            link.register(f"{node.name}_again", node.public_key)
    finally:
        link.unregister(node_id)


def test_a_superlink_of_another_authority_is_not_believed(link: SuperLink) -> None:
    public = SuperLink(link.address, Path(certifi.where()))

    with pytest.raises(SuperLinkUnavailable):
        public.status("1")
