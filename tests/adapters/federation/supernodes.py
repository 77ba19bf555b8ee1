"""SuperNodes of sites, and a SuperLink, as processes of a test."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from backend.adapters.federation.site import key_in
from backend.adapters.federation.superlink import QUIET, SuperLink
from backend.federation.signing import did_of

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
TLS = Path(os.environ.get("TASCO_TEST_SUPERLINK_TLS", ""))
CA = TLS / "ca.pem"
CERTIFICATE = {
    "ssl-certfile": str(TLS / "server.pem"),
    "ssl-keyfile": str(TLS / "server.key"),
    "ssl-ca-certfile": str(CA),
}
HOURS_FILE, KEY_FILE, PEERS_FILE = "hours.csv", "site.pem", "peers.json"
ROWS_FILE = "rows.npz"
START_S, END_S = 60, 30


@dataclass(frozen=True)
class Node:
    """A site's SuperNode; its folder holds its key, and its hours or its rows for trees."""

    name: str
    folder: Path

    @property
    def public_key(self) -> Path:
        return self.folder / "key.pub"

    @property
    def did(self) -> str:
        """Of the key that signs what the site sends."""
        return did_of(key_in(self.folder / KEY_FILE))

    def start(
        self, link: SuperLink, *, timezone: str, peers: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start it with its own data and keys."""
        (self.folder / PEERS_FILE).write_text(json.dumps(dict(peers or {})))
        own = {
            "participant": self.name,
            "series": self.folder / HOURS_FILE,
            "timezone": timezone,
            "key": self.folder / KEY_FILE,
            "peers": self.folder / PEERS_FILE,
            "memory": self.folder / "sums.json",
        }
        if (self.folder / ROWS_FILE).exists():
            own["trees"] = self.folder / ROWS_FILE
            del own["series"]
        options = {
            "superlink": link.address,
            "root-certificates": str(link.ca_file),
            "auth-supernode-private-key": str(self.folder / "key"),
            "node-config": " ".join(f'{name}="{one}"' for name, one in own.items()),
            "port": str(free_port()),
            **CERTIFICATE,
        }
        return started("flower-supernode", options, self.folder)


def started(
    program: str,
    options: Mapping[str, str],
    folder: Path,
    *flags: str,
    variables: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """One of Flower's programs, with a home of its own and nobody to report to.

    What the environment says of BLAS goes along: its kernels round differently, and nodes on
    other processors come to other last bits.
    """
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    surroundings = {
        **os.environ,
        **QUIET,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FLWR_HOME": str(folder / "home"),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "OMP_NUM_THREADS": "1",
        **(variables or {}),
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - what is installed here
            [str(BIN / program), *words, *flags],
            env=surroundings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, then end what it has left: a node does not wait for its ClientApp."""
    process.terminate()
    process.wait(END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def open_superlink(folder: Path, variables: Mapping[str, str]) -> Iterator[SuperLink]:
    """A SuperLink whose ServerApps see these variables; the service has made its certificate."""
    folder.mkdir()
    options = {"host": "127.0.0.1", "port": str(free_port()), **CERTIFICATE}
    flags = ("--enable-supernode-auth", "--disable-runtime-dependency-installation")
    process = started("flower-superlink", options, folder, *flags, variables=variables)
    try:
        until = time.monotonic() + START_S
        while not answers(int(options["port"])):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        yield SuperLink(f"127.0.0.1:{options['port']}", CA)
    finally:
        end(process)


def answers(port: int) -> bool:
    """Whether a server with our certificate is there."""
    trust = ssl.create_default_context(cafile=CA)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=3) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_node(folder: Path, name: str) -> Node:
    """A node with a P-384 key in the files that Flower reads, and the site's own key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (folder / "key").write_bytes(private)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    (folder / "key.pub").write_bytes(public)
    write_key(folder / KEY_FILE)
    return Node(name, folder)


def write_key(path: Path) -> Ed25519PrivateKey:
    """A new key of a site, in a file."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(pem_of(key))
    return key


def pem_of(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
