"""Verification on request: own documents by our trust, foreign ones by a list that is brought."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.adapters.verifier.dids import key_method
from backend.adapters.verifier.formats import FORMATS
from backend.adapters.verifier.interface import DocumentFormat
from backend.adapters.verifier.issuing import sign_credential_ldp, sign_jwt, zulu
from backend.adapters.verifier.suites import ED25519_2020, SUITES, sign_document
from backend.features.credentials.holder import Holder
from tests.conftest import House, house_on
from tests.identities import Caller, challenge_for

SUBJECT = Caller()
KIND, CLAIMS = "SiteAccessCredential", {"site": "site_hq"}


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """A demonstration on SQLite: no database decides anything here."""
    with house_on(sqlite_url, tmp_path) as house:
        yield house


@pytest.fixture
def issuer(house: House) -> Caller:
    """An issuer that nobody trusts yet."""
    del house
    return Caller()


def _said(house: House, issuer: Caller) -> str:
    return issuer.say(SUBJECT.did, KIND, CLAIMS, now=house.clock.now())


def _trust(house: House, issuer: Caller) -> None:
    root = {
        "kind": "root",
        "issuer_did": issuer.did,
        "credential_types": [KIND],
        "valid_until": "2030-01-01T00:00:00Z",
    }
    assert house.post("/issuers", root).status_code == 201


def _generic(document: Any, issuer: Caller, **more: Any) -> dict[str, Any]:
    trust = {issuer.did: [key_method(issuer.did)]}
    return {"document": document, "format": "jwt", "profile": "generic", "trust": trust, **more}


def _verdict(house: House, body: Any, path: str = "credentials") -> dict[str, Any]:
    answer = house.post(f"/{path}/verify", body)
    assert answer.status_code == 200, answer.text
    verdict: dict[str, Any] = answer.json()
    return verdict


def test_a_document_of_ours_is_judged_by_our_trust(house: House, issuer: Caller) -> None:
    document = _said(house, issuer)

    before = _verdict(house, {"document": document})
    _trust(house, issuer)
    after = _verdict(house, {"document": document})

    assert (before["verified"], before["reasons"]) == (False, ["untrusted_issuer"])
    assert (after["verified"], after["reasons"], after["signature_only"]) == (True, [], False)
    assert (after["issuer"], after["subject"]) == (issuer.did, SUBJECT.did)
    assert all(check["passed"] for check in after["checks"])


def test_a_foreign_list_says_whom_to_trust(house: House, issuer: Caller) -> None:
    document = _said(house, issuer)

    trusted = _verdict(house, _generic(document, issuer))
    distrusted = _verdict(house, _generic(document, Caller()))

    assert (trusted["verified"], trusted["signature_only"]) == (True, True)
    assert not distrusted["verified"]
    assert distrusted["reasons"]


def test_an_altered_document_is_refused_with_a_reason(house: House, issuer: Caller) -> None:
    _trust(house, issuer)
    header, payload, _ = _said(house, issuer).split(".")
    signature = _said(house, Caller()).split(".")[2]

    verdict = _verdict(house, {"document": f"{header}.{payload}.{signature}"})

    assert (verdict["verified"], verdict["reasons"]) == (False, ["signature_invalid"])


def test_a_presentation_is_judged_with_all_in_it(house: House, issuer: Caller) -> None:
    _trust(house, issuer)
    challenge = challenge_for(house)
    document = SUBJECT.present(challenge, [_said(house, issuer)])
    asked = {"document": document, "challenge": challenge["challenge"]}

    good = _verdict(house, {**asked, "domain": challenge["domain"]}, "presentations")
    bad = _verdict(house, {**asked, "domain": "https://else.example"}, "presentations")
    unasked = house.post("/presentations/verify", asked)

    assert good["verified"]
    assert good["holder"] == SUBJECT.did
    assert [one["credential_type"] for one in good["credentials"]] == [KIND]
    assert (bad["verified"], bad["reasons"]) == (False, ["domain_mismatch"])
    assert (unasked.status_code, unasked.json()["code"]) == (409, "challenge_missing")


def test_judging_a_presentation_leaves_its_challenge(house: House, issuer: Caller) -> None:
    _trust(house, issuer)
    challenge = challenge_for(house)
    document = SUBJECT.present(challenge, [_said(house, issuer)])
    asked = {"document": document, "challenge": challenge["challenge"]}

    _verdict(house, {**asked, "domain": challenge["domain"]}, "presentations")
    login = {"presentation": document, "challenge": challenge["challenge"]}

    assert house.post("/auth/token", login).status_code == 200


def test_a_foreign_presentation_is_judged_by_the_list_too(house: House, issuer: Caller) -> None:
    challenge = challenge_for(house)
    document = SUBJECT.present(challenge, [_said(house, issuer)])
    asked = _generic(document, issuer, challenge=challenge["challenge"], domain=challenge["domain"])

    assert _verdict(house, asked, "presentations")["verified"]
    assert not _verdict(house, {**asked, "challenge": "another"}, "presentations")["verified"]


def test_a_document_is_judged_as_of_a_time(house: House, issuer: Caller) -> None:
    document = _said(house, issuer)

    late = _verdict(house, _generic(document, issuer, at="2031-01-01T00:00:00Z"))

    assert (late["verified"], late["reasons"]) == (False, ["expired"])


@pytest.mark.parametrize("path", ["credentials", "presentations"])
def test_a_member_that_stands_twice_is_refused(house: House, path: str) -> None:
    body = json.dumps({"document": {"issuer": "did:x:a"}})
    twice = body.replace('"issuer"', '"issuer": "did:x:b", "issuer"')

    headers = {"Content-Type": "application/json"}
    answer = house.client.post(f"/api/v1/{path}/verify", content=twice, headers=headers)

    assert answer.json()["reasons"] == ["duplicate_member"]


RUBBISH: list[Any] = [
    *("", "a", "a.b.c", "{}", "[" * 90_000, "\ud800", "x" * 200_000),
    *({}, {"a": [[[[[[[[[[[[1]]]]]]]]]]]]}),
]


@pytest.mark.parametrize("profile", ["tasco", "generic"])
def test_rubbish_is_refused_with_a_reason(house: House, issuer: Caller, profile: str) -> None:
    for document in RUBBISH:
        body = _generic(document, issuer) if profile == "generic" else {"document": document}
        content = json.dumps(body)

        headers = {"Content-Type": "application/json"}
        answer = house.client.post("/api/v1/credentials/verify", content=content, headers=headers)

        assert answer.status_code == 200, answer.text
        assert not answer.json()["verified"]
        assert answer.json()["reasons"]


UNFIT, MALFORMED = (409, "profile_unfit"), (422, "malformed_request")


def test_a_generic_question_names_whom_to_trust(house: House, issuer: Caller) -> None:
    wrongs: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"trust": None}, UNFIT),
        ({"profile": "tasco"}, UNFIT),
        ({"profile": "other"}, MALFORMED),
        ({"format": "pdf"}, MALFORMED),
    ]
    for wrong, refusal in wrongs:
        for path in ("credentials", "presentations"):
            answer = house.post(f"/{path}/verify", {**_generic("a.b.c", issuer), **wrong})
            assert (answer.status_code, answer.json()["code"]) == refusal, wrong


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused_as_such(house: House, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = house.client.post("/api/v1/credentials/verify", content=content, headers=headers)

    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("method", ["did:web:a.example#k", "did:key:zzz", {}, {"id": "x"}, "x"])
def test_a_trust_list_holds_usable_keys(house: House, issuer: Caller, method: Any) -> None:
    body = {**_generic("a.b.c", issuer), "trust": {issuer.did: [method]}}

    answer = house.post("/credentials/verify", body)

    assert (answer.status_code, answer.json()["code"]) == (409, "trust_list_unreadable")


@pytest.mark.parametrize(("role", "status"), [("administrator", 200), ("auditor", 403)])
def test_production_takes_foreign_lists_of_administrators_alone(
    closed_house: House, role: Any, status: int
) -> None:
    holder = Holder("did:x:y", frozenset({role}), "verified")
    closed_house.app.state.parts = replace(closed_house.parts, door=lambda *_: holder)

    foreign = closed_house.post("/credentials/verify", _generic("a.b.c", Caller()))
    own = closed_house.post("/credentials/verify", {"document": "a.b.c"})

    assert (foreign.status_code, own.status_code) == (status, 200)


OTHER = "did:web:issuer.example"


def _foreign(house: House, issuer: Caller, form: str) -> Any:
    """A document that has nothing to do with our types, under a DID of another method."""
    now = house.clock.now()
    draft: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential"],
        "issuer": OTHER,
        "validFrom": zulu(now),
        "credentialSubject": {"id": SUBJECT.did, "name": "Anna"},
    }
    if form == "jwt":
        return sign_jwt({"kid": f"{OTHER}#1", "typ": "vc+jwt"}, draft, issuer.key)
    if form == "Ed25519Signature2020":
        name = {"name": "https://schema.org/name"}
        draft["@context"] = ["https://www.w3.org/2018/credentials/v1", name, ED25519_2020]
        draft["issuanceDate"] = draft.pop("validFrom")
        proof = {"type": form, "created": zulu(now), "verificationMethod": f"{OTHER}#1"}
        proof["proofPurpose"] = "assertionMethod"
        return sign_document(SUITES[form], draft, proof, issuer.key)
    return sign_credential_ldp(draft, issuer.key, suite=form, at=now, method=f"{OTHER}#1")


@pytest.mark.parametrize("as_text", [False, True], ids=["object", "text"])
@pytest.mark.parametrize(
    "form", ["jwt", "eddsa-rdfc-2022", "eddsa-jcs-2022", "Ed25519Signature2020"]
)
def test_any_foreign_document_is_judged_in_every_form(
    house: House, issuer: Caller, form: str, *, as_text: bool
) -> None:
    document = _foreign(house, issuer, form)
    document = json.dumps(document) if as_text and form != "jwt" else document
    key = {"id": f"{OTHER}#1", "type": "JsonWebKey", "controller": OTHER}
    body = {
        "document": document,
        "profile": "generic",
        "trust": {OTHER: [{**key, "publicKeyJwk": issuer.key.public_jwk}]},
    }
    right, wrong = ("jwt_vc", "ldp_vc") if form == "jwt" else ("di", "vc+jwt")

    found = _verdict(house, body)
    named = _verdict(house, {**body, "format": right})
    misnamed = _verdict(house, {**body, "format": wrong})
    stranger = _verdict(house, {**body, "trust": {}})
    early = _verdict(house, {**body, "at": "2020-01-01T00:00:00Z"})

    assert (found["verified"], found["reasons"], found["signature_only"]) == (True, [], True)
    assert (found["issuer"], found["subject"]) == (OTHER, SUBJECT.did)
    assert all(check["passed"] for check in found["checks"])
    assert named == found
    assert (misnamed["verified"], misnamed["reasons"]) == (False, ["unknown_format"])
    assert (stranger["verified"], stranger["reasons"]) == (False, ["untrusted_issuer"])
    assert not early["verified"]


@pytest.mark.parametrize("name", ["auto", *sorted(FORMATS)])
def test_every_name_of_a_format_is_understood(house: House, issuer: Caller, name: str) -> None:
    _trust(house, issuer)
    is_token = FORMATS.get(name) in {None, DocumentFormat.JWT}

    verdict = _verdict(house, {"document": _said(house, issuer), "format": name})

    assert verdict["verified"] is is_token
    assert verdict["reasons"] == ([] if is_token else ["unknown_format"])
