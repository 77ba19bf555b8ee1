"""Both ledgers behind one fixture, deeds to do on them, and a ledger that can be told to fail."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.ledger import signers
from backend.adapters.ledger.booting import boot, record_places
from backend.adapters.ledger.checks import Wanted
from backend.adapters.ledger.deeds import Anchoring, Deed
from backend.adapters.ledger.deploying import Deployer, Rate
from backend.adapters.ledger.desk import Terms
from backend.adapters.ledger.embedded import EmbeddedLedger
from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.ledger import Chain, Ledger
from backend.adapters.ledger.sending import Sender
from backend.adapters.ledger.signers import Signer
from backend.adapters.ledger.transactions import LIVE, ChainTx
from backend.database import Database

NODE_URL = os.environ.get("TASCO_TEST_ETHEREUM_URL", "")
ANVIL = os.environ.get("TASCO_TEST_ANVIL", "")
WITHOUT_NODE = "no Ethereum node: run `python3 run.py services anvil`"
CAP_WEI = 10**12


@dataclass
class Hands:
    """A clock to move by hand."""

    shown: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.shown

    def advance(self, **span: float) -> None:
        self.shown += timedelta(**span)


class Told:
    """A ledger that does as the one behind it, but for the methods it was told to do otherwise."""

    def __init__(self, behind: Ledger, **otherwise: Any) -> None:
        self.behind, self.otherwise = behind, otherwise

    def __getattr__(self, name: str) -> Any:
        return self.otherwise.get(name) or getattr(self.behind, name)


@dataclass
class Bench:
    """A database, a chain with contracts, and roots to anchor on it."""

    database: Database
    ledger: Any
    signer: Signer
    places: dict[str, str]
    deeds: list[Deed] = field(default_factory=list)
    now: Hands = field(default_factory=Hands)

    def add(self, count: int) -> list[Deed]:
        """So many roots to anchor."""
        new: list[Deed] = [
            Anchoring(f"anc_{len(self.deeds) + i}", secrets.token_bytes(32), 1000)
            for i in range(count)
        ]
        self.deeds += new
        return new

    def waiting(self, db: Session, chain: Chain, limit: int) -> Sequence[Deed]:
        """Deeds without a live transaction on a chain."""
        query = select(ChainTx.subject).where(
            ChainTx.genesis_hash == chain.genesis_hash, ChainTx.state.in_(LIVE)
        )
        live = set(db.scalars(query))
        return [one for one in self.deeds if one.subject not in live][:limit]

    def sender(self, ledger: Any = None, **terms: Any) -> Sender:
        """A sender on the same database."""
        wanted = terms.pop("wanted", Wanted(None, is_demo=True, cap_wei=CAP_WEI))
        return Sender(
            self.database,
            ledger or self.ledger,
            open_signer=lambda: self.signer,
            source=self.waiting,
            terms=Terms(wanted, **{"confirmations": 0, **terms}),
            now=self.now,
        )

    def rows(self) -> list[ChainTx]:
        """Every transaction, in the order of nonces and attempts."""
        with self.database.reading() as db:
            query = select(ChainTx).order_by(ChainTx.nonce, ChainTx.attempt)
            return list(db.scalars(query))

    def states(self) -> list[str]:
        """The states of all transactions."""
        return [one.state for one in self.rows()]

    def holds(self, deed: Deed) -> bool:
        """Whether the chain holds a root."""
        return deed.is_done(self.ledger, self.places[deed.contract], self.signer.address)


def until(condition: Callable[[], bool], *, seconds: float = 90) -> None:
    """Wait for something that a node does in its own time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def rpc(url: str, method: str, *parameters: object) -> Any:
    """One call to a node, past our own code."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own node
        found = json.load(answer)
    assert "error" not in found, found
    return found["result"]


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """A fresh database; what is the same on every kind is tried on one."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def booted(migrated_sqlite: Path) -> Iterator[tuple[EmbeddedLedger, Signer, dict[str, str]]]:
    """The chain of this process with its contracts: every test begins where this ends."""
    ledger, signer = EmbeddedLedger(), signers.new_signer()
    copied = migrated_sqlite.with_name("booted.db")
    shutil.copy(migrated_sqlite, copied)
    database = Database(f"sqlite:///{copied}")
    boot(database, ledger, ledger.chain(), signer)
    yield ledger, signer, _bench(database, ledger, signer).places
    database.close()
    ledger.close()


