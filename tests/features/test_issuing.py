"""Issuing over HTTP: what is signed, who may have what said, and how it is taken back."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.adapters.events.outbox import OutboxEvent
from backend.adapters.verifier.dids import did_key, resolve_offline
from backend.adapters.verifier.interface import Reason, StatusEntry
from backend.adapters.verifier.keys import (
    from_base64url,
    generate_key,
    public_from_jwk,
    verify,
)
from backend.components import Parts
from backend.features.credentials.bitstrings import decoded, is_set
from backend.features.credentials.holder import Holder, Knock, Role
from backend.features.credentials.issuing import forget_subject
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.credentials.models import AuditEvent
from backend.features.credentials.service_key import write_new_key
from backend.features.credentials.status_lists import status_of
from tests.conftest import House, house_on

TYPES = [
    "EmploymentCredential",
    "SiteAccessCredential",
    "ChargingContractCredential",
    "PrioritySlotCredential",
    "FleetDriverCredential",
    "IssuerAccreditationCredential",
]
DRIVER = did_key(generate_key())
ACCESS = {
    "credential_type": "SiteAccessCredential",
    "subject_did": DRIVER,
    "claims": {"site": "site_hq"},
}
EMPLOYEE = {
    "credential_type": "EmploymentCredential",
    "subject_did": DRIVER,
    "claims": {"employer": "TechCorp", "role": "employee", "sites": ["site_hq"]},
}


def signer_of(house: House) -> str:
    did: str = house.get("/issuers/snapshot").json()["signer"]
    return did


def trust_own_issuer(house: House, **limits: Any) -> dict[str, Any]:
    root = {
        "kind": "root",
        "issuer_did": signer_of(house),
        "credential_types": TYPES,
        "valid_until": "2030-01-01T00:00:00Z",
        **limits,
    }
    answer = house.post("/issuers", root)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def issue(house: House, body: dict[str, Any] = ACCESS, **values: Any) -> dict[str, Any]:
    answer = house.post("/credentials/issue", {**body, **values})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
def trusted(house: House) -> House:
    """A house whose own issuer is accredited."""
    trust_own_issuer(house)
    return house


@pytest.fixture
def trusted_sqlite(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """The same on SQLite alone, for what no database decides."""
    with house_on(sqlite_url, tmp_path) as house:
        trust_own_issuer(house)
        yield house


def _payload(token: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(from_base64url(token.split(".")[1]))
    return payload


def _is_signed_by(token: str, issuer: str) -> bool:
    signed, _, signature = token.rpartition(".")
    [method] = resolve_offline(issuer)
    key = public_from_jwk(method.public_jwk or {})
    return verify(key, from_base64url(signature), signed.encode())


def _status(house: House, made: dict[str, Any]) -> list[Reason | None]:
    with house.parts.database.reading() as db:
        return [
            status_of(db, StatusEntry(one["list_url"], one["index"], one["purpose"]))
            for one in made["status_places"]
        ]


def test_a_jwt_says_what_was_asked_for(trusted: House) -> None:
    made = issue(trusted, valid_until="2026-06-01T00:00:00Z")

    token = made["credential"]
    payload = _payload(token)
    assert _is_signed_by(token, signer_of(trusted))
    assert payload["iss"] == made["issuer_did"] == signer_of(trusted)
    assert payload["sub"] == DRIVER
    assert payload["jti"] == made["credential_id"]
    assert payload["vc"]["type"] == ["VerifiableCredential", "SiteAccessCredential"]
    assert payload["vc"]["credentialSubject"] == {"site": "site_hq"}
    assert payload["exp"] - payload["nbf"] == 82 * 86_400 + 14 * 3_600  # until midnight of 1 June
    assert made["credential_hash"] == hashlib.sha256(token.encode()).hexdigest()
    purposes = [one["statusPurpose"] for one in payload["vc"]["credentialStatus"]]
    assert purposes == ["revocation", "suspension"]
    assert made["site_id"] == "site_hq"
    assert made["status"] == "valid"


@pytest.mark.parametrize(
    ("form", "proof_type", "dates"),
    [
        ("ldp", "Ed25519Signature2020", ("issuanceDate", "expirationDate")),
        ("data_integrity", "DataIntegrityProof", ("validFrom", "validUntil")),
    ],
)
def test_json_forms_carry_their_proof_inside(
    trusted_sqlite: House, form: str, proof_type: str, dates: tuple[str, str]
) -> None:
    made = issue(trusted_sqlite, format=form)

    document = made["credential"]
    assert document["proof"]["type"] == proof_type
    assert document["proof"]["proofPurpose"] == "assertionMethod"
    assert document["issuer"] == signer_of(trusted_sqlite)
    assert document["id"] == made["credential_id"]
    assert set(dates) <= set(document)
    assert document["credentialSubject"] == {"id": DRIVER, "site": "site_hq"}


def test_no_claim_is_kept(trusted: House) -> None:
    made = issue(trusted, EMPLOYEE)

    with trusted.parts.database.reading() as db:
        row = db.get(IssuedCredential, made["credential_id"])
    assert row is not None
    kept = str({name: value for name, value in vars(row).items() if name != "subject_did"})
    assert "TechCorp" not in kept
    assert "employee" not in kept
    assert made["credential"] not in kept


def test_events_and_audit_name_no_person_and_no_claim(trusted: House) -> None:
    made = issue(trusted, EMPLOYEE)
    for step in ("suspend", "lift-suspension", "revoke"):
        trusted.post(f"/credentials/{step}", {"credential_id": made["credential_id"]})

    with trusted.parts.database.reading() as db:
        query = select(OutboxEvent).where(OutboxEvent.type.startswith("credential."))
        events = db.scalars(query.order_by(OutboxEvent.id)).all()
        notes = db.scalars(select(AuditEvent).where(AuditEvent.action.startswith("credential.")))
        noted = [(one.action, one.object_id, one.facts) for one in notes]
    assert [one.type for one in events] == [
        "credential.issued",
        "credential.suspended",
        "credential.reinstated",
        "credential.revoked",
    ]
    assert len(noted) == 4
    told = json.dumps([one.data for one in events]) + str(noted)
    for secret in (DRIVER, "TechCorp", made["credential_hash"], made["credential"]):
        assert secret not in told
    assert len({one.data["commitment"] for one in events}) == 1


def test_the_commitment_is_the_salted_hash(trusted_sqlite: House) -> None:
    made = issue(trusted_sqlite)

    with trusted_sqlite.parts.database.reading() as db:
        row = db.get(IssuedCredential, made["credential_id"])
    assert row is not None
    assert row.salt is not None
    assert len(row.salt) == 32
    whole = row.salt + bytes.fromhex(made["credential_hash"])
    assert row.commitment == hashlib.sha256(whole).hexdigest()


def test_equal_statements_have_different_commitments(trusted_sqlite: House) -> None:
    first, second = issue(trusted_sqlite), issue(trusted_sqlite)

    assert first["credential_id"] != second["credential_id"]
    assert first["credential_hash"] != second["credential_hash"]


def test_a_revocation_acts_with_its_answer_and_cannot_be_undone(trusted: House) -> None:
    made = issue(trusted)
    named = {"credential_id": made["credential_id"]}
    assert _status(trusted, made) == [None, None]

    first, again = (trusted.post("/credentials/revoke", named) for _ in range(2))
    suspended = trusted.post("/credentials/suspend", named)
    lifted = trusted.post("/credentials/lift-suspension", named)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == again.json()["status"] == "revoked"
    assert _status(trusted, made) == [Reason.REVOKED, None]
    assert (suspended.status_code, suspended.json()["code"]) == (409, "credential_revoked")
    assert (lifted.status_code, lifted.json()["code"]) == (409, "credential_revoked")


def test_a_suspension_acts_until_it_is_lifted(trusted: House) -> None:
    made = issue(trusted)
    named = {"credential_id": made["credential_id"]}

    suspended = trusted.post("/credentials/suspend", named).json()["status"]
    while_suspended = _status(trusted, made)
    lifted = trusted.post("/credentials/lift-suspension", named).json()["status"]

    assert (suspended, lifted) == ("suspended", "valid")
    assert while_suspended == [None, Reason.SUSPENDED]
    assert _status(trusted, made) == [None, None]


@pytest.mark.parametrize("step", ["revoke", "suspend", "lift-suspension"])
def test_an_unknown_credential_is_not_found(trusted_sqlite: House, step: str) -> None:
    named = {"credential_id": "urn:uuid:00000000-0000-4000-8000-000000000000"}

    answer = trusted_sqlite.post(f"/credentials/{step}", named)

    assert (answer.status_code, answer.json()["code"]) == (404, "credential_not_found")


@pytest.mark.parametrize(
    ("claims", "pointer"),
    [
        ({}, "/body/claims/site"),
        ({"site": "site_hq", "vip": True}, "/body/claims/vip"),
        ({"site": 7}, "/body/claims/site"),
        ({"site": "site_hq", "chargers": ["did:x:b", "did:x:a"]}, "/body/claims/chargers"),
    ],
)
def test_claims_outside_the_profile_are_refused(
    trusted_sqlite: House, claims: dict[str, Any], pointer: str
) -> None:
    answer = trusted_sqlite.post("/credentials/issue", {**ACCESS, "claims": claims})

    assert (answer.status_code, answer.json()["code"]) == (409, "claims_refused")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "times",
    [
        {"valid_until": "2026-03-10T09:00:00Z"},
        {"valid_from": "2026-05-01T00:00:00Z", "valid_until": "2026-04-01T00:00:00Z"},
        {"valid_until": "2040-01-01T00:00:00Z"},
    ],
)
def test_a_validity_that_never_is_or_never_ends_is_refused(
    trusted_sqlite: House, times: dict[str, str]
) -> None:
    answer = trusted_sqlite.post("/credentials/issue", {**ACCESS, **times})

    assert (answer.status_code, answer.json()["code"]) == (409, "credential_validity_impossible")


def test_what_our_own_verification_would_refuse_is_not_issued(house: House) -> None:
    before = house.post("/credentials/issue", ACCESS)
    trust_own_issuer(house, sites=["site_mall"])
    elsewhere = house.post("/credentials/issue", ACCESS)
    there = issue(house, claims={"site": "site_mall"})

    assert (before.status_code, before.json()["code"]) == (409, "issuer_not_accredited")
    assert "untrusted_issuer" in before.json()["detail"]
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "issuer_not_accredited")
    assert "outside_accreditation" in elsewhere.json()["detail"]
    assert there["site_id"] == "site_mall"


def test_nobody_vouches_for_themselves(trusted_sqlite: House) -> None:
    said = {**ACCESS, "subject_did": signer_of(trusted_sqlite)}

    answer = trusted_sqlite.post("/credentials/issue", said)

    assert (answer.status_code, answer.json()["code"]) == (409, "issuer_not_accredited")
    assert "self_issued" in answer.json()["detail"]


def test_the_same_key_issues_once(trusted: House) -> None:
    headers = {"Idempotency-Key": "issue-1"}

    first, again = (trusted.post("/credentials/issue", ACCESS, headers=headers) for _ in range(2))

    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(trusted.get("/credentials").json()["data"]) == 1


def test_many_at_once_are_all_issued_with_indices_of_their_own(trusted: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: issue(trusted), range(24)))

    places = {(one["list_url"], one["index"]) for single in made for one in single["status_places"]}
    assert len(places) == 48
    assert len({single["credential_id"] for single in made}) == 24
    listed = trusted.get("/credentials?limit=100").json()["data"]
    assert len(listed) == 24


def test_the_list_comes_in_pages_and_by_subject(trusted: House) -> None:
    ids = sorted(issue(trusted)["credential_id"] for _ in range(3))
    other = issue(trusted, subject_did="did:denso:driver:driver002")

    first = trusted.get(f"/credentials?limit=2&subject={DRIVER}").json()
    second = trusted.get(
        f"/credentials?limit=2&subject={DRIVER}&cursor={first['next_cursor']}"
    ).json()

    seen = [one["credential_id"] for one in first["data"] + second["data"]]
    assert seen == ids
    assert other["credential_id"] not in seen
    assert "credential" not in first["data"][0]


def test_an_expired_credential_is_shown_as_such(trusted_sqlite: House) -> None:
    issue(trusted_sqlite, valid_until="2026-03-10T12:00:00Z")

    trusted_sqlite.clock.advance(hours=2)

    assert trusted_sqlite.get("/credentials").json()["data"][0]["status"] == "expired"


def test_forgetting_a_subject_revokes_and_unnames(trusted: House) -> None:
    made, other = issue(trusted), issue(trusted, subject_did="did:denso:driver:driver002")

    with trusted.parts.database.transaction() as db:
        count = forget_subject(db, DRIVER, by="did:x:admin", now=trusted.clock.now())

    rows = {one["credential_id"]: one for one in trusted.get("/credentials").json()["data"]}
    assert count == 1
    assert rows[made["credential_id"]]["subject_did"] is None
    assert rows[made["credential_id"]]["status"] == "revoked"
    assert rows[other["credential_id"]]["status"] == "valid"
    assert _status(trusted, made) == [Reason.REVOKED, None]
    with trusted.parts.database.reading() as db:
        row = db.get(IssuedCredential, made["credential_id"])
    assert row is not None
    assert row.salt is None


def _door(role: Role, *, sites: tuple[str, ...] = (), fleets: tuple[str, ...] = ()) -> Any:
    def _open(_knock: Knock, _parts: Parts) -> Holder:
        return Holder(
            did=f"did:x:{role}",
            roles=frozenset({role}),
            assurance="verified",
            sites=frozenset(sites),
            fleets=frozenset(fleets),
        )

    return _open


def _as(house: House, door: Any) -> None:
    house.app.state.parts = replace(house.parts, door=door)


FLEET_DRIVER = {
    "credential_type": "FleetDriverCredential",
    "subject_did": DRIVER,
    "claims": {"fleet": "city-logistics"},
}
OPERATOR_OF_HQ = {**EMPLOYEE, "claims": {**EMPLOYEE["claims"], "role": "operator"}}  # type: ignore[dict-item]
ELSEWHERE = {**ACCESS, "claims": {"site": "site_mall"}}
ACCREDITATION = {
    "credential_type": "IssuerAccreditationCredential",
    "subject_did": DRIVER,
    "claims": {"credentialTypes": ["SiteAccessCredential"], "mayAccredit": False},
}


@pytest.mark.parametrize(
    ("door", "body", "status"),
    [
        (_door("operator", sites=("site_hq",)), ACCESS, 201),
        (_door("operator", sites=("site_hq",)), EMPLOYEE, 201),
        (_door("operator", sites=("site_hq",)), ELSEWHERE, 403),
        (_door("operator", sites=("site_hq",)), OPERATOR_OF_HQ, 403),
        (_door("operator", sites=("site_hq",)), FLEET_DRIVER, 403),
        (_door("operator", sites=("site_hq",)), ACCREDITATION, 403),
        (_door("operator"), ACCESS, 403),
        (_door("fleet", fleets=("city-logistics",)), FLEET_DRIVER, 201),
        (_door("fleet", fleets=("others",)), FLEET_DRIVER, 403),
        (_door("fleet", fleets=("city-logistics",)), ACCESS, 403),
        (_door("driver"), ACCESS, 403),
        (_door("auditor"), ACCESS, 403),
        (_door("administrator"), OPERATOR_OF_HQ, 201),
        (_door("administrator"), ACCREDITATION, 201),
    ],
)
def test_who_may_have_what_said(
    trusted_sqlite: House, door: Any, body: dict[str, Any], status: int
) -> None:
    _as(trusted_sqlite, door)

    answer = trusted_sqlite.post("/credentials/issue", body)

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("door", "count", "status"),
    [
        (_door("operator", sites=("site_hq",)), 1, 200),
        (_door("operator", sites=("site_mall",)), 0, 404),
        (_door("fleet", fleets=("city-logistics",)), 0, 404),
        (_door("auditor"), 1, 403),
        (_door("driver"), 0, 403),
        (_door("administrator"), 1, 200),
    ],
)
def test_who_sees_and_who_revokes(
    trusted_sqlite: House, door: Any, count: int, status: int
) -> None:
    made = issue(trusted_sqlite)
    _as(trusted_sqlite, door)

    listed = trusted_sqlite.get("/credentials").json()["data"]
    answer = trusted_sqlite.post("/credentials/revoke", {"credential_id": made["credential_id"]})

    assert len(listed) == count
    assert answer.status_code == status


def test_a_status_list_is_signed_and_shows_the_bits(trusted: House) -> None:
    made = issue(trusted)
    trusted.post("/credentials/revoke", {"credential_id": made["credential_id"]})

    answer = trusted.get("/credentials/status/revocation-1")

    document = answer.json()
    subject = document["credentialSubject"]
    bits = decoded(subject["encodedList"])
    [place] = [one for one in made["status_places"] if one["purpose"] == "revocation"]
    assert answer.headers["Content-Type"].startswith("application/vc")
    assert document["id"] == place["list_url"]
    assert document["issuer"] == made["issuer_did"]
    assert document["proof"]["cryptosuite"] == "eddsa-jcs-2022"
    assert subject["id"] == f"{place['list_url']}#list"
    assert subject["statusPurpose"] == "revocation"
    assert [index for index in range(len(bits) * 8) if is_set(bits, index)] == [place["index"]]
    assert document["validFrom"] <= "2026-03-10T10:00:00Z" < document["validUntil"]


def test_a_status_list_comes_as_jwt_when_asked_for(trusted_sqlite: House) -> None:
    made = issue(trusted_sqlite)

    answer = trusted_sqlite.get(
        "/credentials/status/suspension-1", headers={"Accept": "application/vc+jwt"}
    )

    header = json.loads(from_base64url(answer.text.split(".")[0]))
    assert answer.headers["Content-Type"].startswith("application/vc+jwt")
    assert header["typ"] == "vc+jwt"
    assert _is_signed_by(answer.text, made["issuer_did"])
    assert _payload(answer.text)["credentialSubject"]["statusPurpose"] == "suspension"
    assert answer.headers["Vary"] == "Accept"


def test_a_list_is_new_only_when_a_bit_or_the_hour_changed(trusted: House) -> None:
    made = issue(trusted)
    path = "/credentials/status/revocation-1"
    first = trusted.get(path)
    known = {"If-None-Match": first.headers["ETag"]}

    unchanged = trusted.get(path, headers=known)
    as_jwt = trusted.get(path, headers={**known, "Accept": "application/vc+jwt"})
    trusted.post("/credentials/revoke", {"credential_id": made["credential_id"]})
    changed = trusted.get(path, headers=known)
    trusted.clock.advance(hours=1)
    later = trusted.get(path, headers={"If-None-Match": changed.headers["ETag"]})

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    assert "max-age" in unchanged.headers["Cache-Control"]
    assert as_jwt.status_code == 200
    assert changed.status_code == 200
    assert later.status_code == 200
    assert later.json()["validUntil"] > changed.json()["validUntil"]


def test_an_unknown_list_is_not_found(trusted_sqlite: House) -> None:
    answer = trusted_sqlite.get("/credentials/status/revocation-9")

    assert (answer.status_code, answer.json()["code"]) == (404, "status_list_not_found")


def test_production_without_a_key_signs_nothing_and_says_so(closed_house: House) -> None:
    answer = closed_house.get("/credentials/status/revocation-1")

    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_key_missing")
    assert not closed_house.settings.issuer_key_file.exists()


def test_anybody_may_read_a_list_in_production(closed_house: House) -> None:
    write_new_key(closed_house.settings.issuer_key_file)

    answer = closed_house.get("/credentials/status/revocation-1")

    assert (answer.status_code, answer.json()["code"]) == (404, "status_list_not_found")


def test_the_demo_makes_a_key_that_only_its_owner_reads(house: House) -> None:
    did = signer_of(house)

    file = house.settings.issuer_key_file
    assert file.stat().st_mode & 0o777 == 0o600
    assert did.startswith("did:key:z6Mk")
