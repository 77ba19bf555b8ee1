"""Reads foreign documents: data models 1.1 and 2.0, as JWT or with proofs inside."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.adapters.verifier import structure
from backend.adapters.verifier.candidates import (
    Candidate,
    JwtSignature,
    Presented,
    ProofSignature,
    hash_of,
)
from backend.adapters.verifier.canonical import NotCanonical, json_canonical
from backend.adapters.verifier.foreign_terms import require_covered, require_plain_context
from backend.adapters.verifier.interface import Document, DocumentFormat, Purpose
from backend.adapters.verifier.jwt import Jwt, read_jwt
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import (
    MAX_BYTES,
    MAX_FOREIGN_DEPTH,
    MAX_PRESENTATION_BYTES,
    measure,
    read_object,
)
from backend.adapters.verifier.suites import as_list, suite_of

MAX_PROOFS = 4
MAX_CREDENTIALS = 8
_WRAPPED = frozenset({None, "JWT", "jwt", "vc+jwt", "vp+jwt"})
_PLAIN = frozenset(
    {None, "JWT", "jwt", "vc+jwt", "vp+jwt", "vc-ld+jwt", "vp-ld+jwt", "vc+ld+json+jwt"}
)
_PROOF_MEMBERS = frozenset(
    {
        "@context",
        "id",
        "type",
        "cryptosuite",
        "created",
        "expires",
        "verificationMethod",
        "proofPurpose",
        "challenge",
        "domain",
        "nonce",
        "previousProof",
    }
)
_ENVELOPE = "data:application/vc+jwt,"
_MOST_SECONDS = 253_402_300_799  # the end of the year 9999


def open_document(document: Document, *, limit: int) -> str | Mapping[str, Any]:
    """A JWT as text, or a JSON object within the limits.

    Raises:
        Refused: If it is neither.
    """
    if isinstance(document, bytes):
        try:
            document = document.decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.NOT_UTF8) from error
    if isinstance(document, str):
        if len(document) > limit:
            raise Refused(Reason.TOO_LARGE)
        if not document.lstrip().startswith("{"):
            return document
        document = read_object(document, floats=True)
    measure(document, max_depth=MAX_FOREIGN_DEPTH, max_characters=limit)
    return document


def read_credential(document: Document, *, at: datetime) -> Candidate:
    """Read a foreign credential.

    Raises:
        Refused: With the first thing that is wrong.
    """
    opened = open_document(document, limit=MAX_BYTES)
    if not isinstance(opened, str):
        return _from_document(opened, at)
    jwt = read_jwt(opened, max_characters=MAX_BYTES, floats=True)
    measure(jwt.payload, max_depth=MAX_FOREIGN_DEPTH, max_characters=MAX_BYTES)
    return _from_jwt(jwt, at)


def _from_jwt(jwt: Jwt, at: datetime) -> Candidate:
    credential = _wrapped(jwt, "vc") if "vc" in jwt.payload else _plain(jwt, "issuer")
    if "proof" in credential:
        raise Refused(Reason.MEMBER_NOT_ALLOWED, "a proof inside a token")
    model = structure.require_credential(credential)
    issuer = structure.issuer_of(credential)
    start, end = _span(jwt.payload, credential, model)
    if (issued := _moment(jwt.payload, "iat")) and issued > at:
        raise Refused(Reason.PROOF_IN_FUTURE)
    return _candidate(
        credential,
        issuer,
        format_=DocumentFormat.JWT,
        signatures=(jwt.signature,),
        method_ids=(_kid(jwt, issuer),),
        hash_=hash_of(jwt.signature.token),
        model=model,
        span=(start, end),
    )


def _wrapped(jwt: Jwt, name: str) -> dict[str, Any]:
    """The `vc` of a token, filled in from the token's own claims (data model 1.1 §6.3.1)."""
    payload, inner = jwt.payload, jwt.payload[name]
    if jwt.header.typ not in _WRAPPED or not isinstance(inner, dict):
        raise Refused(Reason.MALFORMED_MEMBER, name)
    if not structure.is_url(payload.get("iss")):
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "iss")
    document = dict(inner)
    _fill(document, "id", payload.get("jti"))
    if name == "vp":
        _fill(document, "holder", payload["iss"])
        return document
    document.setdefault("issuer", payload["iss"])
    if structure.issuer_of(document) != payload["iss"]:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "iss")
    if "nbf" in payload and structure.model_of(document) == "1.1":
        moment = datetime.fromtimestamp(_seconds_of(payload, "nbf"), UTC)
        document.setdefault("issuanceDate", f"{moment:%Y-%m-%dT%H:%M:%SZ}")
    return _with_subject(document, payload)