@pytest.fixture
def embedded(
    database: Database, booted: tuple[EmbeddedLedger, Signer, dict[str, str]]
) -> Iterator[Bench]:
    """The chain of this process, wound back afterwards."""
    ledger, signer, places = booted
    tester = ledger._tester  # noqa: SLF001 - only a test winds a chain back
    snapshot = ledger._ask(tester.take_snapshot)  # noqa: SLF001 - as above
    with database.transaction() as db:
        record_places(db, ledger.chain(), places)
    yield Bench(database, ledger, signer, places)
    ledger._ask(lambda: tester.revert_to_snapshot(snapshot))  # noqa: SLF001 - as above
    ledger._receipts.clear()  # noqa: SLF001 - as above


def node_bench(database: Database, url: str) -> Bench:
    """A node with contracts of its own for this test."""
    ledger, signer = JsonRpcLedger(url), signers.new_signer()
    rpc(url, "anvil_setBalance", signer.address, hex(10**20))
    made = Deployer(ledger, signer, CAP_WEI, Rate(1, 1_000_000)).deploy(writer=signer.address)
    with database.transaction() as db:
        record_places(db, ledger.chain(), made)
    return _bench(database, ledger, signer)


def _bench(database: Database, ledger: Any, signer: Signer) -> Bench:
    from backend.adapters.ledger.checks import stand_of  # noqa: PLC0415

    with database.reading() as db:
        return Bench(database, ledger, signer, stand_of(db, ledger.chain()))


@pytest.fixture(params=["embedded", "node"])
def bench(request: pytest.FixtureRequest, database: Database) -> Bench:
    """One suite states what both ledgers promise."""
    if request.param == "node" and not NODE_URL:
        pytest.skip(WITHOUT_NODE)
    if request.param == "node":
        return node_bench(database, NODE_URL)
    made: Bench = request.getfixturevalue("embedded")
    return made


class Anvil:
    """A node of a test's own, which it may kill."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # Started again it makes another genesis block, unless that is of the same moment.
        self._options = ("--timestamp", str(int(time.time())), *options)
        self.url = f"http://127.0.0.1:{self.port}"
        self._file = folder / f"anvil-{self.port}.json"
        self.process: subprocess.Popen[bytes] | None = None
        self._frozen: bytes | None = None
        self.start()

    def start(self) -> None:
        """Start it, with the state it last saved."""
        kept = ["--state", str(self._file), "--state-interval", "1"]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--hardfork", "cancun"]
        command = [ANVIL, *place, *kept, "--silent", *self._options]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet)  # noqa: S603 - our own node
        until(self.answers)

    def answers(self) -> bool:
        """Whether it does."""
        with contextlib.suppress(OSError):
            return bool(rpc(self.url, "eth_chainId"))
        return False

    def saved_height(self) -> int | None:
        """The newest block in its state file; None while it is being written."""
        try:
            return int(json.loads(self._file.read_text())["best_block_number"])
        except (OSError, ValueError, KeyError):
            return None

    def has_saved(self) -> bool:
        """Whether everything that was mined is in its file."""
        height = int(rpc(self.url, "eth_blockNumber"), 16)
        return (self.saved_height() or 0) >= height

    def freeze_file(self) -> None:
        """Let it start next time with what it has saved so far."""
        self._frozen = self._file.read_bytes()

    def kill(self) -> None:
        """End it at once, but not in the middle of its file, or it would be another chain."""
        if self.process is None or self.process.poll() is not None:
            return
        end = time.monotonic() + 5
        self.process.send_signal(signal.SIGSTOP)
        while self._file.exists() and self.saved_height() is None and time.monotonic() < end:
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
            self.process.send_signal(signal.SIGSTOP)
        self.process.kill()
        self.process.wait(10)
        if self._frozen is not None:
            self._file.write_bytes(self._frozen)


@pytest.fixture
def start_anvil(tmp_path: Path) -> Iterator[Callable[..., Anvil]]:
    """Start nodes that end with the test."""
    if not ANVIL:
        pytest.skip(WITHOUT_NODE)
    started: list[Anvil] = []

    def _start(*options: str) -> Anvil:
        started.append(Anvil(tmp_path, *options))
        return started[-1]

    yield _start
    for one in started:
        one.kill()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
