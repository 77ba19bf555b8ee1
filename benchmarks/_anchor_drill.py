"""A node and workers that are killed: what is lost, what is doubled, and how long it takes."""

import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from backend.adapters.ledger import signers
from backend.adapters.ledger.booting import record_places
from backend.adapters.ledger.checks import Wanted, stand_of
from backend.adapters.ledger.contracts import REGISTRY, is_anchored, sequence_of
from backend.adapters.ledger.deploying import Deployer, Rate
from backend.adapters.ledger.desk import Terms
from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.ledger import LedgerUnavailable
from backend.adapters.ledger.sending import Sender
from backend.adapters.ledger.transactions import ChainTx
from backend.components import migrate
from backend.database import Database, insert_missing, new_id
from backend.features.anchors.batching import Closing, close_due, waiting_batches
from backend.features.anchors.models import BATCH, AnchorBatch, AnchorItem
from backend.proofs.canonical import item_hash
from backend.proofs.merkle import Kind

ITEMS, POINTS, BATCH_SIZE = 1_000, 20, 10
CAP_WEI = 10**12
LEASE = timedelta(seconds=2)
CLOSING = Closing(BATCH_SIZE, timedelta(seconds=0.2))


@dataclass
class Node:
    """A node with a state file that it writes every second; killed, it forgets the last one."""

    program: str
    folder: Path
    port: int
    born_at: int = field(default_factory=lambda: int(time.time()))
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        """Where it keeps its state."""
        return self.folder / "chain.json"

    def saved_height(self) -> int | None:
        """The newest block in the state file; None while it is being written."""
        try:
            return int(json.loads(self.file.read_text())["best_block_number"])
        except (OSError, ValueError, KeyError):
            return None

    def start(self) -> None:
        """Start it and wait for its first answer."""
        kept = ["--state", str(self.file), "--state-interval", "1"]
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--hardfork", "cancun"]
        # Started again, it makes a genesis block of that moment beside the saved one, and which of
        # the two it then shows is chance. Made of the same moment, they are the same block.
        options += ["--timestamp", str(self.born_at)]
        command = [self.program, *options, *kept, "--silent"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                JsonRpcLedger(self.url).height()
            except LedgerUnavailable:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the node did not start")

    def kill(self) -> None:
        """End it at once, but not in the middle of its file.

        It writes that in place: half a file, and it would start as another chain with another
        genesis block, which is another drill.
        """
        if self.process is None or self.process.poll() is not None:
            return
        for _ in range(200):
            self.process.send_signal(signal.SIGSTOP)
            if self.saved_height() is not None:
                break
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        self.process.kill()
        self.process.wait(10)


@dataclass
class Scene:
    """A database, a node with contracts, and the key that writes to them."""

    folder: Path
    node: Node
    key: str
    database_url: str

    def sender(self, database: Database) -> Sender:
        """A sender as a worker has it."""
        terms = Terms(Wanted(None, is_demo=True, cap_wei=CAP_WEI), confirmations=0, lease=LEASE)
        return Sender(
            database,
            JsonRpcLedger(self.node.url),
            open_signer=lambda: signers.from_key(self.key),
            source=waiting_batches,
            terms=terms,
        )


@contextmanager
def scene(program: str) -> Iterator[Scene]:
    """Everything for a drill, in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="drill"))
    node = Node(program, folder, free_port())
    try:
        node.start()
        made = Scene(folder, node, secrets.token_hex(32), f"sqlite:///{folder / 'drill.db'}")
        migrate(made.database_url)
        _deploy(made)
        yield made
    finally:
        node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on."""
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, method: str, *parameters: object) -> Any:  # noqa: ANN401 - any JSON
    """One call to a node, past our own code."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own node
        return json.load(answer)["result"]


def _deploy(made: Scene) -> None:
    signer, ledger = signers.from_key(made.key), JsonRpcLedger(made.node.url)
    ask(made.node.url, "anvil_setBalance", signer.address, hex(10**20))
    places = Deployer(ledger, signer, CAP_WEI, Rate(1, 1_000_000)).deploy(writer=signer.address)
    database = Database(made.database_url)
    with database.transaction() as db:
        record_places(db, ledger.chain(), places)
    database.close()
    height, until = ledger.height(), time.monotonic() + 20
    while (made.node.saved_height() or 0) < height and time.monotonic() < until:
        time.sleep(0.05)  # until the contracts are in the node's state file


def work(made: Scene) -> None:
    """A worker: close batches and send, until it is killed."""
    os.setpgrp()
    database, key = Database(made.database_url), Ed25519PrivateKey.generate()
    sender = made.sender(database)
    while True:
        close_due(database, BATCH, CLOSING, key=key, now=datetime.now(UTC))
        if not sender.step():
            time.sleep(0.05)


def add_items(database: Database, count: int, *, first: int) -> None:
    """Enter records to anchor."""
    now = datetime.now(UTC)
    with database.transaction() as db:
        for number in range(first, first + count):
            record, salt = {"number": number}, secrets.token_bytes(32)
            row = {
                "id": new_id("itm"),
                "kind": int(Kind.SESSION_RECEIPT),
                "name": f"drill_{number}",
                "record": record,
                "salt": salt,
                "item_hash": item_hash(record, salt),
                "created_at": now,
            }
            insert_missing(db, AnchorItem, row)


def drill(program: str, *, seed: int = 7) -> dict[str, Any]:
    """Kill node and worker at twenty random points while a thousand items come in."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable drill
    start = multiprocessing.get_context("fork").Process
    with scene(program) as made:
        database = Database(made.database_url)
        database.close()
        worker = _started(start, made)
        for point in range(POINTS):
            fresh = Database(made.database_url)
            add_items(fresh, ITEMS // POINTS, first=point * (ITEMS // POINTS))
            fresh.close()
            time.sleep(chance.uniform(0.2, 2.5))
            if chance.random() < 0.5:  # noqa: PLR2004 - a coin
                made.node.kill()
                time.sleep(chance.uniform(0.0, 0.3))
                made.node.start()
            else:
                _kill(worker)
                worker = _started(start, made)
        began = time.monotonic()
        settled = Database(made.database_url)
        is_drained = _waited(settled, seconds=120)
        drain_s = time.monotonic() - began
        _kill(worker)
        found = _judged(made, settled)
        settled.close()
        return {**found, "drained": is_drained, "drain_s": round(drain_s, 2)}


def _started(start: Any, made: Scene) -> BaseProcess:  # noqa: ANN401 - a context's class
    worker: BaseProcess = start(target=work, args=(made,), daemon=True)
    worker.start()
    return worker


def _kill(worker: BaseProcess) -> None:
    if worker.pid:
        os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)