def _with_subject(document: dict[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    subject = document.get("credentialSubject")
    if "sub" in payload and isinstance(subject, dict):
        subject = dict(subject)
        _fill(subject, "id", payload["sub"])
        document["credentialSubject"] = subject
    elif "sub" in payload:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "sub")
    return document


def _fill(document: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - JSON
    if value is not None and document.setdefault(name, value) != value:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, name)


def _plain(jwt: Jwt, party: str) -> dict[str, Any]:
    """The payload as the document itself (Securing Verifiable Credentials using JOSE)."""
    document = dict(jwt.payload)
    if jwt.header.typ not in _PLAIN:
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED, "typ")
    for claim, member in (("iss", party), ("jti", "id")):
        value = document.get(member)
        value = value.get("id") if isinstance(value, dict) else value
        if claim in document and document[claim] != value:
            raise Refused(Reason.JWT_CLAIM_MISMATCH, claim)
    subject = document.get("credentialSubject")
    if "sub" in document and (
        not isinstance(subject, dict) or subject.get("id") != document["sub"]
    ):
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "sub")
    return document


def _kid(jwt: Jwt, party: str) -> str | None:
    kid = jwt.header.kid
    return f"{party}{kid}" if kid is not None and kid.startswith("#") else kid


def _span(
    payload: Mapping[str, Any], credential: Mapping[str, Any], model: str
) -> tuple[datetime | None, datetime | None]:
    """The later start and the earlier end of what token and credential say."""
    start, end = structure.validity_of(credential, model)
    token_start, token_end = (_moment(payload, name) for name in ("nbf", "exp"))
    starts = [one for one in (start, token_start) if one is not None]
    ends = [one for one in (end, token_end) if one is not None]
    return max(starts, default=None), min(ends, default=None)


def _moment(payload: Mapping[str, Any], name: str) -> datetime | None:
    if name not in payload:
        return None
    return datetime.fromtimestamp(_seconds_of(payload, name), UTC)


def _seconds_of(payload: Mapping[str, Any], name: str) -> float:
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.MALFORMED_DATE, name)
    if not 0 <= value <= _MOST_SECONDS:
        raise Refused(Reason.MALFORMED_DATE, name)
    return value


def _from_document(document: Mapping[str, Any], at: datetime) -> Candidate:
    model = structure.require_credential(document)
    signatures = read_proofs(document, purpose="assertionMethod", at=at)
    return _candidate(
        document,
        structure.issuer_of(document),
        format_=DocumentFormat.LDP,
        signatures=signatures,
        method_ids=tuple(str(one.proof["verificationMethod"]) for one in signatures),
        hash_=_hash(document),
        model=model,
        span=structure.validity_of(document, model),
    )


def _hash(document: Mapping[str, Any]) -> str:
    try:
        return hash_of(json_canonical(document))
    except NotCanonical as error:
        raise Refused(Reason.MALFORMED_JSON) from error


def _candidate(
    credential: Mapping[str, Any],
    issuer: str,
    *,
    format_: DocumentFormat,
    signatures: tuple[JwtSignature | ProofSignature, ...],
    method_ids: tuple[str | None, ...],
    hash_: str,
    model: str,
    span: tuple[datetime | None, datetime | None],
) -> Candidate:
    subjects = structure.subjects_of(credential)
    types = [one for one in as_list(credential["type"]) if one != "VerifiableCredential"]
    claims = {name: value for name, value in subjects[0].items() if name != "id"}
    identifier = credential.get("id")
    return Candidate(
        format=format_,
        signatures=signatures,
        method_ids=method_ids,
        hash=hash_,
        model=model,
        issuer=issuer,
        subject=subjects[0].get("id"),
        credential_id=identifier if isinstance(identifier, str) else None,
        credential_type=types[0] if types else "VerifiableCredential",
        claims=claims if len(subjects) == 1 else {"subjects": subjects},
        valid_from=span[0],
        valid_until=span[1],
    )


def read_proofs(
    document: Mapping[str, Any], *, purpose: Purpose, at: datetime
) -> tuple[ProofSignature, ...]:
    """Every proof of a document; each has to hold.

    Raises:
        Refused: If there is none, or one is not as its suite writes it.
    """
    proofs = as_list(document.get("proof", []))
    if not proofs:
        raise Refused(Reason.PROOF_MISSING)
    if len(proofs) > MAX_PROOFS:
        raise Refused(Reason.PROOF_NOT_SINGLE)
    return tuple(_read_proof(document, proof, purpose, at) for proof in proofs)


