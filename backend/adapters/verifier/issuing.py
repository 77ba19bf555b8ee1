"""Makes and signs credentials and presentations of our own types.

`draft_credential` writes the plain credential, the `sign_…` functions secure it: as VC-JWT (data
model 1.1 or 2.0) or with a proof inside. What they make passes the verifier's gate.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from backend.adapters.verifier import profiles
from backend.adapters.verifier.dids import did_key, key_method
from backend.adapters.verifier.interface import StatusEntry
from backend.adapters.verifier.keys import SigningKey, base64url
from backend.adapters.verifier.suites import ED25519_2020, SUITES, Suite, sign_document

Model = Literal["1.1", "2.0"]
Secured = str | dict[str, Any]


def zulu(moment: datetime) -> str:
    """A time as credentials write it, whole seconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def draft_credential(
    credential_type: str,
    *,
    issuer: str,
    subject: str,
    claims: Mapping[str, Any],
    valid_from: datetime,
    valid_until: datetime,
    status: Sequence[StatusEntry] = (),
    credential_id: str | None = None,
    model: Model = "1.1",
) -> dict[str, Any]:
    """The plain credential of one of our types, to be signed.

    Args:
        credential_type: A name in `profiles.PROFILES`.
        issuer: DID of who signs it.
        subject: DID it speaks of.
        claims: In JSON form (camelCase names).
        valid_from: Its issuance, to the second.
        valid_until: Its end, to the second.
        status: Where its bits stand; at most one per purpose. Two entries are valid, but didkit
            cannot read them, so that the other engine judges such a credential alone.
        credential_id: `urn:uuid:…`; a random one if None.
        model: The data model; Data Integrity wants 2.0.

    Raises:
        KeyError: If the type is not one of ours.
        pydantic.ValidationError: If the claims do not fit the type.
    """
    profile = profiles.PROFILES[credential_type]
    profile.claims.model_validate(dict(claims))
    dates = ("issuanceDate", "expirationDate") if model == "1.1" else ("validFrom", "validUntil")
    credential: dict[str, Any] = {
        "@context": profiles.LDP_V1 if model == "1.1" else profiles.V2,
        "id": credential_id or f"urn:uuid:{uuid.uuid4()}",
        "type": list(profile.types),
        "issuer": issuer,
        dates[0]: zulu(valid_from),
        dates[1]: zulu(valid_until),
        "credentialSubject": {"id": subject, **claims},
    }
    if status:
        credential["credentialStatus"] = _status_member(status)
    return credential


def _status_member(status: Sequence[StatusEntry]) -> Any:  # noqa: ANN401 - an object or a list
    entries = [
        {
            "id": f"{entry.list_url}#{entry.index}",
            "type": "BitstringStatusListEntry",
            "statusPurpose": entry.purpose,
            "statusListIndex": str(entry.index),
            "statusListCredential": entry.list_url,
        }
        for entry in sorted(status, key=lambda entry: entry.purpose)
    ]
    return entries if len(entries) > 1 else entries[0]


def sign_jwt(header: Mapping[str, Any], payload: Mapping[str, Any], key: SigningKey) -> str:
    """A compact JWS (RFC 7515) with the key's algorithm."""
    full = {"alg": key.algorithm, **header}
    signing_input = ".".join(base64url(_compact(part)) for part in (full, payload))
    return f"{signing_input}.{base64url(key.sign(signing_input.encode()))}"


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def sign_credential_jwt(
    credential: Mapping[str, Any], key: SigningKey, *, method: str | None = None
) -> str:
    """Secure a drafted credential as VC-JWT.

    Args:
        credential: From `draft_credential`; data model 2.0 becomes `typ: vc+jwt`.
        key: The issuer's.
        method: Id of the verification method; that of the key's did:key if None. An issuer
            `did:denso:…` names its own method, such as `did:denso:operator:hq#key-1`.
    """
    kid = method or key_method(did_key(key))
    if credential["@context"][0] == profiles.CREDENTIALS_V2:
        return sign_jwt({"kid": kid, "typ": "vc+jwt"}, credential, key)
    subject = dict(credential["credentialSubject"])
    payload: dict[str, Any] = {
        "iss": credential["issuer"],
        "sub": subject.pop("id"),
        "jti": credential["id"],
        "nbf": _seconds(credential["issuanceDate"]),
        "exp": _seconds(credential["expirationDate"]),
        "vc": {
            "@context": profiles.JWT_V1,
            "type": credential["type"],
            "credentialSubject": subject,
        },
    }
    if "credentialStatus" in credential:
        payload["vc"]["credentialStatus"] = credential["credentialStatus"]
    return sign_jwt({"kid": kid, "typ": "JWT"}, payload, key)


