"""Production from an empty database to a charging session, by credentials alone."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from backend.adapters.verifier.issuing import sign_presentation_ldp
from backend.adapters.verifier.keys import KeyKind, generate_key
from backend.cli import app
from backend.features.credentials.aliases import who_is
from backend.features.credentials.models import AuditEvent
from backend.features.credentials.service_key import write_new_key
from backend.features.vehicles import service as vehicles
from backend.settings import read_settings
from tests.conftest import House, house_on
from tests.identities import Caller, administrator_of, challenge_for, trusted_issuer

CAR = "did:denso:vehicle:vehicle001"
TYPES = (
    "EmploymentCredential",
    "SiteAccessCredential",
    "FleetDriverCredential",
    "FederatedParticipantCredential",
)
Json = dict[str, Any]


@pytest.fixture
def administrator(closed_house: House) -> Caller:
    return administrator_of(closed_house)


@pytest.fixture
def issuer(closed_house: House, administrator: Caller) -> Caller:
    return trusted_issuer(closed_house, administrator, *TYPES)


def _holding(house: House, issuer: Caller, credential_type: str, **claims: Any) -> Caller:
    """Somebody of whom an issuer says something."""
    caller = Caller()
    said = issuer.say(caller.did, credential_type, claims, now=house.clock.now())
    caller.credentials = [said]
    return caller


def _employee(house: House, issuer: Caller, role: str = "employee", **reach: Any) -> Caller:
    return _holding(house, issuer, "EmploymentCredential", employer="TechCorp", role=role, **reach)


def _open_site(house: House, operator: Caller, site_id: str = "site_hq") -> None:
    site = {"site_id": site_id, "name": "HQ", "kind": "workplace", "timezone": "Europe/Helsinki"}
    made = operator.post(house, "/sites", {**site, "grid_limit_kw": 600})
    assert made.status_code == 201, made.text
    charger = {"did": f"did:denso:charger:{site_id}_chr01", "site_id": site_id}
    made = operator.post(house, "/chargers", {**charger, "max_power_kw": 150})
    assert made.status_code == 201, made.text


def _start(house: House, driver: Caller, did: str | None = None) -> Any:
    body = house.start_body()
    body["driver"]["did"] = did or driver.did
    body["driver"]["credentials"] = []
    return driver.post(house, "/sessions/start", body)


@pytest.fixture
def driver(closed_house: House, administrator: Caller, issuer: Caller) -> Caller:
    """A driver whose car is registered, logged in, at an open site."""
    _open_site(closed_house, administrator)
    with closed_house.parts.database.transaction() as db:
        vehicles.register(
            db,
            CAR,
            battery_capacity_kwh=75,
            consumption_wh_per_km=180,
            max_charge_power_kw=150,
            now=closed_house.clock.now(),
        )
    return _employee(closed_house, issuer).log_in(closed_house)


def test_a_driver_with_real_credentials_charges(closed_house: House, driver: Caller) -> None:
    answer = _start(closed_house, driver)

    assert answer.status_code == 200, answer.text
    assert answer.json()["assurance"] == "verified"
    session_id = answer.json()["session_id"]
    assert driver.get(closed_house, f"/sessions/{session_id}").status_code == 200


def test_a_driver_charges_as_nobody_else(closed_house: House, driver: Caller) -> None:
    answer = _start(closed_house, driver, "did:denso:driver:driver001")

    assert (answer.status_code, answer.json()["code"]) == (403, "site_not_allowed")


def test_another_driver_sees_nothing_of_it(
    closed_house: House, issuer: Caller, driver: Caller
) -> None:
    session_id = _start(closed_house, driver).json()["session_id"]
    other = _employee(closed_house, issuer).log_in(closed_house)

    assert other.get(closed_house, f"/sessions/{session_id}").status_code == 404
    assert other.get(closed_house, "/sessions").json()["data"] == []
    assert other.get(closed_house, "/sites/site_hq/analytics").status_code == 403


def test_without_proof_nothing_starts(closed_house: House, driver: Caller) -> None:
    body = closed_house.start_body()
    stolen = {"Authorization": f"Bearer {driver.token}"}

    assert closed_house.post("/sessions/start", body).status_code == 401
    assert closed_house.post("/sessions/start", body, headers=stolen).status_code == 401


@pytest.mark.parametrize(
    ("role", "reach", "standing"),
    [
        ("employee", {}, (["driver"], [])),
        ("employee", {"sites": ["site_hq"]}, (["driver"], [])),
        ("operator", {"sites": ["site_hq"]}, (["driver", "operator"], ["site_hq"])),
        ("operator", {}, (["driver"], [])),
        ("fleet_manager", {"fleets": ["north"]}, (["driver", "fleet"], [])),
        ("fleet_manager", {}, (["driver"], [])),
        ("auditor", {}, (["auditor"], [])),
        ("auditor", {"sites": ["site_hq"]}, (["driver"], [])),
        ("administrator", {}, (["driver"], [])),
    ],
)
def test_a_function_reaches_as_far_as_it_names_and_never_makes_administrators(
    closed_house: House, issuer: Caller, role: str, reach: Json, standing: tuple[Any, Any]
) -> None:
    answer = _employee(closed_house, issuer, role, **reach).answer(closed_house).json()

    assert (answer["roles"], answer["sites"]) == standing
    assert answer["expires_in"] == 600


def test_a_participant_trains_and_runs_nothing(closed_house: House, issuer: Caller) -> None:
    kind = "FederatedParticipantCredential"
    trainer = _holding(closed_house, issuer, kind, site="site_hq", federation="north")

    me = trainer.log_in(closed_house).get(closed_house, "/auth/me").json()

    assert (me["roles"], me["sites"]) == (["participant"], [])


def test_who_shows_nothing_gets_nothing(closed_house: House) -> None:
    answer = Caller().answer(closed_house)

    assert (answer.status_code, answer.json()["code"]) == (403, "no_standing")


def test_what_a_stranger_signs_counts_for_nothing(closed_house: House) -> None:
    caller = _employee(closed_house, Caller(), "operator", sites=["site_hq"])

    answer = caller.answer(closed_house)

    assert (answer.status_code, answer.json()["code"]) == (401, "presentation_refused")
    assert "untrusted_issuer" in {one["reason"] for one in answer.json()["errors"]}


def test_a_stolen_credential_is_no_use_to_the_thief(closed_house: House, issuer: Caller) -> None:
    thief = Caller(credentials=_employee(closed_house, issuer).credentials)

    answer = thief.answer(closed_house)

    assert answer.status_code == 401
    assert "holder_not_subject" in {one["reason"] for one in answer.json()["errors"]}


def test_a_presentation_is_good_once_and_for_its_challenge(
    closed_house: House, issuer: Caller
) -> None:
    caller, challenge = _employee(closed_house, issuer), challenge_for(closed_house)
    body = {"presentation": caller.present(challenge), "challenge": challenge["challenge"]}
    other = challenge_for(closed_house)["challenge"]

    answers = [
        closed_house.post("/auth/token", {**body, "challenge": other}),
        closed_house.post("/auth/token", body),
        closed_house.post("/auth/token", body),
    ]

    assert [one.status_code for one in answers] == [401, 200, 401]
    codes = [answers[0].json()["code"], answers[2].json()["code"]]
    assert codes == ["presentation_refused", "challenge_refused"]


def test_revoking_the_issuer_ends_tokens_at_once(
    closed_house: House, administrator: Caller, issuer: Caller
) -> None:
    caller = _employee(closed_house, issuer).log_in(closed_house)
    listed = administrator.get(closed_house, f"/issuers?issuer={issuer.did}").json()["data"]
    assert caller.get(closed_house, "/auth/me").status_code == 200

    path = f"/issuers/{listed[0]['accreditation_id']}"
    assert administrator.send(closed_house, "DELETE", path).status_code == 200

    assert caller.get(closed_house, "/auth/me").status_code == 401
    assert caller.answer(closed_house).status_code == 401


def test_revoking_a_credential_ends_its_tokens_and_no_others(
    closed_house: House, administrator: Caller
) -> None:
    write_new_key(closed_house.settings.issuer_key_file)
    snapshot = administrator.get(closed_house, "/issuers/snapshot").json()
    root = {"kind": "root", "issuer_did": snapshot["signer"], "credential_types": list(TYPES)}
    root["valid_until"] = "2030-01-01T00:00:00Z"
    assert administrator.post(closed_house, "/issuers", root).status_code == 201
    callers, made = [Caller(), Caller()], []
    for caller in callers:
        asked = {"credential_type": "SiteAccessCredential", "claims": {"site": "site_hq"}}
        body = {**asked, "subject_did": caller.did}
        made.append(administrator.post(closed_house, "/credentials/issue", body).json())
        caller.credentials = [made[-1]["credential"]]
        caller.log_in(closed_house)

    named = {"credential_id": made[0]["credential_id"]}
    assert administrator.post(closed_house, "/credentials/revoke", named).status_code == 200

    statuses = [one.get(closed_house, "/auth/me").status_code for one in callers]
    assert statuses == [401, 200]
    again = callers[0].answer(closed_house)
    assert "revoked" in {one["reason"] for one in again.json()["errors"]}


def test_a_granted_role_ends_with_its_grant(closed_house: House, administrator: Caller) -> None:
    operator = Caller()
    grant = {"did": operator.did, "role": "operator", "site_id": "site_hq"}
    given = administrator.post(closed_house, "/role-grants", grant).json()
    operator.log_in(closed_house)
    assert operator.get(closed_house, "/auth/me").json()["sites"] == ["site_hq"]

    gone = administrator.send(closed_house, "DELETE", f"/role-grants/{given['grant_id']}")

    assert gone.status_code == 200
    assert operator.get(closed_house, "/auth/me").status_code == 401
    assert operator.answer(closed_house).status_code == 403


def test_the_last_administrator_stays(closed_house: House, administrator: Caller) -> None:
    listed = administrator.get(closed_house, "/role-grants").json()["data"]

    answer = administrator.send(closed_house, "DELETE", f"/role-grants/{listed[0]['grant_id']}")

    assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")


@pytest.mark.parametrize(
    "reach",
    [
        {"role": "operator"},
        {"role": "fleet"},
        {"role": "administrator", "site_id": "site_hq"},
        {"role": "operator", "site_id": "site_hq", "fleet_id": "north"},
    ],
)
def test_a_grant_names_the_reach_of_its_role(
    closed_house: House, administrator: Caller, reach: Json
) -> None:
    answer = administrator.post(closed_house, "/role-grants", {"did": "did:key:zx", **reach})

    assert (answer.status_code, answer.json()["code"]) == (409, "grant_reach_missing")


def test_a_login_with_an_embedded_proof_works_as_well(
    closed_house: House, administrator: Caller
) -> None:
    challenge = challenge_for(closed_house)
    presentation = sign_presentation_ldp(
        [],
        administrator.key,
        holder=administrator.did,
        challenge=challenge["challenge"],
        domain=challenge["domain"],
        at=closed_house.clock.now(),
    )
    body = {"presentation": presentation, "challenge": challenge["challenge"]}

    assert closed_house.post("/auth/token", body).json()["roles"] == ["administrator"]


@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.SECP256K1])
def test_other_kinds_of_keys_log_in(closed_house: House, issuer: Caller, kind: KeyKind) -> None:
    caller = Caller(generate_key(kind))
    now = closed_house.clock.now()
    caller.credentials = [issuer.say(caller.did, TYPES[1], {"site": "site_hq"}, now=now)]

    assert caller.log_in(closed_house).get(closed_house, "/auth/me").status_code == 200


def test_both_engines_let_the_same_caller_in(sqlite_url: str, tmp_path: Path) -> None:
    with house_on(sqlite_url, tmp_path, verifier="both", verifier_workers=1) as house:
        administrator = administrator_of(house)
        issuer = trusted_issuer(house, administrator, *TYPES)
        caller = _employee(house, issuer)
        forged = Caller(credentials=[caller.credentials[0][:-8] + "AAAAAAAA"])

        assert caller.log_in(house).get(house, "/auth/me").json()["assurance"] == "verified"
        assert forged.answer(house).status_code == 401


def test_every_decision_is_written_down_without_what_was_presented(
    closed_house: House, issuer: Caller
) -> None:
    caller = _employee(closed_house, issuer).log_in(closed_house)
    _employee(closed_house, Caller()).answer(closed_house)

    with closed_house.parts.database.reading() as db:
        query = select(AuditEvent).where(AuditEvent.action == "presentation.judged")
        judged = [one.facts for one in db.scalars(query.order_by(AuditEvent.id))]
        issued = db.scalars(select(AuditEvent).where(AuditEvent.action == "token.issued")).all()
        actor = who_is(db, issued[-1].actor)

    assert [one["verified"] for one in judged] == [True, True, False]
    assert "untrusted_issuer" in judged[2]["reasons"]
    assert actor == caller.did
    assert "TechCorp" not in json.dumps(judged)
    assert caller.credentials[0] not in json.dumps(judged)


def test_the_first_administrator_comes_from_the_command_line(
    closed_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "production")
    monkeypatch.setenv("TASCO_PUBLIC_URL", "http://testserver")
    monkeypatch.setenv("TASCO_DATABASE_URL", closed_house.settings.database_url)
    read_settings.cache_clear()
    caller, command = Caller(), CliRunner()

    first = command.invoke(app, ["admin", "bootstrap", "--did", caller.did])
    second = command.invoke(app, ["admin", "bootstrap", "--did", Caller().did])
    nonsense = command.invoke(app, ["admin", "bootstrap", "--did", "did:web:a.example"])
    read_settings.cache_clear()

    assert (first.exit_code, second.exit_code, nonsense.exit_code) == (0, 2, 2)
    assert "administrator already" in second.output
    me = caller.log_in(closed_house).get(closed_house, "/auth/me").json()
    assert me["roles"] == ["administrator"]
    with closed_house.parts.database.reading() as db:
        noted = db.scalars(select(AuditEvent).where(AuditEvent.action == "role.granted")).all()
    assert [one.actor for one in noted] == ["bootstrap"]


def test_a_key_file_is_private_and_stays(tmp_path: Path) -> None:
    file, command = tmp_path / "keys" / "token.json", CliRunner()

    made = command.invoke(app, ["admin", "new-key", str(file)])
    key = file.read_text()
    again = command.invoke(app, ["admin", "new-key", str(file)])

    assert (made.exit_code, again.exit_code) == (0, 2)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == key
    assert json.loads(key)["d"] not in made.output


def test_a_token_outlives_no_credential(
    closed_house: House, administrator: Caller, issuer: Caller
) -> None:
    caller = _employee(closed_house, issuer)
    closed_house.clock.advance(days=365)
    closed_house.clock.shown -= timedelta(seconds=90)

    answer = caller.answer(closed_house)

    assert administrator.did
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 90
