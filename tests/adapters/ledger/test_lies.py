"""A node that lies, trickles or floods: nothing breaks, nothing is stored that it made up."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.adapters.ledger import bounded, json_rpc
from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.ledger import LedgerUnavailable, Reverted
from tests.adapters.ledger.conftest import Bench, Told, until

HASH = "0x" + "11" * 32
LOG = {"address": "0x" + "12" * 20, "topics": [HASH], "data": "0x", "transactionHash": HASH}
RECEIPT = {
    "transactionHash": HASH,
    "blockHash": HASH,
    "blockNumber": "0x1",
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x1",
    "contractAddress": None,
    "logs": [LOG],
}


def saying(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> JsonRpcLedger:
    """A ledger whose node gives one answer to everything."""
    ledger = JsonRpcLedger("http://127.0.0.1:1")
    monkeypatch.setattr(ledger, "_exchange", lambda calls: [answer for _ in calls])
    return ledger


@pytest.mark.parametrize(
    "change",
    [
        {"logs": None},
        {"logs": 5},
        {"logs": [None]},
        {"logs": [{**LOG, "topics": None}]},
        {"logs": [{**LOG, "topics": [7]}]},
        {"logs": [{**LOG, "data": {}}]},
        {"contractAddress": 7},
        {"contractAddress": "0x12"},
        {"status": True},
        {"blockNumber": "-0x1"},
        {"blockNumber": 1},
        {"blockNumber": "0x" + "f" * 17},
        {"gasUsed": "0x" + "f" * 64},
        {"effectiveGasPrice": "0x1_0"},
        {"blockHash": None},
        {"blockHash": "0x" + "11 " * 31},
    ],
)
def test_a_receipt_of_other_types_is_no_receipt(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    assert saying(monkeypatch, {"result": RECEIPT}).receipts([HASH])[0]

    with pytest.raises(LedgerUnavailable):
        saying(monkeypatch, {"result": {**RECEIPT, **change}}).receipts([HASH])


def test_an_objection_is_text_that_every_database_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"error": {"message": "no\x00\x1b[2J\ud800\n" + "x" * 10_000}}

    (objection,) = saying(monkeypatch, said).broadcast([b"1"])

    assert objection.startswith("no??[2J??xxx")
    assert len(objection) == 200


@pytest.fixture
def endless() -> Iterator[Callable[[bytes, float], str]]:
    """Start servers that go on saying the same, with a pause in between, until one hangs up."""
    servers: list[ThreadingHTTPServer] = []

    def _start(piece: bytes, pause_s: float) -> str:
        class Endless(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n[")
                try:
                    while True:
                        self.wfile.write(piece)
                        time.sleep(pause_s)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Endless))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield _start
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(("piece", "pause_s"), [(b"0," * 50_000, 0.0), (b" ", 0.05)])
def test_an_answer_without_end_is_given_up(
    endless: Callable[[bytes, float], str],
    monkeypatch: pytest.MonkeyPatch,
    piece: bytes,
    pause_s: float,
) -> None:
    monkeypatch.setattr(bounded, "LONGEST_S", 0.5 if pause_s else 60.0)
    monkeypatch.setattr(bounded, "MOST_BYTES", 1_000_000)

    with pytest.raises(LedgerUnavailable, match="AnswerTooLong"):
        JsonRpcLedger(endless(piece, pause_s)).height()


def test_answers_within_bounds_come_whole(bench: Bench) -> None:
    assert bench.ledger.chain() == bench.ledger.chain()
    assert len(bench.ledger.code(bench.places["AnchorRegistry"])) == 45


@pytest.mark.parametrize(
    "lie",
    [
        {"call": lambda *_, **__: b"\xff" * 320},  # every number is the largest
        {"call": lambda *_, **__: b""},
        {"next_nonce": lambda _: json_rpc.LARGEST_COUNT},
    ],
    ids=["largest", "nothing", "nonce"],
)
def test_made_up_answers_stop_nothing_for_good(embedded: Bench, lie: dict[str, Any]) -> None:
    embedded.add(2)

    embedded.sender(Told(embedded.ledger, **lie)).step()

    _settles(embedded)


def test_a_contract_that_refuses_to_be_asked_counts_as_no_answer(embedded: Bench) -> None:
    def _refuse(*_: object, **__: object) -> bytes:
        raise Reverted(b"1234")

    embedded.add(1)
    sender = embedded.sender(Told(embedded.ledger, call=_refuse))

    assert not sender.step()

    assert (sender.status.state, embedded.rows()) == ("unavailable", [])


def test_a_transaction_behind_one_that_nobody_has_is_signed_anew(bench: Bench) -> None:
    bench.add(2)
    honest = bench.ledger
    ahead = Told(honest, next_nonce=lambda who: honest.next_nonce(who) + 7)
    bench.sender(ahead).step()
    assert bench.states() == ["sent", "sent"]

    _settles(bench)

    assert bench.states().count("lost") == 2
    assert honest.next_nonce(bench.signer.address) == honest.mined_nonce(bench.signer.address)


def _settles(bench: Bench) -> None:
    """With an honest node every root is anchored, once, however long it takes by our clock."""
    sender = bench.sender()

    def _is_done() -> bool:
        bench.now.advance(minutes=1)
        sender.step()
        return all(bench.holds(one) for one in bench.deeds)

    until(_is_done)
    until(lambda: not sender.step() and bench.states().count("final") == len(bench.deeds))
