"""From a session's end to a receipt that strangers can check."""

import base64
import importlib.util
import json
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from backend.adapters.events.outbox import record
from backend.adapters.ledger.ledger import LedgerUnavailable
from backend.adapters.ledger.sending import Sender
from backend.adapters.ledger.transactions import ChainTx
from backend.features.anchors import collecting, service, wiring
from backend.features.anchors.batching import header_of
from backend.features.anchors.listeners import Work
from backend.features.anchors.models import BLOCK, AnchorBatch, AnchorItem
from backend.features.credentials.holder import Holder
from backend.features.credentials.listeners import close_chain_now
from backend.proofs import checkpoints, receipts
from backend.proofs.merkle import Kind
from backend.proofs.signing import did_of
from tests.conftest import House, house_on
from tests.features.test_sessions import refused
from tests.tables import row_counts, rows_of

VERIFIER = Path(__file__).resolve().parents[2] / "docs" / "verify_receipt.py"


def verifier() -> Any:
    """The one-file verifier, as strangers get it."""
    found = importlib.util.spec_from_file_location("verify_receipt", VERIFIER)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def sender_of(house: House) -> Sender:
    sender = wiring.open_sender(house.parts)
    assert sender is not None
    return sender


def collect(house: House) -> None:
    """Let events be heard and everything that waits be closed."""
    house.settle()
    house.clock.advance(minutes=1)
    Work(house.parts)()


def send(house: House) -> None:
    """Let the sender bring it to the chain."""
    while sender_of(house).step():
        pass
    assert sender_of(house).status.state == "ready"


def finished(house: House, *, energy_kwh: float = 25.5, **values: Any) -> str:
    """A session that charged so much; its id."""
    session_id: str = house.start(**values)["session_id"]
    house.clock.advance(hours=3)
    body = {"energy_delivered_kwh": energy_kwh, "final_soc_percent": 85}
    assert house.post(f"/sessions/{session_id}/complete", body).status_code == 200
    return session_id


def receipt(house: House, session_id: str) -> Any:
    answer = house.get(f"/sessions/{session_id}/receipt")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_session_becomes_a_receipt_that_the_one_file_verifier_passes(house: House) -> None:
    house.site()
    session_id = finished(house)
    collect(house)
    send(house)

    answer = house.get(f"/sessions/{session_id}/receipt")

    made = verifier().verify(answer.content, signer=house.get("/ledger").json()["signed_by"])
    assert made == ["form", "hash", "inclusion", "checkpoint", "signature"]
    assert all(one.passed for one in receipts.verify(answer.json()))
    shown = answer.json()["record"]
    assert shown["meter"]["stop_wh"] == 25_500
    assert (shown["energy_kwh"], shown["cost"]["total_eur"]) == ("25.5000", "7.6500")
    assert (shown["tariff"]["eur_per_kwh"], shown["plan_version"]) == ("0.3000", 1)
    assert shown["assurance"] == "simulated"
    anchor = answer.json()["anchor"]
    assert (anchor["trust"], anchor["finality"]) == ("embedded-dev", "none")
    assert anchor["chain"]["contract"] == house.get("/ledger").json()["contracts"]["AnchorRegistry"]


def test_a_receipt_names_no_person_and_no_vehicle(house: House) -> None:
    house.site()
    session_id = finished(house)
    collect(house)

    text = json.dumps(receipt(house, session_id)) + str(rows_of(house.parts.database, "chain_txs"))

    assert "did:denso:driver" not in text
    assert "did:denso:vehicle" not in text