def _waited(database: Database, *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if _is_drained(database):
            return True
        time.sleep(0.1)
    return False


def _is_drained(database: Database) -> bool:
    with database.reading() as db:
        open_items = select(func.count()).where(AnchorItem.batch_id.is_(None))
        final = select(ChainTx.subject).where(ChainTx.state == "final")
        open_batches = select(func.count()).where(AnchorBatch.id.not_in(final))
        return not db.scalar(open_items) and not db.scalar(open_batches)


def _judged(made: Scene, database: Database) -> dict[str, Any]:
    """Ask the contract for every root, and count what it holds beyond them."""
    ledger = JsonRpcLedger(made.node.url)
    with database.reading() as db:
        registry = stand_of(db, ledger.chain())[REGISTRY]
        batches = db.scalars(select(AnchorBatch)).all()
        items = db.scalar(select(func.count()).select_from(AnchorItem)) or 0
        attempts = db.scalar(select(func.count()).select_from(ChainTx)) or 0
    held = [one for one in batches if is_anchored(ledger, registry, one.root)]
    anchored = sum(one.count for one in held)
    extra = sequence_of(ledger, REGISTRY, registry) - len(held)
    return {
        "items": items,
        "batches": len(batches),
        "transactions": attempts,
        "lost": ITEMS - anchored,
        "doubled": extra + max(0, sum(one.count for one in batches) - items),
    }


def two_workers(program: str) -> dict[str, int]:
    """Two workers of one signer at once: how many transactions went wrong."""
    start = multiprocessing.get_context("fork").Process
    with scene(program) as made:
        workers = [_started(start, made) for _ in range(2)]
        database = Database(made.database_url)
        for first in range(0, 500, 100):
            add_items(database, 100, first=first)
            time.sleep(0.3)
        is_drained = _waited(database, seconds=60)
        for one in workers:
            _kill(one)
        wrong = select(func.count()).where(ChainTx.state.in_(("failed", "lost")))
        with database.reading() as db:
            errors = db.scalar(wrong) or 0
        database.close()
        return {"two_workers_errors": errors if is_drained else -1}


def reorg(program: str, *, depth: int = 5) -> dict[str, bool]:
    """Take so many blocks away: is everything anchored again?"""
    with scene(program) as made:
        database, key = Database(made.database_url), Ed25519PrivateKey.generate()
        sender = made.sender(database)
        for number in range(depth):
            add_items(database, 1, first=number)
            close_due(database, BATCH, CLOSING, key=key, now=datetime.now(UTC) + LEASE)
            _step_until_mined(sender, database)
        _unfinish(database)  # one confirmation would have sufficed: they are looked at again
        ask(made.node.url, "anvil_reorg", depth, [])
        for _ in range(100):
            sender.step()
        ledger = JsonRpcLedger(made.node.url)
        with database.reading() as db:
            registry = stand_of(db, ledger.chain())[REGISTRY]
            roots = db.scalars(select(AnchorBatch.root)).all()
        is_healed = all(is_anchored(ledger, registry, one) for one in roots)
        count = sequence_of(ledger, REGISTRY, registry)
        database.close()
        return {f"reorg_depth_{depth}_healed": is_healed and count == len(roots) == depth}


def _step_until_mined(sender: Sender, database: Database) -> None:
    for _ in range(100):
        sender.step()
        if _is_drained(database):
            return
        time.sleep(0.02)
    raise RuntimeError("a transaction was not mined")


def _unfinish(database: Database) -> None:
    from sqlalchemy import update  # noqa: PLC0415 - only here

    with database.transaction() as db:
        db.execute(update(ChainTx).values(state="included"))
