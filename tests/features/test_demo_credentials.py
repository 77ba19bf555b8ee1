"""The demonstration's signed credentials: real, verified like others', and shown to try with."""

from collections import Counter
from typing import Any

from backend.features.credentials.registry import LocalRegistry
from backend.features.credentials.signing import credential_hash
from backend.features.demo.credentials import credentials_of
from backend.features.demo.issuers import ISSUERS, PEOPLE_AND_THINGS, key_of, signer_of
from tests.conftest import House

ME = "/auth/me"


def _verdicts(house: House, documents: list[str]) -> list[tuple[bool, list[str]]]:
    with house.parts.database.reading() as db:
        registry = LocalRegistry(db, house.parts.shared)
        verdicts = [
            house.parts.verifier.verify_credential(one, at=house.clock.now(), registry=registry)
            for one in documents
        ]
    return [(one.verified, [str(reason) for reason in one.reasons]) for one in verdicts]


def _shown(house: House) -> dict[str, Any]:
    answer = house.get("/demo/sample-dids")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def _person(house: House, did: str) -> dict[str, Any]:
    [found] = [one for one in _shown(house)["identities"] if one["did"] == did]
    assert isinstance(found, dict)
    return found


def _signed_headers(house: House, token: str, did: str, path: str = ME) -> dict[str, str]:
    asked = {"did": did, "access_token": token, "path": f"/api/v1{path}"}
    made = house.post("/demo/proofs", asked).json()
    return {"Authorization": made["authorization"], "DPoP": made["dpop"]}


def test_every_driver_vehicle_and_charger_has_its_credentials(demo_house: House) -> None:
    with demo_house.parts.database.reading() as db:
        held = credentials_of(db, PEOPLE_AND_THINGS)

    counts = Counter(one.row.credential_type for each in held.values() for one in each)
    assert counts == {
        "EmploymentCredential": 23,
        "FleetDriverCredential": 5,
        "SiteAccessCredential": 68,
        "PrioritySlotCredential": 1,
        "ChargingContractCredential": 20,
        "VehicleSpecCredential": 30,
        "BatteryBirthCertificateCredential": 30,
        "ChargerSpecCredential": 33,
    }


def test_documents_come_out_as_they_were_issued(demo_house: House) -> None:
    with demo_house.parts.database.reading() as db:
        held = credentials_of(db, PEOPLE_AND_THINGS)

    for one in (one for each in held.values() for one in each):
        assert credential_hash(one.document) == one.row.credential_hash


def test_one_of_each_kind_is_verified_by_the_real_verifier(demo_house: House) -> None:
    documents = [
        document
        for one in _shown(demo_house)["identities"]
        for kind in one["credentials"].values()
        for document in kind[:1]
    ]

    assert len(documents) >= 15
    assert _verdicts(demo_house, documents) == [(True, [])] * len(documents)


def test_the_manufacturer_stands_at_the_end_of_three_links(demo_house: House) -> None:
    spec = _person(demo_house, "did:denso:vehicle:vehicle001")["credentials"]
    document = spec["VehicleSpecCredential"][0]

    demo_house.client.delete("/api/v1/issuers/acc_demo_association")

    assert _verdicts(demo_house, [document]) == [(False, ["accreditation_revoked"])]


def test_issuers_and_keys_follow_from_the_seed() -> None:
    first = {name: signer_of.__wrapped__(name).did for name in ISSUERS}
    again = {name: signer_of.__wrapped__(name).did for name in ISSUERS}

    assert first == again
    assert len(set(first.values())) == len(ISSUERS)
    keys = {key_of(did).public_jwk["x"] for did in PEOPLE_AND_THINGS}
    assert len(keys) == len(PEOPLE_AND_THINGS)


def test_data_made_anew_takes_the_old_credentials_back(demo_house: House) -> None:
    document = _person(demo_house, "did:denso:driver:driver001")["credentials"]
    old = document["SiteAccessCredential"][0]
    before = _verdicts(demo_house, [old])

    assert demo_house.post("/demo/generate-data?days=1").status_code == 200

    new = _person(demo_house, "did:denso:driver:driver001")["credentials"]
    assert before == [(True, [])]
    assert _verdicts(demo_house, [old]) == [(False, ["revoked"])]
    assert _verdicts(demo_house, new["SiteAccessCredential"]) == [(True, [])]


def test_a_judge_gets_in_by_the_real_door(demo_house: House) -> None:
    sign_in = _shown(demo_house)["sign_in"]
    entered = demo_house.post("/auth/token", sign_in["request"])
    token = entered.json()["access_token"]

    me = demo_house.get(ME, headers=_signed_headers(demo_house, token, sign_in["did"]))
    headers = _signed_headers(demo_house, token, sign_in["did"], "/sites/site_hq/analytics")
    forbidden = demo_house.get("/sites/site_hq/analytics", headers=headers)

    assert entered.status_code == 200, entered.text
    assert entered.json()["roles"] == ["driver"]
    assert me.json()["did"] == "did:denso:driver:driver001"
    assert me.json()["assurance"] == "verified"
    assert forbidden.status_code == 403


def test_a_revoked_credential_ends_the_token_it_gave(demo_house: House) -> None:
    sign_in = _shown(demo_house)["sign_in"]
    token = demo_house.post("/auth/token", sign_in["request"]).json()["access_token"]
    row = demo_house.get(f"/credentials?subject={sign_in['did']}&limit=1").json()["data"][0]

    demo_house.post("/credentials/suspend", {"credential_id": row["credential_id"]})

    headers = _signed_headers(demo_house, token, sign_in["did"])
    assert demo_house.get(ME, headers=headers).status_code == 401


def test_another_persons_proof_does_not_fit(demo_house: House) -> None:
    sign_in = _shown(demo_house)["sign_in"]
    token = demo_house.post("/auth/token", sign_in["request"]).json()["access_token"]

    headers = _signed_headers(demo_house, token, "did:denso:driver:driver002")

    assert demo_house.get(ME, headers=headers).status_code == 401


def test_the_keys_shown_are_marked_and_nobody_elses(demo_house: House) -> None:
    identities = _shown(demo_house)["identities"]

    assert all(one["is_demo_only"] for one in identities)
    for one in identities:
        assert one["private_jwk"] == key_of(one["did"]).private_jwk()
    unknown = {"did": "did:denso:driver:nobody", "access_token": "a.b.c", "path": "/"}
    answer = demo_house.post("/demo/proofs", unknown)
    assert (answer.status_code, answer.json()["code"]) == (404, "person_not_found")


def test_without_data_there_is_nobody_to_sign_in(sqlite_house: House) -> None:
    shown = _shown(sqlite_house)

    assert shown["sign_in"] is None
    assert shown["identities"] == []


def test_the_examples_of_issuing_work_when_pasted(sqlite_house: House) -> None:
    assert sqlite_house.post("/demo/generate-data?days=1").status_code == 200
    document = sqlite_house.client.get("/openapi.json").json()
    operation = document["paths"]["/api/v1/credentials/issue"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]

    answers = {
        name: sqlite_house.post("/credentials/issue", one["value"])
        for name, one in examples.items()
    }

    assert {name: one.status_code for name, one in answers.items()} == dict.fromkeys(examples, 201)
    jwts = [one.json()["credential"] for one in answers.values() if one.json()["format"] == "jwt"]
    assert _verdicts(sqlite_house, jwts) == [(True, [])] * 2