def test_a_receipt_says_how_far_it_is(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    problem = refused(house.get(f"/sessions/{session_id}/receipt"), 409, "receipt_not_ready")
    assert problem["retryable"]
    house.clock.advance(hours=3)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 5})
    house.settle()
    assert receipt(house, session_id)["anchor"] is None  # signed already

    collect(house)
    (batch,) = house.get("/anchors").json()["data"]
    assert (batch["status"], batch["trust"], batch["fee"]) == ("batched", "signed-only", None)
    assert receipt(house, session_id)["anchor"]["chain"] is None
    send(house)

    (batch,) = house.get("/anchors").json()["data"]
    assert (batch["status"], batch["trust"]) == ("final", "embedded-dev")
    assert batch["fee"]["gas_used"] > 60_000
    assert house.get(f"/anchors/{batch['anchor_id']}").json() == batch
    assert receipt(house, session_id)["anchor"]["id"] == batch["anchor_id"]


def test_any_byte_of_a_receipt_changed_is_found(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    session_id = finished(house)
    collect(house)
    content = house.get(f"/sessions/{session_id}/receipt").content
    check = verifier()
    signer = did_of(wiring.receipt_key(house.parts))

    for place in range(0, len(content), 37):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(check.Failed):
            check.verify(bytes(changed), signer=signer)


def test_charges_and_discharges_are_sealed_in_blocks(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    first = finished(house, number=1)
    house.settle()
    (waiting,) = house.get("/ledger/pending").json()["data"]
    assert (waiting["status"], waiting["wh_in"], waiting["wh_out"]) == ("pending", 25_500, 0)
    assert waiting["record"]["cost_eur"] == "7.6500"
    assert first not in json.dumps(waiting)
    collect(house)
    finished(house, number=2, charger=2)
    collect(house)
    send(house)

    second, one = house.get("/ledger/blocks").json()["data"]

    assert (one["number"], second["number"]) == (1, 2)
    assert second["previous_hash"] == one["header_hash"]
    assert {one["status"], second["status"]} == {"final"}
    assert one["wh_in"] == second["wh_in"] == 25_500
    assert one["fee"]["gas_used"] > 60_000
    assert house.get("/ledger/pending").json()["data"] == []
    (record,) = house.get("/ledger/blocks/1/records").json()["data"]
    assert record["item_hash"] == waiting["item_hash"]
    refused(house.get("/ledger/blocks/9/records"), 404, "anchor_not_found")


def test_what_the_ledger_cost_is_told_per_item(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    for number in (1, 2, 3):
        finished(house, number=number, charger=number)
    collect(house)
    send(house)

    found = house.get("/ledger").json()

    assert (found["state"], found["trust"], found["batches_waiting"]) == (
        "ready",
        "embedded-dev",
        0,
    )
    assert found["anchors"]["items"] >= 3
    paid = found["anchors"]
    assert paid["gas_per_item"] == pytest.approx(paid["gas_used"] / paid["items"])
    assert int(paid["fee_per_item_wei"]) == int(paid["fee_wei"]) // paid["items"]


def test_every_batch_is_a_signed_checkpoint_on_the_one_before(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    for number in (1, 2, 3):
        finished(house, number=number, charger=number)
        collect(house)

    newest_first = [one["checkpoint"] for one in house.get("/anchors").json()["data"]]

    signer = did_of(wiring.receipt_key(house.parts))
    assert len(newest_first) == 3
    assert checkpoints.first_broken(newest_first[::-1], signer=signer) is None
    del newest_first[1]
    assert checkpoints.first_broken(newest_first[::-1], signer=signer) == 1


def test_batches_close_when_they_are_full(sqlite_url: str, tmp_path: Path) -> None:
    with house_on(sqlite_url, tmp_path, anchor_batch_size=2, anchor_batch_age_s=3600) as house:
        house.site()
        for number in (1, 2, 3):
            finished(house, number=number, charger=number)
        house.settle()
        Work(house.parts)()
        (batch,) = house.get("/anchors").json()["data"]

    assert batch["count"] == 2


def test_an_event_delivered_twice_is_entered_once(house: House) -> None:
    house.site()
    finished(house)
    house.settle()
    before = row_counts(house.parts.database)["anchor_items"]
    with house.parts.database.transaction() as db:
        for row in db.execute(select(AnchorItem.session_id).distinct()):
            facts = {"session_id": row[0]}
            record(db, "session.completed", facts, now=house.clock.now(), session_id=row[0])
    house.settle()

    assert row_counts(house.parts.database)["anchor_items"] == before == 2


def test_sessions_that_no_event_brought_get_receipts_too(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    session_id = finished(house)  # its event is not delivered

    Work(house.parts)()

    assert receipt(house, session_id)["record"]["energy_kwh"] == "25.5000"


def test_facts_of_other_rooms_are_anchored(sqlite_house: House) -> None:
    house = sqlite_house
    now = house.clock.now()
    told: dict[str, dict[str, Any]] = {
        "credential.issued": {"credential_id": "urn:uuid:1", "commitment": "ab"},
        "credential.revoked": {"credential_id": "urn:uuid:1", "commitment": "ab"},
        "credential.suspended": {"credential_id": "urn:uuid:1", "commitment": "ab"},
        "model.registered": {"model_id": "mdl_1", "sha256": "cd", "r2": 0.75},
        "federated.round.closed": {"round_id": "rnd_1", "state": "closed"},
        "issuers.changed": {"epoch": 3, "snapshot_sha256": "01"},
    }
    with house.parts.database.transaction() as db:
        for event, data in told.items():
            record(db, event, data, now=now)
    collect(house)
    send(house)

    (batch,) = house.get("/anchors").json()["data"]
    names = {one["name"]: one["kind"] for one in rows_of(house.parts.database, "anchor_items")}

    assert batch["count"] == 6
    assert (names["urn:uuid:1"], names["mdl_1"], names["rnd_1"]) == (2, 4, 5)
    query = f"/anchors/{batch['anchor_id']}/proof?kind=model&item=mdl_1"
    proof = house.get(query).json()
    assert (proof["kind_number"], proof["root"]) == (4, batch["root"])
    assert len(proof["proof"]) in {2, 3}  # siblings in a tree of six leaves
    assert house.get("/anchors?item=mdl_1").json()["data"][0]["anchor_id"] == batch["anchor_id"]
    refused(house.get(f"{query}2"), 404, "anchor_not_found")


def test_the_audit_trail_is_anchored_by_signed_checkpoints(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    key = wiring.receipt_key(house.parts)
    found = []
    for number in (1, 2):
        finished(house, number=number, charger=number)
        close_chain_now(house.parts.database)
        with house.parts.database.transaction() as db:
            found.append(collecting.enter_audit_head(db, key, now=house.clock.now()))
            assert not collecting.enter_audit_head(db, key, now=house.clock.now())
    with house.parts.database.reading() as db:
        seals = collecting.audit_checkpoints(db)

    assert found == [True, True]
    assert [one["sequence"] for one in seals] == [1, 2]
    assert checkpoints.first_broken(seals, signer=did_of(key)) is None


def test_it_all_happens_by_itself_in_the_background(sqlite_url: str, tmp_path: Path) -> None:
    often = {"relay_interval_s": 0.05, "anchor_interval_s": 0.05, "anchor_batch_age_s": 0}
    with house_on(sqlite_url, tmp_path, **often) as house:
        house.site()
        session_id = finished(house)
        until = time.monotonic() + 120
        while not _is_final(house, session_id):
            assert time.monotonic() < until
            time.sleep(0.1)


def _is_final(house: House, session_id: str) -> bool:
    listed = house.get(f"/anchors?item={session_id}").json()["data"]
    return [one["status"] for one in listed] == ["final"]


# What goes wrong


def away(*_: object, **__: object) -> NoReturn:
    raise LedgerUnavailable("away")


def test_sessions_go_on_without_a_node_and_everything_drains_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = house.parts.ledger
    with monkeypatch.context() as patch:
        patch.setattr(type(ledger), "chain", away)
        house.site()
        ended = []
        for number in (1, 2, 3, 4):
            ended.append(finished(house, number=number, charger=number))
            collect(house)
            assert not sender_of(house).step()
        assert house.get("/ledger").json()["state"] == "unavailable"
        assert {one["status"] for one in house.get("/anchors").json()["data"]} == {"batched"}
        assert all(receipt(house, one)["signature"] for one in ended)

    send(house)

    assert {one["status"] for one in house.get("/anchors").json()["data"]} == {"final"}
    txs = rows_of(house.parts.database, "chain_txs")
    subjects = [one["subject"] for one in txs]
    assert len(subjects) == len(set(subjects)) == 8  # four batches, four blocks


def test_a_new_process_anchors_everything_again_on_its_own_chain(
    sqlite_url: str, tmp_path: Path
) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        house.site()
        session_id = finished(house)
        collect(house)
        send(house)
        before = receipt(house, session_id)
    with house_on(sqlite_url, tmp_path) as house:
        send(house)
        after = receipt(house, session_id)

    assert before["anchor"]["root"] == after["anchor"]["root"]
    assert before["anchor"]["chain"]["genesis_hash"] != after["anchor"]["chain"]["genesis_hash"]
    with house.parts.database.reading() as db:
        states = sorted(db.scalars(select(ChainTx.state)))
    assert states == ["final", "final", "superseded", "superseded"]


def test_an_erased_receipt_is_gone_and_the_others_still_prove(house: House) -> None:
    house.site()
    erased, kept = (finished(house, number=one, charger=one) for one in (1, 2))
    collect(house)
    with house.parts.database.transaction() as db:
        assert service.erase_sessions(db, [erased], now=house.clock.now()) == 2
        assert service.erase_sessions(db, [erased], now=house.clock.now()) == 0
    Work(house.parts)()

    assert house.get(f"/sessions/{erased}/receipt").status_code == 410
    assert all(one.passed for one in receipts.verify(receipt(house, kept)))
    rows = [
        one for one in rows_of(house.parts.database, "anchor_items") if one["session_id"] == erased
    ]
    assert {(one["salt"], one["record"]) for one in rows} == {(None, None)}
    anchor = receipt(house, kept)["anchor"]["id"]
    assert house.get(f"/anchors/{anchor}/proof?item={erased}").json()["proof"]


def test_what_is_erased_before_it_was_entered_gets_no_salt_later(house: House) -> None:
    house.site()
    session_id = finished(house)  # its event is not delivered yet
    with house.parts.database.transaction() as db:
        service.erase_sessions(db, [session_id], now=house.clock.now())

    collect(house)

    rows = rows_of(house.parts.database, "anchor_items")
    own = [one for one in rows if one["session_id"] == session_id]
    assert {(one["salt"], one["record"]) for one in own} == {(None, None)}
    assert house.get(f"/sessions/{session_id}/receipt").status_code == 410


def test_the_header_of_a_block_is_bound_to_all_it_says(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    finished(house)
    collect(house)
    with house.parts.database.reading() as db:
        block = db.scalars(select(AnchorBatch).where(AnchorBatch.purpose == BLOCK)).one()
        assert header_of(block).hash() == block.header_hash
        for name, value in {"wh_in": 1, "wh_out": 1, "count": 2, "number": 2}.items():
            former = getattr(block, name)
            setattr(block, name, value)
            assert header_of(block).hash() != block.header_hash
            setattr(block, name, former)
        db.rollback()


@pytest.mark.parametrize("change", ["proof", "kind", "long", "salt", "signer", "record", "float"])
def test_a_receipt_that_was_altered_is_not_verified(sqlite_house: House, change: str) -> None:
    house = sqlite_house
    house.site()
    ids = [finished(house, number=one, charger=one) for one in (1, 2, 3)]
    collect(house)
    document = receipt(house, ids[0])
    assert house.post("/anchors/verify", {"receipt": document}).json()["verified"]
    proof, stranger = document["anchor"]["proof"], "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGp"
    match change:
        case "proof":
            proof[0] = proof[0][:-1] + ("0" if proof[0][-1] != "0" else "1")
        case "kind":
            document["kind"] = "model"
        case "long":
            proof += [proof[0]] * 3
        case "salt":
            document["salt"] = None
        case "signer":
            document["signer"] = stranger
        case "record":
            document["record"]["cost"]["total_eur"] = "0.0100"
        case "float":
            document["record"]["cost"]["total_eur"] = 7.65

    answer = house.post("/anchors/verify", {"receipt": document})

    assert answer.status_code == 200
    assert not answer.json()["verified"]
    assert [one for one in answer.json()["checks"] if not one["passed"] and one["detail"]]


def test_a_receipt_that_readers_understand_differently_is_not_verified(
    sqlite_house: House,
) -> None:
    house = sqlite_house
    house.site()
    session_id = finished(house)
    house.settle()
    text = house.get(f"/sessions/{session_id}/receipt").text
    twins = text.replace('"salt":', '"salt":"0x00","salt":')
    broken = text.replace('"anchor":null', r'"anchor":{"trust":"\ud800"}')

    def _verdict(body: str) -> Any:
        headers = {"Content-Type": "application/json"}
        answer = house.client.post("/api/v1/anchors/verify", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    verdicts = [_verdict(f'{{"receipt":{one}}}') for one in (text, twins, broken)]
    verdicts.append(_verdict(f'{{"receipt":{twins},"receipt":{text}}}'))

    assert [one["verified"] for one in verdicts] == [True, False, False, False]
    assert [one["checks"][0]["name"] for one in verdicts] == ["form"] * 4
    assert verdicts[1]["checks"][0]["detail"] == "A member comes twice."


def test_only_our_signature_is_verified_unless_another_is_asked_for(sqlite_house: House) -> None:
    house, key = sqlite_house, Ed25519PrivateKey.generate()
    kind = Kind.MODEL
    foreign = receipts.receipt(
        key, kind=kind, name="m", record={"a": 1}, salt=bytes(32), anchor=None
    )

    ours = house.post("/anchors/verify", {"receipt": foreign}).json()
    theirs = house.post("/anchors/verify", {"receipt": foreign, "signer": did_of(key)}).json()

    assert (ours["verified"], theirs["verified"]) == (False, True)


def test_a_strangers_session_is_in_no_batch(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    session_id = finished(house)
    collect(house)
    stranger = Holder("did:x:driver", frozenset({"driver"}), "verified")
    auditor = Holder("did:x:auditor", frozenset({"auditor"}), "verified")

    with house.parts.database.reading() as db:
        shown, hidden, all_of_them = (
            service.batches_of(db, holder, after=None, limit=25, item=item)
            for holder, item in ((auditor, session_id), (stranger, session_id), (stranger, None))
        )

    assert [len(one) for one in (shown, hidden, all_of_them)] == [1, 0, 1]
    assert house.get("/anchors?item=nothing").json()["data"] == []


@pytest.mark.parametrize("path", ["/anchors/anc_1", "/anchors/anc_1/proof?item=x"])
def test_unknown_anchors_are_not_found(sqlite_house: House, path: str) -> None:
    refused(sqlite_house.get(path), 404, "anchor_not_found")


def test_a_cursor_of_another_list_is_refused(sqlite_house: House) -> None:
    cursor = base64.urlsafe_b64encode(b"/api/v1/anchors?abc").decode()

    refused(sqlite_house.get(f"/anchors?cursor={cursor}"), 409, "cursor_invalid")


def test_without_a_ledger_receipts_are_signed_and_kept(closed_house: House) -> None:
    assert closed_house.parts.ledger is None
    assert wiring.open_sender(closed_house.parts) is None