def _read_proof(
    document: Mapping[str, Any],
    proof: Any,  # noqa: ANN401 - JSON
    purpose: Purpose,
    at: datetime,
) -> ProofSignature:
    suite = suite_of(proof) if isinstance(proof, dict) else None
    if suite is None:
        raise Refused(Reason.PROOF_TYPE_NOT_ALLOWED)
    if not proof.keys() <= _PROOF_MEMBERS | {suite.value} or suite.value not in proof:
        raise Refused(Reason.PROOF_MEMBER_NOT_ALLOWED)
    if proof.get("proofPurpose") != purpose:
        raise Refused(Reason.PROOF_PURPOSE_WRONG)
    if not structure.is_url(proof.get("verificationMethod")):
        raise Refused(Reason.METHOD_UNKNOWN)
    _require_time(proof, at)
    context = proof.get("@context", document["@context"])
    if suite.is_data_integrity and context != document["@context"]:
        raise Refused(Reason.CONTEXT_NOT_PLAIN, "proof")
    if suite.canonical == "rdf":
        require_plain_context(document["@context"])
        require_plain_context(proof.get("@context", []))
        require_covered(document)
    return ProofSignature(suite, document, proof)


def _require_time(proof: Mapping[str, Any], at: datetime) -> None:
    if "created" in proof and structure.read_moment(proof["created"], "created") > at:
        raise Refused(Reason.PROOF_IN_FUTURE)
    if "expires" in proof and structure.read_moment(proof["expires"], "expires") <= at:
        raise Refused(Reason.PROOF_TOO_OLD)


def read_presentation(document: Document, *, at: datetime) -> tuple[Presented, ...]:
    """Read a foreign presentation, once for each of its proofs.

    Raises:
        Refused: With the first thing that is wrong.
    """
    opened = open_document(document, limit=MAX_PRESENTATION_BYTES)
    if isinstance(opened, str):
        jwt = read_jwt(opened, max_characters=MAX_PRESENTATION_BYTES, floats=True)
        measure(jwt.payload, max_depth=MAX_FOREIGN_DEPTH, max_characters=MAX_PRESENTATION_BYTES)
        return (_presented_by_jwt(jwt, at),)
    model = structure.require_presentation(opened)
    signatures = read_proofs(opened, purpose="authentication", at=at)
    documents = _inside(opened, DocumentFormat.LDP)
    return tuple(
        Presented(
            format=DocumentFormat.LDP,
            signature=signature,
            method_id=str(signature.proof["verificationMethod"]),
            model=model,
            holder=_holder(opened),
            challenge=signature.proof.get("challenge"),
            domain=signature.proof.get("domain"),
            documents=documents,
        )
        for signature in signatures
    )


def _presented_by_jwt(jwt: Jwt, at: datetime) -> Presented:
    document = _wrapped(jwt, "vp") if "vp" in jwt.payload else _plain(jwt, "holder")
    if "proof" in document:
        raise Refused(Reason.MEMBER_NOT_ALLOWED, "a proof inside a token")
    model = structure.require_presentation(document)
    for name in ("iat", "nbf"):
        if (moment := _moment(jwt.payload, name)) and moment > at:
            raise Refused(Reason.PROOF_IN_FUTURE, name)
    holder, audience = _holder(document), jwt.payload.get("aud")
    return Presented(
        format=DocumentFormat.JWT,
        signature=jwt.signature,
        method_id=_kid(jwt, holder),
        model=model,
        holder=holder,
        challenge=jwt.payload.get("nonce"),
        domain=audience[0] if isinstance(audience, list) and len(audience) == 1 else audience,
        documents=_inside(document, DocumentFormat.JWT),
        expires_at=_moment(jwt.payload, "exp"),
    )


def _holder(document: Mapping[str, Any]) -> str:
    holder = document.get("holder")
    holder = holder.get("id") if isinstance(holder, dict) else holder
    if not structure.is_url(holder):
        raise Refused(Reason.HOLDER_MISSING)
    return str(holder)


def _inside(document: Mapping[str, Any], format_: DocumentFormat) -> tuple[Document, ...]:
    """The credentials, all of the presentation's own format, so that its signature covers them."""
    entries = as_list(document.get("verifiableCredential", []))
    if not entries:
        raise Refused(Reason.NO_CREDENTIALS)
    if len(entries) > MAX_CREDENTIALS:
        raise Refused(Reason.TOO_MANY_CREDENTIALS)
    if format_ is DocumentFormat.JWT:
        entries = [_enveloped(one) for one in entries]
    kind = str if format_ is DocumentFormat.JWT else dict
    if not all(isinstance(one, kind) for one in entries):
        raise Refused(Reason.MIXED_FORMATS)
    return tuple(entries)


def _enveloped(entry: Any) -> Any:  # noqa: ANN401 - JSON
    """The token in an EnvelopedVerifiableCredential (data model 2.0 §4.13)."""
    if isinstance(entry, dict) and entry.get("type") == "EnvelopedVerifiableCredential":
        return str(entry.get("id", "")).removeprefix(_ENVELOPE)
    return entry
