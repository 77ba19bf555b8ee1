"""What anchoring costs: gas per item, items and transactions per second, and what outages do.

- Gas does not depend on the machine; the contracts are measured on the embedded chain.
- `items_per_s`: record → salted hash → leaf → tree of a thousand → checkpoint, per CPU second.
- `embedded_tx_per_s`: the whole sender (sign, store, send, receipt, event) per CPU second.
- `anvil_tx_per_s`: signed transactions sent and their receipts read, per second of wall time;
  `anvil_sender_tx_per_s` is the whole sender with its signing. Null without a node.
- `request_path_slowdown_with_node_down`: CPU time of starting and completing sessions with a node
  that refuses connections over that with no ledger, batches being closed in both; the least of
  rounds in turn, for whatever else runs on the machine only adds to it.
- The drill kills node and worker (SIGKILL) at twenty random points while a thousand items come in.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from backend.adapters.ledger import signers
from backend.adapters.ledger.booting import boot
from backend.adapters.ledger.checks import Wanted
from backend.adapters.ledger.deeds import Anchoring
from backend.adapters.ledger.desk import Terms
from backend.adapters.ledger.embedded import EmbeddedLedger
from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.sending import Sender
from backend.adapters.ledger.transactions import LIVE, ChainTx
from backend.components import migrate
from backend.database import Database
from backend.observability import configure_logging
from backend.proofs.canonical import item_hash, item_id
from backend.proofs.checkpoints import checkpoint
from backend.proofs.merkle import Kind, build, leaf_of
from benchmarks import _anchor_drill as drills
from benchmarks._contract_gas import measure as measure_gas

BATCHES, PER_BATCH = 10, 1_000
ROOTS = 200
PRE_SIGNED = 400
ROUNDS, CYCLES, WARM_UP = 4, 40, 5
LIMIT_S = 30.0


def contract_gas() -> dict[str, float]:
    """Gas figures by the names they are asked for."""
    found = measure_gas()
    return {
        "gas_per_item_1000": found["anchor"] / 1000,
        "gas_per_item_100": found["anchor"] / 100,
        "gas_revoke_dense_100": found["revoke_dense_100_each"],
        "gas_model_verdict_10x5": found["model_verdict_10x5"],
        "gas_model_verdict_50x5": found["model_verdict_50x5"],
        "gas_seal_block": found["seal"],
    }


def items_per_s() -> float:
    """Records hashed, put into trees and sealed, per CPU second."""
    key, before = Ed25519PrivateKey.generate(), None
    record = {"session_id": "ses_x", "energy_kwh": "25.5000", "meter": {"stop_wh": 25_500}}
    record |= dict.fromkeys(("energy_eur", "idle_eur", "total_eur", "vat_eur"), "12.3400")
    best = 0.0
    for _ in range(3):
        began = time.process_time()
        for batch in range(BATCHES):
            leaves = []
            for number in range(PER_BATCH):
                record["session_id"] = name = f"ses_{batch}_{number}"
                hashed = item_hash(record, secrets.token_bytes(32))
                leaves.append(leaf_of(Kind.SESSION_RECEIPT, item_id(name), hashed))
            root = build(leaves).root
            before = checkpoint(
                key, previous=before, kind="batch", root=root, count=PER_BATCH, at="now"
            )
        best = max(best, BATCHES * PER_BATCH / (time.process_time() - began))
    return best


def _sender(database: Database, ledger: Any, signer: Any, count: int) -> Sender:  # noqa: ANN401
    deeds = [Anchoring(f"anc_{i}", secrets.token_bytes(32), 1000) for i in range(count)]

    def _waiting(db: Any, chain: Any, limit: int) -> list[Anchoring]:  # noqa: ANN401 - as above
        query = ChainTx.__table__.select().where(
            ChainTx.genesis_hash == chain.genesis_hash, ChainTx.state.in_(LIVE)
        )
        live = {row.subject for row in db.execute(query)}
        return [one for one in deeds if one.subject not in live][:limit]

    wanted = Wanted(None, is_demo=True, cap_wei=drills.CAP_WEI)
    return Sender(
        database,
        ledger,
        open_signer=lambda: signer,
        source=_waiting,
        terms=Terms(wanted, confirmations=0),
    )


def embedded_tx_per_s() -> float:
    """Roots that the sender brings to the embedded chain, per CPU second."""
    folder = Path(tempfile.mkdtemp(prefix="anchor"))
    url = f"sqlite:///{folder / 'bench.db'}"
    migrate(url)
    database, ledger, signer = Database(url), EmbeddedLedger(), signers.new_signer()
    boot(database, ledger, ledger.chain(), signer)
    _sender(database, ledger, signer, 0).step()
    sender = _sender(database, ledger, signer, ROOTS)
    time.sleep(0.1)
    _take_over(database)
    began = time.process_time()
    while sender.step():
        pass
    spent = time.process_time() - began
    mined = ledger.height()
    ledger.close()
    database.close()
    shutil.rmtree(folder, ignore_errors=True)
    if mined < ROOTS:
        raise RuntimeError("not everything was anchored")
    return ROOTS / spent


def _take_over(database: Database) -> None:
    """End the lease of the sender that only warmed up."""
    from sqlalchemy import delete  # noqa: PLC0415 - only here

    from backend.adapters.ledger.transactions import SenderLease  # noqa: PLC0415

    with database.transaction() as db:
        db.execute(delete(SenderLease))


def anvil_rates(program: str) -> dict[str, float]:
    """Transactions per second of wall time at a local node."""
    with drills.scene(program) as made:
        ledger = JsonRpcLedger(made.node.url)
        plain = _plain_rate(ledger, made.node.url)
        database = Database(made.database_url)
        signer = signers.from_key(made.key)
        sender = _sender(database, ledger, signer, ROOTS)
        began, until = time.monotonic(), time.monotonic() + LIMIT_S
        while ledger.mined_nonce(signer.address) < ROOTS and time.monotonic() < until:
            sender.step()
        rate = ROOTS / (time.monotonic() - began)
        database.close()
        return {"anvil_tx_per_s": plain, "anvil_sender_tx_per_s": rate}


def _plain_rate(ledger: JsonRpcLedger, url: str) -> float:
    signer = signers.new_signer()
    drills.ask(url, "anvil_setBalance", signer.address, hex(10**20))
    chain_id = ledger.chain().chain_id
    transaction = {"type": 2, "chainId": chain_id, "gas": 60_000, "value": 0}
    transaction |= {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
    target = {"to": "0x" + "00" * 20, "data": secrets.token_bytes(132)}
    signed = [signer.sign({**transaction, **target, "nonce": one}) for one in range(PRE_SIGNED)]
    began = time.monotonic()
    for first in range(0, PRE_SIGNED, 50):
        window = signed[first : first + 50]
        ledger.broadcast([raw for raw, _ in window])
        hashes = [tx_hash for _, tx_hash in window]
        until = time.monotonic() + LIMIT_S
        while not all(ledger.receipts(hashes)) and time.monotonic() < until:
            pass
    return PRE_SIGNED / (time.monotonic() - began)


def request_path_slowdown() -> float:
    """CPU time of a session with the node down over that without a ledger."""
    spent: dict[str, list[float]] = {"none": [], "down": []}
    for _ in range(ROUNDS):
        for kind, found in spent.items():
            command = [sys.executable, __file__, "--cycles", kind]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
            if answer.returncode:
                raise RuntimeError(answer.stderr[-2000:])
            found.append(float(answer.stdout.split()[-1]))
    return min(spent["down"]) / min(spent["none"])


def cycles(kind: str) -> float:
    """CPU seconds of so many sessions, in a process of its own."""
    from backend import components  # noqa: PLC0415 - only in the child
    from tests.conftest import house_on  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="cycles"))
    settings: dict[str, Any] = {"anchor_interval_s": 2.0, "anchor_batch_age_s": 0}
    settings["relay_interval_s"] = 0.25
    if kind == "down":
        settings["ledger_url"] = f"http://127.0.0.1:{drills.free_port()}"
        settings["ledger_key"] = secrets.token_hex(32)
    else:
        components.open_ledger = _no_ledger  # the demo has one in its process otherwise
    url = f"sqlite:///{folder / 'cycles.db'}"
    with house_on(url, folder, **settings) as house:
        house.site()
        _sessions(house, range(WARM_UP))
        while kind == "down" and house.get("/ledger").json()["state"] != "unavailable":
            time.sleep(0.1)  # until the sender has met its node, or rather not
        began = time.process_time()
        _sessions(house, range(WARM_UP, WARM_UP + CYCLES))
        spent = time.process_time() - began
    shutil.rmtree(folder, ignore_errors=True)
    return spent


def _no_ledger(address: str | None) -> None:
    del address


def _sessions(house: Any, numbers: range) -> None:  # noqa: ANN401 - of the tests
    for number in numbers:
        started = house.start(number=number + 1)
        house.clock.advance(minutes=30)
        body = {"energy_delivered_kwh": 1.0}
        house.post(f"/sessions/{started['session_id']}/complete", body)


def main() -> None:
    configure_logging(level="error", as_json=False)  # on standard error: the output is the figures
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--json", action="store_true")
    options.add_argument("--cycles", choices=["none", "down"], help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.cycles:
        print(cycles(args.cycles))
        return
    found: dict[str, Any] = {
        **contract_gas(),
        "items_per_s": round(items_per_s()),
        "embedded_tx_per_s": round(embedded_tx_per_s(), 1),
        "request_path_slowdown_with_node_down": round(request_path_slowdown(), 3),
    }
    found |= with_node(os.environ.get("TASCO_TEST_ANVIL") or anvil_here())
    if args.json:
        print(json.dumps(found))
        return
    table = Table("figure", "value")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console().print(table)


def anvil_here() -> str | None:
    """The node that `run.py services anvil` installed."""
    home = Path(__file__).resolve().parents[1] / ".services" / "anvil"
    program = next(home.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"), None)
    return str(program) if program else None


def with_node(program: str | None) -> dict[str, Any]:
    """What needs a node; null without one."""
    names = ("anvil_tx_per_s", "anvil_sender_tx_per_s", "lost", "doubled", "drain_s")
    if program is None:
        print("no node: run `python3 run.py services anvil`", file=sys.stderr)
        return dict.fromkeys((*names, "reorg_depth_5_healed", "two_workers_errors"))
    return {
        **{name: round(rate, 1) for name, rate in anvil_rates(program).items()},
        **drills.drill(program),
        **drills.reorg(program),
        **drills.two_workers(program),
    }


if __name__ == "__main__":
    main()
