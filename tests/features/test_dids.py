"""DIDs and their keys: let in by others, replaced by the one before, ended for good."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.keys import generate_key
from backend.features.credentials import did_changes, dids
from backend.features.credentials.dids import DidTaken, methods_at
from backend.features.credentials.presenting import judge
from backend.features.credentials.service import register_driver
from tests.conftest import House
from tests.identities import Caller, administrator_of, challenge_for, trusted_issuer

DRIVER = "did:denso:driver:anna"
Json = dict[str, Any]


def _controllers(house: House, did: str = DRIVER, *, at: datetime | None = None) -> int:
    with house.parts.database.reading() as db:
        return len(methods_at(db, did, at=at or house.clock.now()))


def _register(house: House, by: Caller, key: Caller, did: str = DRIVER) -> Any:
    challenge = challenge_for(house, f"did-register:{did}")
    body = {"did": did, "presentation": key.present(challenge, []), **_named(challenge)}
    return by.post(house, "/dids", body)


def _named(challenge: Json) -> Json:
    return {"challenge": challenge["challenge"]}


def _rotate(house: House, by: Caller, new: Caller, approvals: list[Caller], **more: Any) -> Any:
    challenge = challenge_for(house, f"did-rotate:{DRIVER}")
    body = {
        "presentation": new.present(challenge, []),
        "approvals": [one.present(challenge) for one in approvals],
        **_named(challenge),
        **more,
    }
    return by.post(house, f"/dids/{DRIVER}/rotate", body)


@pytest.fixture
def administrator(closed_house: House) -> Caller:
    return administrator_of(closed_house)


def test_a_did_is_registered_for_the_key_that_presents_itself(
    closed_house: House, administrator: Caller
) -> None:
    key = Caller()

    answer = _register(closed_house, administrator, key)

    assert answer.status_code == 201, answer.text
    document = answer.json()["didDocument"]
    assert document["id"] == DRIVER
    assert document["authentication"] == [f"{DRIVER}#key-1"]
    assert document["verificationMethod"][0]["publicKeyJwk"] == key.key.public_jwk
    assert answer.json()["didDocumentMetadata"]["versionId"] == "1"
    assert administrator.get(closed_house, f"/dids/{DRIVER}").json() == answer.json()


def test_a_did_is_registered_once(closed_house: House, administrator: Caller) -> None:
    assert _register(closed_house, administrator, Caller()).status_code == 201

    answer = _register(closed_house, administrator, Caller())

    assert (answer.status_code, answer.json()["code"]) == (409, "did_taken")


def test_a_presentation_registers_the_did_it_was_made_for(
    closed_house: House, administrator: Caller
) -> None:
    challenge = challenge_for(closed_house, "did-register:did:denso:driver:other")
    body = {"did": DRIVER, "presentation": Caller().present(challenge, []), **_named(challenge)}

    answer = administrator.post(closed_house, "/dids", body)

    assert (answer.status_code, answer.json()["code"]) == (401, "challenge_refused")


def test_a_presentation_by_another_key_registers_nothing(
    closed_house: House, administrator: Caller
) -> None:
    impostor = Caller(did=did_key(generate_key()))

    answer = _register(closed_house, administrator, impostor)

    assert (answer.status_code, answer.json()["code"]) == (401, "presentation_refused")
    assert answer.json()["errors"][0]["pointer"] == "/presentation"
    assert _controllers(closed_house) == 0


def _as_did(key: Caller, number: int) -> Caller:
    """The same key speaking as the registered DID."""
    return Caller(key.key, DRIVER, key.credentials, method=f"{DRIVER}#key-{number}")


@pytest.fixture
def driver(closed_house: House, administrator: Caller) -> Caller:
    """A registered driver with a credential of an issuer that is trusted, logged in."""
    issuer = trusted_issuer(closed_house, administrator, "SiteAccessCredential")
    key = Caller()
    assert _register(closed_house, administrator, key).status_code == 201
    driver = _as_did(key, 1)
    claims = {"site": "site_hq"}
    now = closed_house.clock.now()
    driver.credentials = [issuer.say(DRIVER, "SiteAccessCredential", claims, now=now)]
    return driver.log_in(closed_house)


def test_after_a_rotation_the_old_key_proves_nothing_and_the_new_one_does(
    closed_house: House, driver: Caller
) -> None:
    new = Caller()
    closed_house.clock.advance(minutes=1)

    answer = _rotate(closed_house, driver, new, [driver])

    assert answer.status_code == 200, answer.text
    assert answer.json()["didDocumentMetadata"]["versionId"] == "2"
    assert driver.get(closed_house, "/auth/me").status_code == 401
    refused = driver.answer(closed_house)
    assert (refused.status_code, refused.json()["code"]) == (401, "presentation_refused")
    renewed = _as_did(Caller(new.key, credentials=driver.credentials), 2)
    assert renewed.log_in(closed_house).get(closed_house, "/auth/me").json()["did"] == DRIVER


def test_the_old_key_is_asked_and_a_stranger_is_not(closed_house: House, driver: Caller) -> None:
    stranger = Caller()

    answer = _rotate(closed_house, driver, Caller(), [stranger])

    assert (answer.status_code, answer.json()["code"]) == (403, "approval_insufficient")
    assert driver.get(closed_house, "/auth/me").status_code == 200


@pytest.mark.usefixtures("driver")
def test_two_operators_replace_a_lost_key_and_one_does_not(
    closed_house: House, administrator: Caller
) -> None:
    operator = Caller()
    grant = {"did": operator.did, "role": "operator", "site_id": "site_hq"}
    assert administrator.post(closed_house, "/role-grants", grant).status_code == 201
    operator.log_in(closed_house)

    alone = _rotate(closed_house, operator, Caller(), [operator])
    twice = _rotate(closed_house, operator, Caller(), [operator, operator])
    together = _rotate(closed_house, operator, Caller(), [operator, administrator])

    assert [one.status_code for one in (alone, twice)] == [403, 403]
    assert together.status_code == 200, together.text


def test_what_a_stolen_key_made_before_the_theft_stays_good(
    closed_house: House, driver: Caller
) -> None:
    stolen_at = closed_house.clock.now() + timedelta(minutes=5)
    closed_house.clock.advance(minutes=30)
    driver.log_in(closed_house)

    answer = _rotate(
        closed_house, driver, Caller(), [driver], stolen_at=f"{stolen_at:%Y-%m-%dT%H:%M:%SZ}"
    )

    assert answer.status_code == 200, answer.text
    assert _controllers(closed_house, at=stolen_at - timedelta(seconds=1)) == 1
    assert _controllers(closed_house, at=stolen_at) == 0
    assert _controllers(closed_house) == 1


def test_a_deactivated_did_is_gone_for_good(
    closed_house: House, administrator: Caller, driver: Caller
) -> None:
    closed_house.clock.advance(minutes=1)

    answer = driver.post(closed_house, f"/dids/{DRIVER}/deactivate", {})

    assert answer.status_code == 200, answer.text
    assert answer.json()["didDocumentMetadata"]["deactivated"]
    assert answer.json()["didDocument"]["authentication"] == []
    assert driver.get(closed_house, "/auth/me").status_code == 401
    assert driver.answer(closed_house).status_code == 401
    again = _register(closed_house, administrator, Caller())
    assert again.json()["code"] == "did_taken"


def test_nobody_ends_the_did_of_another(
    closed_house: House, administrator: Caller, driver: Caller
) -> None:
    assert _register(closed_house, administrator, Caller(), "did:denso:x:y").status_code == 201

    foreign = driver.post(closed_house, "/dids/did:denso:x:y/deactivate", {})
    unknown = driver.post(closed_house, "/dids/did:denso:x:z/deactivate", {})

    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.json()["code"] == unknown.json()["code"]


def test_a_document_is_read_as_it_was(
    closed_house: House, administrator: Caller, driver: Caller
) -> None:
    before = closed_house.clock.now()
    closed_house.clock.advance(minutes=2)
    assert _rotate(closed_house, driver, Caller(), [driver]).status_code == 200

    then = administrator.get(
        closed_house, f"/dids/{DRIVER}?versionTime={before:%Y-%m-%dT%H:%M:%SZ}"
    )
    first = administrator.get(closed_house, f"/dids/{DRIVER}?versionId=1")
    none = administrator.get(closed_house, f"/dids/{DRIVER}?versionId=3")

    assert then.json()["didDocument"] == first.json()["didDocument"]
    assert then.json()["didDocument"]["authentication"] == [f"{DRIVER}#key-1"]
    assert none.status_code == 404


def test_the_same_key_is_served_as_did_web(closed_house: House, driver: Caller) -> None:
    web = closed_house.client.get("/dids/denso/driver/anna/did.json")

    assert web.status_code == 200
    assert web.headers["content-type"] == "application/did+json"
    document = web.json()
    assert document["id"] == "did:web:testserver:dids:denso:driver:anna"
    assert document["alsoKnownAs"] == [DRIVER]
    method = document["verificationMethod"][0]
    assert method["publicKeyJwk"] == driver.key.public_jwk
    assert method["id"].startswith(document["id"] + "#")
    assert closed_house.client.get("/dids/denso/driver/nobody/did.json").status_code == 404


def test_the_service_shows_the_key_of_its_tokens(closed_house: House) -> None:
    document = closed_house.client.get("/.well-known/did.json").json()
    keys = closed_house.client.get("/.well-known/jwks.json").json()["keys"]

    assert document["id"] == "did:web:testserver"
    shown = document["verificationMethod"][0]["publicKeyJwk"]
    assert shown == {name: keys[0][name] for name in shown}
    assert "d" not in keys[0]


def test_of_two_registrations_at_once_one_wins(house: House) -> None:
    def _try(number: int) -> bool:
        try:
            with house.parts.database.transaction() as db:
                controller = did_key(generate_key())
                now = house.clock.now()
                dids.register(db, DRIVER, controller=controller, by=str(number), now=now)
        except DidTaken:
            return False
        return True

    assert [_try(1), _try(2)] == [True, False]


def test_who_charged_before_anybody_proved_to_be_them_is_bound_by_an_administrator(
    closed_house: House, administrator: Caller
) -> None:
    operator = Caller()
    grant = {"did": operator.did, "role": "operator", "site_id": "site_hq"}
    assert administrator.post(closed_house, "/role-grants", grant).status_code == 201
    operator.log_in(closed_house)
    with closed_house.parts.database.transaction() as db:
        register_driver(db, DRIVER, now=closed_house.clock.now())

    by_operator = _register(closed_house, operator, Caller())
    by_administrator = _register(closed_house, administrator, Caller())

    assert (by_operator.status_code, by_operator.json()["code"]) == (409, "did_in_use")
    assert by_administrator.status_code == 201


def _operator(house: House, administrator: Caller, site: str = "site_hq") -> Caller:
    operator = Caller()
    grant = {"did": operator.did, "role": "operator", "site_id": site}
    assert administrator.post(house, "/role-grants", grant).status_code == 201
    return operator.log_in(house)


CHARGER = "did:denso:charger:hq1"
VEHICLE = "did:denso:vehicle:van1"


@pytest.fixture
def fleet(closed_house: House, administrator: Caller) -> None:
    """A charger of site_hq, a vehicle of a fleet, and a role granted to an unregistered DID."""
    place = {"site_id": "site_hq", "name": "HQ", "kind": "workplace", "timezone": "Europe/Helsinki"}
    made = administrator.post(closed_house, "/sites", {**place, "grid_limit_kw": 100})
    assert made.status_code == 201, made.text
    device = {"did": CHARGER, "site_id": "site_hq", "max_power_kw": 22}
    assert administrator.post(closed_house, "/chargers", device).status_code == 201
    path = f"/fleets/vans/vehicles/{VEHICLE}"
    assert administrator.send(closed_house, "PUT", path).status_code == 200
    grant = {"did": DRIVER, "role": "administrator"}
    assert administrator.post(closed_house, "/role-grants", grant).status_code == 201


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("did", "site_id", "status"),
    [
        (DRIVER, "site_hq", 409),  # would make the operator an administrator
        (VEHICLE, "site_hq", 409),  # would show them another fleet's vehicle
        (CHARGER, "site_mall", 409),
        (CHARGER, "site_hq", 201),
        ("did:denso:driver:new", "site_hq", 201),
    ],
)
def test_an_operator_gives_no_key_to_what_is_not_theirs(
    closed_house: House, administrator: Caller, did: str, site_id: str, status: int
) -> None:
    operator = _operator(closed_house, administrator, site_id)

    answer = _register(closed_house, operator, Caller(), did)

    assert answer.status_code == status, answer.text
    assert status == 201 or answer.json()["code"] == "did_in_use"


def test_operators_do_not_become_who_has_more_power(
    closed_house: House, administrator: Caller, driver: Caller
) -> None:
    grant = {"did": driver.did, "role": "administrator"}
    assert administrator.post(closed_house, "/role-grants", grant).status_code == 201
    one, two = (_operator(closed_house, administrator) for _ in range(2))

    alone = _rotate(closed_house, one, Caller(), [one, two])
    helped = _rotate(closed_house, one, Caller(), [one, administrator])

    assert (alone.status_code, alone.json()["code"]) == (403, "approval_insufficient")
    assert helped.status_code == 200, helped.text


def test_a_key_that_is_replaced_while_it_approves_lets_nobody_in(
    closed_house: House, driver: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightful = did_key(generate_key())

    def _judge(*arguments: Any, **values: Any) -> Any:
        verdict = judge(*arguments, **values)
        if verdict.holder == DRIVER:  # the thief's approval held, and now the owner is quicker
            with closed_house.parts.database.transaction() as db:
                now = closed_house.clock.now()
                dids.rotate(db, DRIVER, controller=rightful, by=DRIVER, now=now)
        return verdict

    monkeypatch.setattr(did_changes, "judge", _judge)

    answer = _rotate(closed_house, driver, Caller(), [driver])

    assert (answer.status_code, answer.json()["code"]) == (403, "approval_insufficient")
    with closed_house.parts.database.reading() as db:
        assert dids.newest_version(db, DRIVER).controller == rightful


def test_only_the_version_that_was_looked_at_is_replaced(
    closed_house: House, driver: Caller
) -> None:
    assert driver.did == DRIVER
    new: Json = {"controller": did_key(generate_key()), "by": "x", "now": closed_house.clock.now()}
    with closed_house.parts.database.transaction() as db, pytest.raises(DidTaken):
        dids.rotate(db, DRIVER, **new, replaces=2)


def test_who_registered_a_did_ends_it_until_it_has_power(
    closed_house: House, administrator: Caller
) -> None:
    operator = _operator(closed_house, administrator)
    plain, promoted = "did:denso:driver:bo", "did:denso:driver:cy"
    for did in (plain, promoted):
        assert _register(closed_house, operator, Caller(), did).status_code == 201
    grant = {"did": promoted, "role": "auditor"}
    assert administrator.post(closed_house, "/role-grants", grant).status_code == 201

    ended = operator.post(closed_house, f"/dids/{plain}/deactivate", {})
    kept = operator.post(closed_house, f"/dids/{promoted}/deactivate", {})

    assert (ended.status_code, kept.status_code) == (200, 404)
    assert _controllers(closed_house, promoted) == 1