def sign_presentation_jwt(
    credentials: Sequence[str],
    key: SigningKey,
    *,
    holder: str,
    challenge: str,
    domain: str,
    at: datetime,
    method: str | None = None,
    lifetime_s: int = 120,
) -> str:
    """A VP-JWT of VC-JWTs for one challenge; without any it proves possession of the key."""
    issued_at = int(at.timestamp())
    held = {"verifiableCredential": list(credentials)} if credentials else {}
    payload: dict[str, Any] = {
        "iss": holder,
        "aud": domain,
        "nonce": challenge,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + lifetime_s,
        "jti": f"urn:uuid:{uuid.uuid4()}",
        "vp": {
            "@context": profiles.PRESENTATION_V1,
            "type": ["VerifiablePresentation"],
            "holder": holder,
            **held,
        },
    }
    return sign_jwt({"kid": method or key_method(did_key(key)), "typ": "JWT"}, payload, key)


def sign_credential_ldp(
    credential: Mapping[str, Any],
    key: SigningKey,
    *,
    suite: str = "Ed25519Signature2020",
    at: datetime,
    method: str | None = None,
) -> dict[str, Any]:
    """Secure a drafted credential with a proof inside.

    Data Integrity (`eddsa-jcs-2022` …) wants the data model 2.0, the older suites 1.1.
    """
    document = dict(credential)
    chosen = SUITES[suite]
    if chosen.context == ED25519_2020:
        document["@context"] = profiles.LDP_V1_2020
    proof = _proof(chosen, at=at, purpose="assertionMethod", method=method, key=key)
    if chosen.canonical == "json":
        proof["@context"] = document["@context"]
    return sign_document(chosen, document, proof, key)


def sign_presentation_ldp(
    credentials: Sequence[Mapping[str, Any]],
    key: SigningKey,
    *,
    holder: str,
    challenge: str,
    domain: str,
    at: datetime,
    suite: str = "Ed25519Signature2020",
    method: str | None = None,
) -> dict[str, Any]:
    """A presentation with a proof inside, of credentials with proofs inside."""
    chosen = SUITES[suite]
    document: dict[str, Any] = {
        "@context": _presentation_context(chosen),
        "type": ["VerifiablePresentation"],
        "holder": holder,
    }
    if credentials:
        document["verifiableCredential"] = [dict(one) for one in credentials]
    proof = _proof(chosen, at=at, purpose="authentication", method=method, key=key)
    if chosen.canonical == "json":
        proof["@context"] = document["@context"]
    return sign_document(chosen, document, proof | {"challenge": challenge, "domain": domain}, key)


def _presentation_context(suite: Suite) -> list[Any]:
    if suite.is_data_integrity:
        return profiles.PRESENTATION_V2
    is_2020 = suite.context == ED25519_2020
    return profiles.PRESENTATION_V1_2020 if is_2020 else profiles.PRESENTATION_V1


def _proof(
    suite: Suite, *, at: datetime, purpose: str, method: str | None, key: SigningKey
) -> dict[str, Any]:
    proof: dict[str, Any] = {"type": suite.name}
    if suite.is_data_integrity:
        proof = {"type": "DataIntegrityProof", "cryptosuite": suite.name}
    elif suite.context not in {None, ED25519_2020}:
        proof["@context"] = [suite.context]
    return proof | {
        "created": zulu(at),
        "verificationMethod": method or key_method(did_key(key)),
        "proofPurpose": purpose,
    }
