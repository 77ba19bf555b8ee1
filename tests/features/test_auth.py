"""Challenges, tokens and the door: nothing is good twice, and nothing is good for another."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backend.adapters.verifier.keys import KeyKind, SigningKey, generate_key, thumbprint
from backend.features.credentials import challenges, epochs, tokens
from backend.features.credentials.challenges import (
    AddressLimit,
    ChallengeRefused,
    TooManyChallenges,
)
from backend.features.credentials.listeners import forget_expired
from backend.features.credentials.proofs_of_possession import make_proof
from backend.features.credentials.service_key import token_key
from backend.features.credentials.standing import Standing
from tests.conftest import ADDRESS, House
from tests.identities import Caller, challenge_for
from tests.tables import row_counts, rows_of

USES, CONNECTIONS = 200, 8
DRIVER = Standing(roles=frozenset({"driver"}), rests_on=frozenset({"did:x:d", "urn:uuid:1"}))


def _used(house: House, nonce: str, purpose: str = "login", body_hash: str | None = None) -> bool:
    try:
        with house.parts.database.transaction() as db:
            challenges.use_up(
                db, nonce, purpose=purpose, now=house.clock.now(), body_hash=body_hash
            )
    except ChallengeRefused:
        return False
    return True


def test_a_challenge_is_good_once(house: House) -> None:
    nonce = challenge_for(house)["challenge"]

    assert [_used(house, nonce), _used(house, nonce)] == [True, False]


def test_of_many_uses_at_once_exactly_one_succeeds(house: House) -> None:
    nonce = challenge_for(house)["challenge"]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        used = list(pool.map(lambda _: _used(house, nonce), range(USES)))

    assert used.count(True) == 1


def test_a_challenge_is_kept_as_a_hash_only(closed_house: House) -> None:
    nonce = challenge_for(closed_house)["challenge"]

    assert len(nonce) >= 43
    assert nonce not in str(rows_of(closed_house.parts.database, "auth_challenges"))


def test_a_challenge_is_good_for_120_seconds(closed_house: House) -> None:
    in_time, too_late = (challenge_for(closed_house)["challenge"] for _ in range(2))

    closed_house.clock.advance(seconds=119)
    assert _used(closed_house, in_time)
    closed_house.clock.advance(seconds=1)
    assert not _used(closed_house, too_late)


def test_a_challenge_answers_for_its_purpose_and_body_alone(closed_house: House) -> None:
    purpose, body = "session-start:did:denso:charger:a", "a" * 64
    nonce = challenge_for(closed_house, purpose, body_sha256=body)["challenge"]

    assert not _used(closed_house, nonce, "session-start:did:denso:charger:b", body)
    assert not _used(closed_house, nonce, purpose, "b" * 64)
    assert not _used(closed_house, nonce, purpose)
    assert _used(closed_house, nonce, purpose, body)


def test_a_challenge_names_time_and_address(closed_house: House) -> None:
    given = challenge_for(closed_house)

    assert given["domain"] == ADDRESS
    assert given["issued_at"] == "2026-03-10T10:00:00Z"
    assert given["expires_at"] == "2026-03-10T10:02:00Z"


@pytest.mark.parametrize("purpose", ["", "Login", "login:", "login: x", "a" * 301, "x:\u00e9"])
def test_a_purpose_has_its_form(closed_house: House, purpose: str) -> None:
    answer = closed_house.post("/auth/challenge", {"purpose": purpose})

    assert (answer.status_code, answer.json()["code"]) == (422, "malformed_request")


def test_one_address_gets_no_more_challenges_than_its_share() -> None:
    limit = AddressLimit(per_minute=3)
    for _ in range(3):
        limit.take("a")

    with pytest.raises(TooManyChallenges):
        limit.take("a")
    limit.take("b")


def test_a_network_of_one_owner_counts_as_one_address() -> None:
    limit = AddressLimit(per_minute=2)
    limit.take("2001:db8:0:1::1")
    limit.take("2001:db8:0:1:ffff::2")

    with pytest.raises(TooManyChallenges):
        limit.take("2001:db8:0:1::3")
    limit.take("2001:db8:0:2::1")
    limit.take("192.0.2.1")
    limit.take("::ffff:192.0.2.1")
    with pytest.raises(TooManyChallenges):
        limit.take("192.0.2.1")


def test_too_many_open_challenges_are_refused(
    closed_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "MOST_OPEN", 2)
    challenge_for(closed_house)
    challenge_for(closed_house)

    answer = closed_house.post("/auth/challenge", {})

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_challenges")
    closed_house.clock.advance(seconds=121)
    challenge_for(closed_house)


def test_what_expired_is_swept_away(house: House) -> None:
    challenge_for(house)
    _caller(house).get(house, "/auth/me")
    house.clock.advance(seconds=100)
    late = challenge_for(house)["challenge"]
    house.clock.advance(seconds=50)

    forget_expired(house.parts.database, now=house.clock.now())

    counts = row_counts(house.parts.database)
    assert (counts["auth_challenges"], counts["seen_proofs"]) == (1, 0)
    assert _used(house, late)


def _caller(house: House, standing: Standing = DRIVER, key: SigningKey | None = None) -> Caller:
    """Somebody with a token, as if they had presented."""
    caller = Caller(key or generate_key())
    issued = tokens.issue(
        token_key(house.parts),
        caller.did,
        standing,
        address=ADDRESS,
        bound_to=thumbprint(caller.key.public_jwk),
        epoch=0,
        now=house.clock.now(),
    )
    caller.token = issued.token
    return caller


@pytest.mark.parametrize("kind", [KeyKind.ED25519, KeyKind.P256, KeyKind.SECP256K1])
def test_a_token_with_a_proof_of_its_key_opens_the_door(closed_house: House, kind: KeyKind) -> None:
    caller = _caller(closed_house, key=generate_key(kind))

    answer = caller.get(closed_house, "/auth/me")

    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "did": caller.did,
        "roles": ["driver"],
        "sites": [],
        "fleets": [],
        "assurance": "verified",
    }


def _refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


REFUSED = (401, "token_not_accepted")


def test_a_stolen_token_alone_is_worthless(closed_house: House) -> None:
    caller = _caller(closed_house)

    for scheme in ("Bearer", "DPoP"):
        headers = {"Authorization": f"{scheme} {caller.token}"}
        assert _refusal(closed_house.get("/auth/me", headers=headers)) == REFUSED


def test_a_proof_is_good_once(house: House) -> None:
    caller = Caller()
    with house.parts.database.reading() as db:
        epoch = epochs.current_epoch(db)
    issued = tokens.issue(
        token_key(house.parts),
        caller.did,
        DRIVER,
        address=ADDRESS,
        bound_to=thumbprint(caller.key.public_jwk),
        epoch=epoch,
        now=house.clock.now(),
    )
    caller.token = issued.token
    headers = caller.headers(house, "GET", "/auth/me")

    answers = [house.get("/auth/me", headers=headers) for _ in range(2)]

    assert answers[0].status_code == 200
    assert _refusal(answers[1]) == REFUSED


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"url": f"{ADDRESS}/api/v1/sites"},
        {"url": "http://elsewhere.example/api/v1/auth/me"},
        {"token": "another"},
        {"key": generate_key()},
        {"late_s": -61},
        {"late_s": 11},
    ],
    ids=["method", "path", "host", "token", "key", "old", "ahead"],
)
def test_a_proof_is_for_one_request(closed_house: House, change: dict[str, Any]) -> None:
    caller = _caller(closed_house)
    wanted: dict[str, Any] = {
        "key": caller.key,
        "method": "GET",
        "url": f"{ADDRESS}/api/v1/auth/me",
        "token": caller.token,
        "late_s": 0,
        **change,
    }
    now = closed_house.clock.now() + timedelta(seconds=wanted.pop("late_s"))
    proof = make_proof(wanted.pop("key"), now=now, **wanted)

    headers = {"Authorization": f"DPoP {caller.token}", "DPoP": proof}
    answer = closed_house.get("/auth/me", headers=headers)

    assert _refusal(answer) == REFUSED


@pytest.mark.parametrize("proof", ["", "x", "a.b.c", "[" * 5_000, "e30.e30.e30", "\u00e9"])
def test_what_is_no_proof_opens_nothing(closed_house: House, proof: str) -> None:
    token = _caller(closed_house).token
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof.encode()}

    assert _refusal(closed_house.get("/auth/me", headers=headers)) == REFUSED


def test_two_proofs_are_none(closed_house: House) -> None:
    caller = _caller(closed_house)
    proofs = [caller.headers(closed_house, "GET", "/auth/me")["DPoP"] for _ in range(2)]
    headers = [("Authorization", f"DPoP {caller.token}"), *(("DPoP", one) for one in proofs)]

    assert _refusal(closed_house.get("/auth/me", headers=headers)) == REFUSED


def test_a_token_ends_after_ten_minutes(closed_house: House) -> None:
    caller = _caller(closed_house)

    closed_house.clock.advance(seconds=599)
    assert caller.get(closed_house, "/auth/me").status_code == 200
    closed_house.clock.advance(seconds=1)
    assert _refusal(caller.get(closed_house, "/auth/me")) == REFUSED


def test_a_token_ends_with_its_shortest_credential(closed_house: House) -> None:
    soon = closed_house.clock.now() + timedelta(seconds=30)
    caller = _caller(closed_house, replace(DRIVER, valid_until=soon))

    closed_house.clock.advance(seconds=30)

    assert _refusal(caller.get(closed_house, "/auth/me")) == REFUSED


@pytest.mark.parametrize("subject", ["did:x:d", "urn:uuid:1"])
def test_a_token_ends_with_what_it_rests_upon(closed_house: House, subject: str) -> None:
    caller, other = _caller(closed_house), _caller(closed_house, Standing(DRIVER.roles))

    with closed_house.parts.database.transaction() as db:
        epochs.end_what_rests_on(db, [subject])

    assert _refusal(caller.get(closed_house, "/auth/me")) == REFUSED
    assert other.get(closed_house, "/auth/me").status_code == 200


def test_a_token_of_another_installation_opens_nothing(closed_house: House) -> None:
    caller = _caller(closed_house)
    forged = tokens.issue(
        generate_key(),
        caller.did,
        Standing(roles=frozenset({"administrator"})),
        address=ADDRESS,
        bound_to=thumbprint(caller.key.public_jwk),
        epoch=0,
        now=closed_house.clock.now(),
    )
    caller.token = forged.token

    assert _refusal(caller.get(closed_house, "/auth/me")) == REFUSED


def test_a_proof_is_no_token_and_a_token_no_proof(closed_house: House) -> None:
    caller = _caller(closed_house)
    headers = caller.headers(closed_house, "GET", "/auth/me")
    swapped = {"Authorization": f"DPoP {headers['DPoP']}", "DPoP": caller.token}

    assert _refusal(closed_house.get("/auth/me", headers=swapped)) == REFUSED


def test_revocations_are_counted_one_after_another(house: House) -> None:
    def _end(number: int) -> int:
        with house.parts.database.transaction() as db:
            return epochs.end_what_rests_on(db, [f"did:x:{number % 3}"])

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        counted = list(pool.map(_end, range(24)))

    with house.parts.database.reading() as db:
        assert epochs.current_epoch(db) == max(counted)
    assert len(set(counted)) == 24


def test_the_demo_lets_strangers_in_and_holds_who_brings_a_token_to_it(house: House) -> None:
    caller = _caller(house)

    visitor, verified = house.get("/auth/me").json(), caller.get(house, "/auth/me").json()
    forged = house.get("/auth/me", headers={"Authorization": "Bearer forged"})

    assert visitor["assurance"] == "simulated"
    assert (verified["assurance"], verified["roles"]) == ("verified", ["driver"])
    assert _refusal(forged) == REFUSED
    assert caller.post(house, "/forecasts/train").status_code == 403
