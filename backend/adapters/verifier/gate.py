"""The strict gate: reads documents of our own types and refuses everything else.

What passes has exactly one spelling per meaning; the facts that it hands on are those that the
signature covers. See `profiles.py` for the pinned forms.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backend.adapters.verifier import profiles
from backend.adapters.verifier.candidates import Candidate, hash_of
from backend.adapters.verifier.canonical import NotCanonical, json_canonical
from backend.adapters.verifier.claims import parse_zulu
from backend.adapters.verifier.dids import DidRefused, did_method
from backend.adapters.verifier.gate_proofs import created_at, read_proof
from backend.adapters.verifier.interface import Document, DocumentFormat, StatusEntry
from backend.adapters.verifier.jwt import TYPES_V1, Jwt, read_jwt
from backend.adapters.verifier.profiles import PROFILES, Profile
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import MAX_BYTES, MAX_DEPTH, measure, read_object

URN_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_LIST_URL = re.compile(r"https?://[A-Za-z0-9._~:/?&=%\[\]-]{1,300}\Z")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")
_PURPOSES = ("revocation", "suspension")
_STATUS_MEMBERS = frozenset(
    {"id", "type", "statusPurpose", "statusListIndex", "statusListCredential"}
)
_JWT_NEEDED = frozenset({"iss", "sub", "jti", "nbf", "exp", "vc"})
_JWT_MEMBERS = _JWT_NEEDED | {"iat"}
_VC_NEEDED = frozenset({"@context", "type", "credentialSubject"})
_VC_MEMBERS = _VC_NEEDED | {
    "id",
    "issuer",
    "issuanceDate",
    "expirationDate",
    "credentialStatus",
}
_V1_NEEDED = frozenset(
    {"@context", "id", "type", "issuer", "issuanceDate", "expirationDate", "credentialSubject"}
)
_V2_NEEDED = frozenset(
    {"@context", "id", "type", "issuer", "validFrom", "validUntil", "credentialSubject"}
)
_LAST_SECOND = 253_402_300_799  # of the year 9999


def read_credential(document: Document, *, expected_type: str | None = None) -> Candidate:
    """Read a credential of one of our types, whatever its format.

    Raises:
        Refused: With the first thing that is wrong.
    """
    if isinstance(document, bytes):
        document = _text(document)
    if isinstance(document, str):
        if not document.lstrip().startswith("{"):
            return _check_type(_read_jwt_credential(document), expected_type)
        if len(document) > MAX_BYTES:
            raise Refused(Reason.TOO_LARGE)
        document = read_object(document)
    measure(document, max_depth=MAX_DEPTH, max_characters=MAX_BYTES)
    return _check_type(_read_ldp_credential(document), expected_type)


def _text(document: bytes) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_UTF8) from error


def _check_type(candidate: Candidate, expected_type: str | None) -> Candidate:
    if expected_type is not None and candidate.credential_type != expected_type:
        raise Refused(Reason.UNEXPECTED_TYPE, candidate.credential_type)
    return candidate


def _read_jwt_credential(token: str) -> Candidate:
    jwt = read_jwt(token, max_characters=MAX_BYTES)
    if jwt.header.has_foreign_members:
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED)
    if jwt.header.typ == "vc+jwt":
        return _candidate_v2(jwt, jwt.payload)
    if jwt.header.typ not in TYPES_V1:
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED)
    return _candidate_v1(jwt)


def _candidate_v1(jwt: Jwt) -> Candidate:
    payload = jwt.payload
    require_members(payload, _JWT_NEEDED, _JWT_MEMBERS, Reason.JWT_CLAIM_NOT_ALLOWED)
    vc = payload["vc"]
    if not isinstance(vc, dict):
        raise Refused(Reason.MALFORMED_MEMBER, "vc")
    require_members(vc, _VC_NEEDED, _VC_MEMBERS)
    if vc["@context"] != profiles.JWT_V1:
        raise Refused(Reason.CONTEXT_NOT_PINNED)
    profile = _profile_of(vc["type"])
    valid_from, valid_until = seconds(payload["nbf"]), seconds(payload["exp"])
    _require_equal(vc, payload, valid_from, valid_until)
    subject = vc["credentialSubject"]
    if not isinstance(subject, dict):
        raise Refused(Reason.MALFORMED_MEMBER, "credentialSubject")
    if subject.get("id", payload["sub"]) != payload["sub"]:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "sub")
    return Candidate(
        format=DocumentFormat.JWT,
        signatures=(jwt.signature,),
        method_ids=(jwt.header.kid,),
        hash=hash_of(jwt.signature.token),
        model="1.1",
        issuer=_did(payload["iss"], "iss"),
        subject=_did(payload["sub"], "sub"),
        credential_id=_urn(payload["jti"]),
        credential_type=profile.name,
        claims=_claims(profile, subject),
        valid_from=valid_from,
        valid_until=valid_until,
        status=read_status(vc["credentialStatus"]) if "credentialStatus" in vc else (),
        made_at=seconds(payload["iat"]) if "iat" in payload else None,
    )


def _require_equal(
    vc: Mapping[str, Any], payload: Mapping[str, Any], start: datetime, end: datetime
) -> None:
    """What the credential repeats has to be what the token says."""
    pairs = (("id", payload["jti"]), ("issuer", payload["iss"]))
    if any(name in vc and vc[name] != value for name, value in pairs):
        raise Refused(Reason.JWT_CLAIM_MISMATCH)
    for name, moment in (("issuanceDate", start), ("expirationDate", end)):
        if name in vc and _moment(vc[name], name) != moment:
            raise Refused(Reason.JWT_CLAIM_MISMATCH, name)


def _candidate_v2(jwt: Jwt, document: dict[str, Any]) -> Candidate:
    require_members(document, _V2_NEEDED, _V2_NEEDED | {"credentialStatus"})
    if document["@context"] != profiles.V2:
        raise Refused(Reason.CONTEXT_NOT_PINNED)
    return Candidate(
        format=DocumentFormat.JWT,
        signatures=(jwt.signature,),
        method_ids=(jwt.header.kid,),
        hash=hash_of(jwt.signature.token),
        model="2.0",
        **_facts(document, ("validFrom", "validUntil")),
    )


def _read_ldp_credential(document: Mapping[str, Any]) -> Candidate:
    is_v2 = document.get("@context") == profiles.V2
    needed = (_V2_NEEDED if is_v2 else _V1_NEEDED) | {"proof"}
    if not is_v2 and document.get("@context") not in (profiles.LDP_V1, profiles.LDP_V1_2020):
        raise Refused(Reason.CONTEXT_NOT_PINNED)
    if "proof" not in document:
        raise Refused(Reason.PROOF_MISSING)
    require_members(document, needed, needed | {"credentialStatus"})
    signature = read_proof(document, purpose="assertionMethod")
    dates = ("validFrom", "validUntil") if is_v2 else ("issuanceDate", "expirationDate")
    return Candidate(
        format=DocumentFormat.LDP,
        signatures=(signature,),
        method_ids=(signature.proof["verificationMethod"],),
        hash=_hash_of_document(document),
        model="2.0" if is_v2 else "1.1",
        made_at=created_at(signature.proof),
        **_facts(document, dates),
    )


def _hash_of_document(document: Mapping[str, Any]) -> str:
    try:
        return hash_of(json_canonical(document))
    except NotCanonical as error:
        raise Refused(Reason.MALFORMED_JSON) from error


def _facts(document: Mapping[str, Any], dates: tuple[str, str]) -> dict[str, Any]:
    profile = _profile_of(document["type"])
    subject = document["credentialSubject"]
    if not isinstance(subject, dict) or "id" not in subject:
        raise Refused(Reason.MALFORMED_MEMBER, "credentialSubject")
    status = document.get("credentialStatus")
    return {
        "issuer": _did(document["issuer"], "issuer"),
        "subject": _did(subject["id"], "credentialSubject.id"),
        "credential_id": _urn(document["id"]),
        "credential_type": profile.name,
        "claims": _claims(profile, subject),
        "valid_from": _moment(document[dates[0]], dates[0]),
        "valid_until": _moment(document[dates[1]], dates[1]),
        "status": read_status(status) if "credentialStatus" in document else (),
    }


def require_members(
    document: Mapping[str, Any],
    needed: frozenset[str],
    allowed: frozenset[str],
    reason: Reason = Reason.MEMBER_NOT_ALLOWED,
) -> None:
    """Refuse a document with a member too many or too few.

    Raises:
        Refused: With `reason` for one too many, `MEMBER_MISSING` for one too few.
    """
    if not document.keys() <= allowed:
        raise Refused(reason, ", ".join(sorted(document.keys() - allowed))[:80])
    if not needed <= document.keys():
        raise Refused(Reason.MEMBER_MISSING, ", ".join(sorted(needed - document.keys())))


def _profile_of(types: Any) -> Profile:  # noqa: ANN401 - JSON
    name = types[1] if isinstance(types, list) and len(types) == len(("VC", "own")) else None
    profile = PROFILES.get(name) if isinstance(name, str) else None
    if profile is None or types != profile.types:
        raise Refused(Reason.TYPE_NOT_ALLOWED)
    return profile


def _claims(profile: Profile, subject: Mapping[str, Any]) -> dict[str, Any]:
    claims = {name: value for name, value in subject.items() if name != "id"}
    if None in claims.values():
        raise Refused(Reason.CLAIMS_NOT_ALLOWED, "null")
    try:
        profile.claims.__pydantic_validator__.validate_python(claims)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refused(Reason.CLAIMS_NOT_ALLOWED, f"{place}: {first['type']}"[:80]) from error
    return claims


def _did(value: Any, name: str) -> str:  # noqa: ANN401 - JSON
    try:
        did_method(value)
    except (DidRefused, TypeError) as refused:
        raise Refused(Reason.MALFORMED_DID, name) from refused
    return str(value)


def _urn(value: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not URN_UUID.match(value):
        raise Refused(Reason.MALFORMED_ID)
    return value


def seconds(value: Any) -> datetime:  # noqa: ANN401 - JSON
    """A NumericDate in whole seconds.

    Raises:
        Refused: If it is not one.
    """
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise Refused(Reason.MALFORMED_DATE)
    return datetime.fromtimestamp(value, UTC)


def _moment(value: Any, name: str) -> datetime:  # noqa: ANN401 - JSON
    try:
        return parse_zulu(value)
    except (TypeError, ValueError) as error:
        raise Refused(Reason.MALFORMED_DATE, name) from error


def read_status(value: Any) -> tuple[StatusEntry, ...]:  # noqa: ANN401 - JSON
    """Read `credentialStatus`: one Bitstring entry, or one per purpose in alphabetical order.

    Raises:
        Refused: If it is anything else.
    """
    if isinstance(value, dict):
        return (_read_entry(value),)
    if not isinstance(value, list) or len(value) != len(_PURPOSES):
        raise Refused(Reason.MALFORMED_MEMBER, "credentialStatus")
    entries = tuple(map(_read_entry, value))
    if tuple(entry.purpose for entry in entries) != _PURPOSES:
        raise Refused(Reason.MALFORMED_MEMBER, "credentialStatus")
    return entries


def _read_entry(value: Any) -> StatusEntry:  # noqa: ANN401 - JSON
    is_entry = isinstance(value, dict) and value.keys() == _STATUS_MEMBERS
    if not is_entry or not all(isinstance(member, str) for member in value.values()):
        raise Refused(Reason.MALFORMED_MEMBER, "credentialStatus")
    url, index = value["statusListCredential"], value["statusListIndex"]
    is_right = (
        value["type"] == "BitstringStatusListEntry"
        and value["statusPurpose"] in _PURPOSES
        and _LIST_URL.match(url)
        and _INDEX.match(index)
        and value["id"] == f"{url}#{index}"
    )
    if not is_right:
        raise Refused(Reason.MALFORMED_MEMBER, "credentialStatus")
    return StatusEntry(url, int(index), value["statusPurpose"])
