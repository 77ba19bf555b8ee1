"""What the sender promises on every ledger, and what it does when a node fails or lies."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from sqlalchemy import delete, update

from backend.adapters.ledger import fees, json_rpc
from backend.adapters.ledger.abi import selector
from backend.adapters.ledger.checks import NotFit, Wanted, require_fit, stand_of
from backend.adapters.ledger.contracts import CHARGE_LEDGER, REGISTRY, sequence_of
from backend.adapters.ledger.deeds import Sealing
from backend.adapters.ledger.ledger import Chain, LedgerUnavailable, Reverted, TxReceipt
from backend.adapters.ledger.sending import Sender
from backend.adapters.ledger.signers import KNOWN_KEYS, from_key
from backend.adapters.ledger.transactions import ChainTx, ContractPlace
from backend.proofs.blocks import FIRST_PREVIOUS, BlockHeader
from tests.adapters.ledger.conftest import CAP_WEI, Bench, Told, until


def settle(bench: Bench, sender: Sender) -> None:
    """Step until everything is final."""

    def _is_settled() -> bool:
        sender.step()
        live = [one for one in bench.states() if one in {"signed", "sent", "included", "final"}]
        return len(live) == len(bench.deeds) and set(live) == {"final"}

    until(_is_settled)


def away(*_: object, **__: object) -> NoReturn:
    raise LedgerUnavailable("away")


def test_every_root_is_anchored_once_in_order(bench: Bench) -> None:
    deeds = bench.add(25)
    sender = bench.sender(window=10)

    settle(bench, sender)

    assert all(bench.holds(one) for one in deeds)
    assert sequence_of(bench.ledger, REGISTRY, bench.places[REGISTRY]) == 25
    rows = bench.rows()
    assert [one.subject for one in rows] == [one.subject for one in deeds]
    assert all(one.gas_used and one.gas_used < 110_000 for one in rows)
    assert {one.trust for one in rows} == {bench.ledger.trust} <= {"embedded-dev", "dev-node"}
    assert not sender.step()


def test_blocks_are_sealed_each_on_the_one_before(bench: Bench) -> None:
    first = BlockHeader(1, FIRST_PREVIOUS, b"\1" * 32, 10, 20, 3, 25_500, 0)
    second = BlockHeader(2, first.hash(), b"\2" * 32, 20, 30, 1, 0, 900)
    bench.deeds += [Sealing("blk_1", first), Sealing("blk_2", second)]

    settle(bench, bench.sender())

    assert sequence_of(bench.ledger, CHARGE_LEDGER, bench.places[CHARGE_LEDGER]) == 2
    assert all(bench.holds(one) for one in bench.deeds)


def test_a_transaction_is_stored_before_it_is_sent(bench: Bench) -> None:
    bench.add(3)
    seen: list[list[str]] = []

    def _broadcast(signed: Sequence[bytes]) -> list[str]:
        seen.append(bench.states())
        assert {one.raw_tx for one in bench.rows()} == set(signed)
        away()

    bench.sender(Told(bench.ledger, broadcast=_broadcast)).step()
    assert seen == [["signed"] * 3]
    bench.now.advance(minutes=1)
    settle(bench, bench.sender())  # another process goes on with the very same bytes

    assert bench.states() == ["final"] * 3
    assert all(one.attempt == 1 for one in bench.rows())


def test_a_process_that_ends_after_sending_doubles_nothing(bench: Bench) -> None:
    bench.add(3)

    def _sends_and_dies(signed: Sequence[bytes]) -> list[str]:
        bench.ledger.broadcast(signed)
        away()

    bench.sender(Told(bench.ledger, broadcast=_sends_and_dies)).step()
    bench.now.advance(minutes=1)
    settle(bench, bench.sender())

    assert sequence_of(bench.ledger, REGISTRY, bench.places[REGISTRY]) == 3


@pytest.mark.parametrize(
    "method", ["chain", "receipts", "broadcast", "next_nonce", "base_fee_wei", "call", "height"]
)
def test_a_node_that_goes_away_anywhere_costs_time_only(embedded: Bench, method: str) -> None:
    embedded.add(4)
    ledger = Told(embedded.ledger, **{method: away})
    sender = embedded.sender(ledger)

    assert not sender.step()
    assert sender.status.state == "unavailable"
    ledger.otherwise.clear()
    embedded.now.advance(minutes=1)
    settle(embedded, sender)

    assert sequence_of(embedded.ledger, REGISTRY, embedded.places[REGISTRY]) == 4


def test_two_workers_of_one_signer_never_send_at_once(bench: Bench) -> None:
    bench.add(20)
    one, other = bench.sender(window=5), bench.sender(window=5)

    for _ in range(40):
        one.step()
        other.step()
        assert {one.status.state, other.status.state} == {"ready", "elsewhere"}
    one.close()
    other.close()
    settle(bench, bench.sender())

    rows = bench.rows()
    assert [row.nonce for row in rows] == list(range(rows[0].nonce or 0, (rows[0].nonce or 0) + 20))
    assert not [row.reason for row in rows if row.reason]


def test_a_worker_whose_lease_ran_out_changes_nothing(embedded: Bench) -> None:
    embedded.add(2)
    late = embedded.sender()
    late.step()
    embedded.now.advance(minutes=2)
    embedded.add(2)
    taking_over = embedded.sender()

    taking_over.step()
    late.step()

    assert late.status.state == "elsewhere"
    settle(embedded, taking_over)
    assert len(embedded.rows()) == 4


def test_a_batch_that_stands_on_the_chain_already_is_found_there(bench: Bench) -> None:
    bench.add(3)
    settle(bench, bench.sender())
    with bench.database.transaction() as db:  # as after restoring an older backup
        db.execute(delete(ChainTx))
    bench.now.advance(minutes=1)

    settle(bench, bench.sender())

    assert sequence_of(bench.ledger, REGISTRY, bench.places[REGISTRY]) == 3
    assert all(one.tx_hash and one.block_number for one in bench.rows())
    assert {one.nonce for one in bench.rows()} == {None}


def test_a_refusal_is_success_only_if_the_contract_holds_the_root(embedded: Bench) -> None:
    embedded.add(1)
    claim = bytes.fromhex("00" * 4)

    def _refuses(to: str, data: bytes, *, sender: str | None = None) -> bytes:
        if sender is not None:
            raise Reverted(claim)
        return bytes(embedded.ledger.call(to, data))

    sender = embedded.sender(Told(embedded.ledger, call=_refuses))
    sender.step()

    assert sender.status.state == "waiting"
    assert embedded.rows() == []


def test_a_paused_contract_costs_no_gas(embedded: Bench) -> None:
    deeds = embedded.add(1)
    paused = selector("EnforcedPause()")

    def _refuses(to: str, data: bytes, *, sender: str | None = None) -> bytes:
        if sender is not None:
            raise Reverted(paused)
        return bytes(embedded.ledger.call(to, data))

    sender = embedded.sender(Told(embedded.ledger, call=_refuses))
    assert not sender.step()

    assert sender.status.reason == "AnchorRegistry refuses: EnforcedPause"
    assert not embedded.holds(deeds[0])


# A node that lies


def test_a_status_of_1_without_the_event_is_a_failure(embedded: Bench) -> None:
    embedded.add(1)

    def _silent(hashes: Sequence[str]) -> list[TxReceipt | None]:
        found = embedded.ledger.receipts(hashes)
        return [one and replace(one, logs=()) for one in found]

    sender = embedded.sender(Told(embedded.ledger, receipts=_silent))
    sender.step()

    (row,) = embedded.rows()
    assert (row.state, row.reason) == ("failed", "It succeeded, and the contract told of nothing.")


@pytest.mark.parametrize("member", ["address", "root", "event"])
def test_an_event_of_another_contract_or_root_does_not_count(embedded: Bench, member: str) -> None:
    embedded.add(1)

    def _other(hashes: Sequence[str]) -> list[TxReceipt | None]:
        (found,) = embedded.ledger.receipts(hashes)
        (log,) = found.logs
        topics = {"root": (log.topics[0], bytes(32)), "event": (bytes(32), log.topics[1])}
        changed = replace(
            log,
            address="0x" + "11" * 20 if member == "address" else log.address,
            topics=topics.get(member, log.topics[:2]) + log.topics[2:],
        )
        return [replace(found, logs=(changed,))]

    embedded.sender(Told(embedded.ledger, receipts=_other)).step()

    assert embedded.states() == ["failed"]


def test_a_lie_is_corrected_when_the_contract_is_asked(embedded: Bench) -> None:
    embedded.add(1)
    lying = Told(
        embedded.ledger,
        receipts=lambda hashes: [
            one and replace(one, is_success=False) for one in embedded.ledger.receipts(hashes)
        ],
    )
    embedded.sender(lying).step()
    assert embedded.states() == ["failed"]

    embedded.now.advance(minutes=1)
    settle(embedded, embedded.sender())

    assert sequence_of(embedded.ledger, REGISTRY, embedded.places[REGISTRY]) == 1


def test_a_block_that_goes_away_puts_its_transactions_back(embedded: Bench) -> None:
    embedded.add(2)
    ledger = Told(embedded.ledger, height=lambda: 0, is_instant=False)
    sender = embedded.sender(ledger, confirmations=0)
    sender.step()
    sender.step()
    assert embedded.states() == ["included"] * 2

    ledger.otherwise |= {
        "receipts": lambda hashes: [None] * len(hashes),
        "mined_nonce": lambda _: embedded.rows()[0].nonce,
    }
    sender.step()
    assert [(one.state, one.reorgs) for one in embedded.rows()] == [("sent", 1)] * 2

    ledger.otherwise.clear()
    settle(embedded, sender)
    assert embedded.states() == ["final"] * 2


def test_final_needs_the_block_to_stand_still(embedded: Bench) -> None:
    embedded.add(1)
    ledger = Told(embedded.ledger, block_hash=lambda _: "0x" + "77" * 32)
    sender = embedded.sender(ledger)

    for _ in range(3):
        sender.step()

    assert embedded.states() == ["included"]


# Transactions that are stuck, and nonces that are missing


def never(*_: object) -> list[str]:
    return [""]


def test_a_stuck_transaction_is_replaced_for_an_eighth_more_and_both_are_watched(
    embedded: Bench,
) -> None:
    embedded.add(1)
    ledger = Told(embedded.ledger, broadcast=never)
    sender = embedded.sender(ledger)
    sender.step()
    embedded.now.advance(seconds=91)
    sender.step()

    first, second = embedded.rows()
    assert (first.state, second.state) == ("replaced", "sent")
    assert first.nonce == second.nonce
    assert second.max_fee_wei >= first.max_fee_wei * 1.125
    assert second.tip_wei >= first.tip_wei * 1.125
    assert embedded.ledger.broadcast([first.raw_tx]) == [""]  # a miner takes the first one
    settle(embedded, sender)

    assert embedded.states() == ["final", "replaced"]


def test_above_the_cap_the_sender_waits(embedded: Bench) -> None:
    embedded.add(1)
    sender = embedded.sender(Told(embedded.ledger, base_fee_wei=lambda: CAP_WEI))

    assert not sender.step()

    assert sender.status.state == "waiting"
    assert "above the cap" in sender.status.reason
    assert embedded.rows() == []


def test_a_replacement_never_goes_above_the_cap() -> None:
    former = fees.Fees(900, 100)

    with pytest.raises(fees.FeesTooHigh):
        fees.raised(former, 500, cap_wei=1000)
    assert fees.raised(former, 5000, cap_wei=1013) == fees.Fees(1013, 113)


def test_a_nonce_taken_by_somebody_else_is_signed_anew(embedded: Bench) -> None:
    (deed,) = embedded.add(1)
    sender = embedded.sender(Told(embedded.ledger, broadcast=never))
    sender.step()
    embedded.ledger.broadcast([_spend_nonce(embedded)])
    sender = embedded.sender()

    for _ in range(3):
        embedded.now.advance(minutes=2)
        sender.step()

    assert embedded.holds(deed)
    assert sorted(embedded.states()) == ["final", "lost"]


def _spend_nonce(bench: Bench) -> bytes:
    """A transaction of the same signer that does nothing."""
    spent = {
        "type": 2,
        "chainId": bench.ledger.chain().chain_id,
        "nonce": bench.ledger.next_nonce(bench.signer.address),
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
        "to": "0x" + "00" * 20,
        "value": 0,
    }
    return bench.signer.sign(spent)[0]


# Before anything is sent


def fit(bench: Bench, **changed: Any) -> None:
    values = {"ledger": bench.ledger, "signer": bench.signer, "chain_id": None, **changed}
    wanted = Wanted(values["chain_id"], is_demo=changed.get("is_demo", True), cap_wei=CAP_WEI)
    chain, places = bench.ledger.chain(), changed.get("places", bench.places)
    require_fit(values["ledger"], chain, places, values["signer"], wanted)


def test_the_right_chain_code_role_and_balance_are_fit(bench: Bench) -> None:
    fit(bench, chain_id=bench.ledger.chain().chain_id, is_demo=False)


def test_another_chain_is_refused(bench: Bench) -> None:
    bench.add(1)
    wanted = Wanted(1, is_demo=True, cap_wei=CAP_WEI)
    sender = bench.sender(wanted=wanted)

    sender.step()

    assert sender.status.state == "refused"
    assert "not on 1" in sender.status.reason
    assert bench.rows() == []


def test_the_same_number_with_another_genesis_is_another_chain(embedded: Bench) -> None:
    with embedded.database.transaction() as db:
        db.execute(update(ContractPlace).values(genesis_hash="0x" + "00" * 32))

    with (
        embedded.database.reading() as db,
        pytest.raises(NotFit, match="genesis block"),
    ):
        stand_of(db, embedded.ledger.chain())
    with embedded.database.reading() as db, pytest.raises(NotFit, match="chain deploy"):
        stand_of(db, Chain(5, "0x" + "00" * 32))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("nothing", "no code"),
        ("directory", "no clone"),
        ("swapped", "runs other code"),
    ],
)
def test_an_address_without_the_contracts_code_is_refused(
    embedded: Bench, what: str, why: str
) -> None:
    address = {
        "nothing": "0x" + "11" * 20,
        "directory": embedded.places["Directory"],
        "swapped": embedded.places[CHARGE_LEDGER],
    }[what]

    with pytest.raises(NotFit, match=why):
        fit(embedded, places={**embedded.places, REGISTRY: address})


def test_a_signer_without_role_or_money_is_refused(embedded: Bench) -> None:
    stranger = from_key("42" * 32)

    with pytest.raises(NotFit, match="may not write"):
        fit(embedded, signer=stranger)
    with pytest.raises(NotFit, match="holds 0 wei"):
        fit(embedded, ledger=Told(embedded.ledger, balance_wei=lambda _: 0))


def test_keys_that_everybody_holds_are_refused_outside_the_demo(embedded: Bench) -> None:
    known = from_key("00" * 31 + "01")
    assert known.address in KNOWN_KEYS

    with pytest.raises(NotFit, match="everybody holds it"):
        fit(embedded, signer=known, is_demo=False)
    with pytest.raises(NotFit, match="may not write"):
        fit(embedded, signer=known)


# The node's answers


def test_a_node_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        json_rpc.JsonRpcLedger("http://127.0.0.1:1/secret-key").chain()

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(json_rpc.JsonRpcLedger("http://127.0.0.1:1/secret-key"))


def test_a_half_open_connection_ends_with_a_timeout(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rpc, "READ_S", 0.2)

    with pytest.raises(LedgerUnavailable, match="Timeout"):
        json_rpc.JsonRpcLedger(silent_server).height()


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda one: one.height(), "nonsense"),
        (lambda one: one.height(), None),
        (lambda one: one.chain(), {"hash": "0x12"}),
        (lambda one: one.code("0x"), "0xzz"),
        (lambda one: one.receipts(["0x" + "11" * 32]), {"status": "0x1"}),
        (lambda one: one.receipts(["0x" + "11" * 32]), {"transactionHash": "0x" + "22" * 32}),
        (lambda one: one.logs("0x", 1), {}),
        (lambda one: one.finalized_height(), None),
    ],
)
def test_what_makes_no_sense_is_no_answer(
    ask: Callable[[json_rpc.JsonRpcLedger], Any], answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = json_rpc.JsonRpcLedger("http://127.0.0.1:1")
    monkeypatch.setattr(
        ledger, "_exchange", lambda calls: [{"result": answer} for _ in calls], raising=True
    )

    with pytest.raises(LedgerUnavailable):
        ask(ledger)


def test_what_a_node_knows_already_is_no_objection(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = json_rpc.JsonRpcLedger("http://127.0.0.1:1")
    said = [{"error": {"message": "already known"}}, {"error": {"message": "nonce too low"}}]
    monkeypatch.setattr(ledger, "_exchange", lambda _calls: said)

    assert ledger.broadcast([b"1", b"2"]) == ["", "nonce too low"]
