"""What the chain is told of credentials, and where callers look it up."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from eth_hash.auto import keccak
from sqlalchemy import update

from backend.adapters.events.outbox import record
from backend.adapters.ledger.abi import address_of, call_of, number_in
from backend.adapters.ledger.booting import CAP_WEI, UNLIMITED
from backend.adapters.ledger.contracts import MODELS, REGISTRY, STATUS
from backend.adapters.ledger.deploying import Deployer
from backend.features.anchors import wiring
from backend.features.anchors.listeners import Work
from backend.features.anchors.statuses import AT_ONCE, tell_changes
from backend.features.credentials.bitstrings import SIZE, decoded, is_set
from backend.features.credentials.issuing_models import StatusEntry, StatusList
from backend.proofs.canonical import item_id
from tests.conftest import House, house_on
from tests.features.test_anchors import collect, send, sender_of
from tests.features.test_issuing import issue, trust_own_issuer
from tests.tables import rows_of

MODEL = "a1" * 32


@pytest.fixture
def trusted(house: House) -> House:
    """A house whose own issuer is accredited."""
    trust_own_issuer(house)
    return house


def revoke(house: House, credential_id: str) -> None:
    body = {"credential_id": credential_id}
    assert house.post("/credentials/revoke", body).status_code == 200


def suspend(house: House, credential_id: str, *, lift: bool = False) -> None:
    path = "/credentials/lift-suspension" if lift else "/credentials/suspend"
    answer = house.post(path, {"credential_id": credential_id})
    assert answer.status_code == 200, answer.text


def bits_of(house: House, credential_id: str) -> dict[str, Any]:
    """The bits of a credential by their purpose."""
    answer = house.get(f"/ledger/credentials/{credential_id}")
    assert answer.status_code == 200, answer.text
    return {one["purpose"]: one for one in answer.json()["bits"]}


def asked(house: House, contract: str, call: bytes) -> bytes:
    """What the chain itself answers."""
    place = house.get("/ledger").json()["contracts"][contract]
    assert house.parts.ledger is not None
    return house.parts.ledger.call(place, call)


def issuer_of(house: House) -> int:
    return address_of(house.get("/ledger").json()["signer"])


def is_revoked(house: House, index: int) -> bool:
    call = call_of("isRevoked(address,uint256)", issuer_of(house), index)
    return number_in(asked(house, "CredentialStatus", call)) == 1


def tell(house: House, event: str, **facts: Any) -> None:
    facts |= {"state": "closed"} if event == "federated.round.closed" else {}
    with house.parts.database.transaction() as db:
        record(db, event, facts, now=house.clock.now())
    collect(house)


def verdicts(house: House, sha256: str) -> list[dict[str, Any]]:
    answer = house.get(f"/ledger/models/{sha256}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["verdicts"]
    return found


def notices(house: House) -> list[dict[str, Any]]:
    rows = rows_of(house.parts.database, "chain_notices")
    return sorted(rows, key=lambda row: (row["name"], row["version"], row["action"], row["part"]))


def test_a_revoked_credential_is_revoked_on_the_chain(trusted: House) -> None:
    house = trusted
    revoked, valid = (issue(house)["credential_id"] for _ in range(2))
    revoke(house, revoked)
    before = bits_of(house, revoked)["revocation"]
    collect(house)
    send(house)

    bit = bits_of(house, revoked)["revocation"]

    assert (before["is_set"], before["is_set_on_chain"]) == (True, False)
    assert (bit["is_set"], bit["is_set_on_chain"]) == (True, True)
    (notice,) = bit["notices"]
    assert (notice["action"], notice["status"]) == ("revoke", "final")
    assert (notice["trust"], notice["finality"]) == ("embedded-dev", "none")
    assert is_revoked(house, bit["index"])
    other = bits_of(house, valid)["revocation"]
    assert not other["is_set_on_chain"]
    assert not is_revoked(house, other["index"])
    assert house.get("/ledger").json()["credential_status"]["gas_used"] > 60_000


def test_the_published_root_is_that_of_the_list_that_everybody_reads(trusted: House) -> None:
    house = trusted
    made = issue(house)
    revoke(house, made["credential_id"])
    collect(house)
    send(house)

    bit = bits_of(house, made["credential_id"])["revocation"]
    signed = house.get(f"/credentials/status/{bit['list_id']}").json()
    bits = decoded(signed["credentialSubject"]["encodedList"])
    call = call_of("listOf(address,bytes32)", issuer_of(house), item_id(bit["list_id"]))
    held = asked(house, "CredentialStatus", call)

    assert is_set(bits, bit["position"])
    assert (number_in(held), held[32:64]) == (1, hashlib.sha256(bits).digest())


def test_a_suspension_comes_and_goes_on_the_chain_too(trusted: House) -> None:
    house = trusted
    credential_id = issue(house)["credential_id"]
    shown = []
    for lift in (False, True):
        suspend(house, credential_id, lift=lift)
        collect(house)
        send(house)
        shown.append(bits_of(house, credential_id)["suspension"]["is_set_on_chain"])

    assert shown == [True, False]
    assert not bits_of(house, credential_id)["revocation"]["notices"]


def test_what_was_told_is_not_told_again(sqlite_house: House) -> None:
    house = sqlite_house
    trust_own_issuer(house)
    revoke(house, issue(house)["credential_id"])
    for _ in range(3):
        collect(house)
    told = {(one["action"], one["name"]) for one in notices(house)}
    with house.parts.database.transaction() as db:
        db.execute(update(StatusList).values(version=StatusList.version + 1))
    collect(house)

    assert told == {("revoke", "revocation-1"), ("publish", "revocation-1")}
    revocations = [one for one in notices(house) if one["name"] == "revocation-1"]
    assert len(revocations) == 2  # a state that is the same needs no root of its own


def test_several_processes_tell_the_same_change_once(trusted: House) -> None:
    house, now = trusted, trusted.clock.now()
    revoke(house, issue(house)["credential_id"])

    with ThreadPoolExecutor(4) as pool:
        tellings = [
            pool.submit(tell_changes, house.parts.database, timedelta(), now=now) for _ in range(4)
        ]
        told = [one.result() for one in tellings]

    assert sorted(told) == [0, 0, 0, 1]
    assert [one["action"] for one in notices(house)] == ["publish", "revoke"]


def test_changes_of_a_list_gather_for_the_age_of_a_batch(sqlite_url: str, tmp_path: Any) -> None:
    with house_on(sqlite_url, tmp_path, anchor_batch_age_s=600) as house:
        trust_own_issuer(house)
        ids = [issue(house)["credential_id"] for _ in range(4)]
        for one in ids:
            revoke(house, one)
            Work(house.parts)()
            house.clock.advance(minutes=3)
        gathered = len(notices(house))
        house.clock.advance(minutes=10)
        Work(house.parts)()
        found = [one for one in notices(house) if one["action"] == "revoke"]

    assert gathered == 2  # the first alone, the others when ten minutes have passed
    assert [len(one["facts"]["indices"]) for one in found] == [1, 3]


def test_many_revocations_share_transactions_in_ascending_order(sqlite_house: House) -> None:
    house = sqlite_house
    now, count = house.clock.now(), 2 * AT_ONCE + 50
    with house.parts.database.transaction() as db:
        for number in (1, 2):
            name, url = f"revocation-{number}", f"https://lists.example/{number}"
            kept = {"purpose": "revocation", "version": 1, "changed_at": now}
            db.add(StatusList(id=name, url=url, number=number, assigned=count, **kept))
            db.flush()
            for i in range(count if number == 1 else 1):
                entry = {"list_id": name, "position": 7 * i, "is_set": True}
                db.add(StatusEntry(credential_id=f"urn:{number}:{i}", **entry))

    told = tell_changes(house.parts.database, timedelta(), now=now)
    send(house)

    revocations = [one["facts"]["indices"] for one in notices(house) if one["action"] == "revoke"]
    indices = [one for chunk in revocations for one in chunk]
    assert told == 2
    assert [len(chunk) for chunk in revocations] == [AT_ONCE, AT_ONCE, 50, 1]
    assert indices == sorted(indices)
    assert indices[-1] == SIZE  # the second list begins where the first one ends
    assert all(is_revoked(house, one) for one in (0, 7 * (count - 1), SIZE))


def test_a_paused_contract_takes_revocations_and_nothing_else(sqlite_house: House) -> None:
    house = sqlite_house
    trust_own_issuer(house)
    first, second = (issue(house)["credential_id"] for _ in range(2))
    suspend(house, first)
    collect(house)
    send(house)
    _pause(house)

    suspend(house, first, lift=True)
    revoke(house, second)
    collect(house)
    while sender_of(house).step():
        pass

    state = house.get("/ledger").json()
    assert (state["state"], "EnforcedPause" in state["reason"]) == ("waiting", True)
    assert bits_of(house, second)["revocation"]["is_set_on_chain"]
    suspension = bits_of(house, first)["suspension"]
    assert (suspension["is_set"], suspension["is_set_on_chain"]) == (False, True)


def _pause(house: House) -> None:
    """Pause the contract of statuses, as its administrator: whoever deployed it."""
    signer = sender_of(house)._desk.signer  # noqa: SLF001 - only a test needs its key
    ledger, place = house.parts.ledger, house.get("/ledger").json()["contracts"]["CredentialStatus"]
    assert ledger is not None
    deployer = Deployer(ledger, signer, CAP_WEI, UNLIMITED)
    deployer.grant(place, keccak(b"PAUSER_ROLE"), signer.address)
    deployer.do(place, call_of("pause()"))


def test_what_is_held_up_keeps_no_revocation_waiting(sqlite_house: House) -> None:
    house = sqlite_house
    trust_own_issuer(house)
    for number in range(8):
        sha256 = f"{number + 1:064x}"
        tell(house, "model.registered", model_id=f"mdl_{number}", sha256=sha256, status="champion")
    revoke(house, issue(house)["credential_id"])
    collect(house)
    assert house.parts.ledger is not None
    with house.parts.database.reading() as db:
        chain = house.parts.ledger.chain()

        few = wiring.waiting_deeds(db, chain, 4)
        many = wiring.waiting_deeds(db, chain, 50)

    assert [one.contract for one in few] == [STATUS, REGISTRY, STATUS, MODELS]
    assert few[0].lane == "revocation"
    assert len(many) > 10


def test_a_new_process_tells_its_own_chain_everything_again(sqlite_url: str, tmp_path: Any) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        trust_own_issuer(house)
        credential_id = issue(house)["credential_id"]
        revoke(house, credential_id)
        tell(house, "model.registered", model_id="mdl_1", sha256=MODEL, status="champion")
        send(house)
    with house_on(sqlite_url, tmp_path) as house:
        send(house)

        assert bits_of(house, credential_id)["revocation"]["is_set_on_chain"]
        (one,) = verdicts(house, MODEL)
        assert (one["status"], one["round_number"]) == ("final", 1)
        states = [one["state"] for one in rows_of(house.parts.database, "chain_txs")]
        assert states.count("superseded") == states.count("final")
