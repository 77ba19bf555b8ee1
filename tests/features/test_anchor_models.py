"""What the chain is told of models and of those who learned them together."""

import hashlib

import pytest

from backend.adapters.ledger.abi import call_of, number_in
from backend.features.anchors.rounds import NOTHING
from backend.proofs.merkle import Kind
from tests.conftest import House
from tests.features.federated_sites import add_sites, experiment, train
from tests.features.test_anchor_statuses import (
    MODEL,
    asked,
    notices,
    revoke,
    tell,
    verdicts,
)
from tests.features.test_anchors import collect, send
from tests.features.test_issuing import issue, signer_of, trust_own_issuer
from tests.features.test_sessions import refused
from tests.tables import rows_of

PARENT, UPDATES = "b2" * 32, ["c3" * 32, "d4" * 32]


def test_a_closed_round_is_opened_on_the_chain_with_a_verdict_on_every_update(
    house: House,
) -> None:
    updates = [
        {"sha256": UPDATES[0], "verdict": "accepted", "score": 0.91, "norm": 1.5},
        {"sha256": UPDATES[1], "verdict": "rejected_quality", "score": -3.0, "norm": 9.0},
        {"sha256": UPDATES[1], "verdict": "accepted", "score": 1.0, "norm": 9.0},  # a copy
    ]
    closed = {"round_id": "frd_1", "parent_sha256": PARENT, "model_sha256": MODEL}
    tell(house, "federated.round.closed", **closed, updates=updates)
    send(house)

    (model,) = verdicts(house, MODEL)
    (good,), (bad,) = (verdicts(house, one) for one in UPDATES)

    assert (model["status"], model["is_accepted"], model["name"]) == ("final", True, "frd_1")
    assert (good["score"], good["is_accepted"]) == (9_100, True)
    assert (bad["score"], bad["is_accepted"]) == (0, False)
    assert len({one["trainer"] for one in (model, good, bad)}) == 3
    assert {one["round_number"] for one in (model, good, bad)} == {1}
    for one in (MODEL, *UPDATES):
        call = call_of("isSigned(uint64,bytes32)", 1, bytes.fromhex(one))
        assert number_in(asked(house, "ModelRegistry", call)) == 1
    opened = asked(house, "ModelRegistry", call_of("roundOf(uint64)", 1))
    (item,) = [one for one in rows_of(house.parts.database, "anchor_items") if one["kind"] == 5]
    assert (opened[:32].hex(), opened[32:64]) == (PARENT, bytes(item["item_hash"]))
    assert house.get("/ledger").json()["models"]["waiting"] == 0


def test_sites_that_learn_together_find_their_verdicts_on_the_chain(sqlite_house: House) -> None:
    house = sqlite_house
    add_sites(house)
    summary = train(house, num_rounds=2)
    before = experiment(house, summary)["gas_used"]
    collect(house)
    send(house)
    house.settle()

    closed = [
        one["record"]["facts"]
        for one in rows_of(house.parts.database, "anchor_items")
        if one["kind"] == Kind.FEDERATED_ROUND
    ]

    assert len(closed) == 2
    for facts in closed:
        (model,) = verdicts(house, facts["model_sha256"])
        assert (model["name"], model["is_accepted"]) == (facts["round_id"], True)
        for update_ in facts["updates"]:
            (one,) = verdicts(house, update_["sha256"])
            assert one["is_accepted"] == (update_["verdict"] == "accepted")
            assert (one["status"], one["name"]) == ("final", facts["round_id"])
    models = house.get("/ledger").json()["models"]
    assert models["waiting"] == 0
    assert models["gas_used"] > 0
    assert (before, experiment(house, summary)["gas_used"]) == (None, models["gas_used"])


def test_a_challenger_is_judged_when_it_is_promoted(sqlite_house: House) -> None:
    house = sqlite_house
    facts = {"model_id": "mdl_1", "sha256": MODEL}
    tell(house, "model.registered", **facts, status="challenger", score=float("nan"))
    send(house)
    refused(house.get(f"/ledger/models/{MODEL}"), 404, "model_unknown")
    tell(house, "model.promoted", **facts)
    send(house)

    (one,) = verdicts(house, MODEL)

    assert (one["is_accepted"], one["score"], one["status"]) == (True, 10_000, "final")
    assert [one["action"] for one in notices(house)] == ["open", "verdict"]


def test_a_promotion_that_is_heard_of_first_is_told_with_the_registration(
    sqlite_house: House,
) -> None:
    house = sqlite_house
    facts = {"model_id": "mdl_1", "sha256": MODEL}
    tell(house, "model.promoted", **facts)
    tell(house, "model.promoted", model_id="mdl_10", sha256="b2" * 32)
    assert notices(house) == []

    tell(house, "model.registered", **facts, status="challenger")
    send(house)

    (one,) = verdicts(house, MODEL)
    assert (one["is_accepted"], one["score"], one["status"]) == (True, 10_000, "final")
    refused(house.get(f"/ledger/models/{'b2' * 32}"), 404, "model_unknown")


@pytest.mark.parametrize("sha256", [None, "zz" * 32, NOTHING, ["a1" * 32]])
def test_a_model_without_a_hash_is_anchored_and_opens_no_round(
    sqlite_house: House, sha256: object
) -> None:
    house = sqlite_house
    tell(house, "model.registered", model_id="mdl_1", sha256=sha256, status="champion")
    tell(house, "federated.round.closed", round_id="frd_1", model_sha256=sha256, updates={"a": 1})

    assert notices(house) == []
    kinds = [one["kind"] for one in rows_of(house.parts.database, "anchor_items")]
    assert sorted(kinds) == [4, 5]


def test_a_round_told_twice_is_opened_once(sqlite_house: House) -> None:
    house = sqlite_house
    for _ in range(2):
        tell(house, "federated.round.closed", round_id="frd_1", model_sha256=MODEL)
    send(house)

    rounds = number_in(asked(house, "ModelRegistry", call_of("rounds()")))

    assert rounds == len([one for one in notices(house) if one["action"] == "open"]) == 1
    assert len(verdicts(house, MODEL)) == 1


def test_who_was_never_told_of_is_not_found(sqlite_house: House) -> None:
    refused(sqlite_house.get("/ledger/credentials/urn:uuid:1"), 404, "status_unknown")
    refused(sqlite_house.get(f"/ledger/models/{MODEL}"), 404, "model_unknown")
    assert sqlite_house.get("/ledger/models/abc").status_code == 422


def test_the_chain_names_nobody(sqlite_house: House) -> None:
    house = sqlite_house
    trust_own_issuer(house)
    made = issue(house)
    revoke(house, made["credential_id"])
    update_ = {"sha256": UPDATES[0], "participant": "site_hq", "verdict": "accepted", "score": 1}
    tell(house, "federated.round.closed", round_id="f", model_sha256=MODEL, updates=[update_])
    send(house)

    sent = b"".join(one["raw_tx"] for one in rows_of(house.parts.database, "chain_txs"))

    for name in (made["credential_id"], made["subject_did"], signer_of(house), "site_hq"):
        assert name.encode() not in sent
        assert hashlib.sha256(name.encode()).digest()[-20:] not in sent
