"""The real thing: a SuperLink with TLS, and five sites whose SuperNodes have registered keys."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import certifi
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.superlink import (
    COMPLETED,
    QUIET,
    SuperLink,
    SuperLinkUnavailable,
    superlink_at,
)
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import ZONE, examples_of, run_rounds, write_series

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
SITES, ROUNDS = 5, 2
ANSWER_S, RUN_S, END_S = 120, 170, 30

URL = os.environ.get("TASCO_TEST_SUPERLINK")
TLS = Path(os.environ.get("TASCO_TEST_SUPERLINK_TLS", ""))
pytestmark = pytest.mark.skipif(URL is None, reason="python3 run.py services superlink")


@dataclass(frozen=True)
class Node:
    """A site's SuperNode."""

    name: str
    folder: Path
    number: int

    @property
    def public_key(self) -> Path:
        return self.folder / "key.pub"

    def start(self, link: SuperLink) -> "subprocess.Popen[bytes]":
        """Start it with its own data and key."""
        series = write_series(self.folder / "hours.csv", self.number)
        own = f'participant="{self.name}" series="{series}" timezone="{ZONE}"'
        tls = {"ssl-certfile": "server.pem", "ssl-keyfile": "server.key"}
        options = {
            "superlink": link.address,
            "root-certificates": str(link.ca_file),
            "auth-supernode-private-key": str(self.folder / "key"),
            "node-config": own,
            "port": str(free_port()),
            "ssl-ca-certfile": str(link.ca_file),
            **{option: str(TLS / file) for option, file in tls.items()},
        }
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - what is installed here
                [str(BIN / "flower-supernode"), *words],
                env=self.variables(),
                stdout=log,
                stderr=log,
            )

    def variables(self) -> dict[str, str]:
        """What its processes see: a home of its own, nobody to report to.

        What the environment says of BLAS goes along: its kernels round differently, and nodes on
        other processors come to other last bits.
        """
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ,
            **QUIET,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "FLWR_HOME": str(self.folder / "home"),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
            "OMP_NUM_THREADS": "1",
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_node(folder: Path, name: str, number: int) -> Node:
    """A node with a P-384 key in the files that Flower reads."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP384R1())
    encoding = serialization.Encoding
    (folder / "key").write_bytes(
        key.private_bytes(
            encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )
    (folder / "key.pub").write_bytes(
        key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    return Node(name, folder, number)


def wait_for(file: Path) -> None:
    """Look for a file; asking the SuperLink instead would cost the nodes a second's computing."""
    until = time.monotonic() + RUN_S
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.5)


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(END_S)


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
            node = new_node(tmp_path / str(number), f"site_{os.getpid()}_{number}", number)
            link.register(node.name, node.public_key)
            stack.callback(end, node.start(link))
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

    examples = {node.name: examples_of(node.number) for node in nodes}
    with closing(EmbeddedExchange(examples)) as threads:
        expected = run_rounds(threads, list(examples), num_rounds=ROUNDS, timeout_s=ANSWER_S)
    assert status == COMPLETED, (nodes[0].folder / "log").read_text()[-2000:]
    assert out.read_text() == content_hash(expected)


def test_a_node_whose_key_is_not_registered_is_refused(link: SuperLink, tmp_path: Path) -> None:
    stranger = new_node(tmp_path / "stranger", "site_stranger", 0)

    process = stranger.start(link)

    try:
        assert process.wait(END_S) != 0
    finally:
        process.kill()
    assert "SuperNode ID" not in (stranger.folder / "log").read_text()


def test_a_key_is_registered_once(link: SuperLink, tmp_path: Path) -> None:
    node = new_node(tmp_path / "node", f"site_{os.getpid()}_twice", 0)
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
