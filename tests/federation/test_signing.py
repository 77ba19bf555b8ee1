"""Statements between participants: read as they were signed, and from nobody else."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.federation.signing import Signer, did_of, read_signed, signed
from backend.federation.statements import LIFETIME_S, StatementUnreadable, hash_of_update
from backend.federation.tasks import TrainAnswer
from tests.federation.masked import plain_update, site, train_tasks

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TASK = replace(train_tasks(["site01"])[0], round_id="frd_1", asked_at=1_000)
TRAINED = plain_update("site01", site(1))


def token() -> str:
    return Signer(KEY).sign(TASK, TRAINED).signature


def test_a_signed_update_says_what_it_is_and_for_which_round() -> None:
    said = read_signed(token(), did_of(KEY))

    assert (said.did, said.site_id, said.kind) == (did_of(KEY), "site01", "update")
    assert (said.round_id, said.parent_hash) == ("frd_1", TASK.parent_hash)
    assert said.content_hash == hash_of_update(TRAINED.delta)
    assert (said.num_examples, said.metrics) == (TRAINED.num_examples, TRAINED.metrics)
    assert said.expires_at == 1_000 + LIFETIME_S


def test_signing_changes_nothing_but_the_signature() -> None:
    answer = Signer(KEY).sign(TASK, TRAINED)

    assert isinstance(answer, TrainAnswer)
    assert replace(answer, signature="") == TRAINED


def test_a_key_may_be_that_of_another_did() -> None:
    signer = Signer(KEY, "did:denso:site01")

    header = signer.sign(TASK, TRAINED).signature.partition(".")[0]

    assert signer.did == "did:denso:site01"
    assert header.startswith(urlsafe_b64encode(b'{"alg": "EdDSA"').decode()[:18])


def altered(place: int, text: str) -> str:
    parts = token().split(".")
    parts[place] = text
    return ".".join(parts)


def coded(said: object) -> str:
    return urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a.b",
        "a.b.c",
        "x" * 5_000,
        altered(0, coded({"alg": "none", "typ": "tasco-federated+jwt"})),
        altered(1, coded({"iss": did_of(KEY)})),
        altered(1, coded([1])),
        altered(2, coded("signature")),
        signed(replace(read_signed(token(), did_of(KEY)), did=did_of(OTHER)), KEY),
        Signer(OTHER).sign(TASK, TRAINED).signature,
    ],
    ids=[
        "nothing",
        "two parts",
        "no JSON",
        "long",
        "none",
        "claims",
        "list",
        "signature",
        "names another",
        "another's",
    ],
)
def test_what_this_did_has_not_signed_is_refused(bad: str) -> None:
    with pytest.raises(StatementUnreadable):
        read_signed(bad, did_of(KEY))


@pytest.mark.parametrize(
    "did", ["", "did:web:example.org", "did:key:z6Mk", "did:key:z0OIl", "did:key:zQ3s"]
)
def test_a_did_that_holds_no_such_key_is_refused(did: str) -> None:
    with pytest.raises(StatementUnreadable):
        read_signed(token(), did)
