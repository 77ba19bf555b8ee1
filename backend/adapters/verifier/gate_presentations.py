"""The strict gate of presentations: what they may contain and how they are bound."""

from collections.abc import Mapping
from typing import Any

from backend.adapters.verifier import profiles
from backend.adapters.verifier.candidates import Presented
from backend.adapters.verifier.dids import DidRefused, did_method
from backend.adapters.verifier.gate import require_members, seconds
from backend.adapters.verifier.gate_proofs import created_at, read_proof
from backend.adapters.verifier.interface import Document, DocumentFormat
from backend.adapters.verifier.jwt import TYPES_V1, read_jwt
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.strict_json import (
    MAX_DEPTH,
    MAX_PRESENTATION_BYTES,
    measure,
    read_object,
)

MAX_CREDENTIALS = 8
MAX_TEXT = 512
_TYPES = ["VerifiablePresentation"]
_JWT_NEEDED = frozenset({"iss", "aud", "nonce", "vp"})
_JWT_MEMBERS = _JWT_NEEDED | {"sub", "iat", "nbf", "exp", "jti"}
_VP_NEEDED = frozenset({"@context", "type"})
_VP_MEMBERS = _VP_NEEDED | {"holder", "verifiableCredential"}
_LDP_NEEDED = _VP_NEEDED | {"holder", "proof"}
_CONTEXTS = (profiles.PRESENTATION_V1, profiles.PRESENTATION_V1_2020, profiles.PRESENTATION_V2)


def read_presentation(document: Document) -> Presented:
    """Read a presentation of our own form.

    Raises:
        Refused: With the first thing that is wrong.
    """
    if isinstance(document, bytes):
        try:
            document = document.decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.NOT_UTF8) from error
    if isinstance(document, str):
        if not document.lstrip().startswith("{"):
            return _read_jwt(document)
        if len(document) > MAX_PRESENTATION_BYTES:
            raise Refused(Reason.TOO_LARGE)
        document = read_object(document)
    measure(document, max_depth=MAX_DEPTH, max_characters=MAX_PRESENTATION_BYTES)
    return _read_ldp(document)


def _read_jwt(token: str) -> Presented:
    jwt = read_jwt(token, max_characters=MAX_PRESENTATION_BYTES)
    payload, vp = jwt.payload, jwt.payload.get("vp")
    if jwt.header.has_foreign_members or jwt.header.typ not in TYPES_V1:
        raise Refused(Reason.JWT_HEADER_NOT_ALLOWED)
    if "iss" not in payload:
        raise Refused(Reason.HOLDER_MISSING)
    require_members(payload, _JWT_NEEDED, _JWT_MEMBERS, Reason.JWT_CLAIM_NOT_ALLOWED)
    if not isinstance(vp, dict):
        raise Refused(Reason.MALFORMED_MEMBER, "vp")
    require_members(vp, _VP_NEEDED, _VP_MEMBERS)
    if vp["@context"] != profiles.PRESENTATION_V1:
        raise Refused(Reason.CONTEXT_NOT_PINNED)
    if vp.get("holder", payload["iss"]) != payload["iss"]:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "holder")
    if payload.get("sub", payload["iss"]) != payload["iss"]:
        raise Refused(Reason.JWT_CLAIM_MISMATCH, "sub")
    if "jti" in payload:
        _text(payload["jti"], "jti")
    times = {name: seconds(payload[name]) for name in ("iat", "nbf", "exp") if name in payload}
    return Presented(
        format=DocumentFormat.JWT,
        signature=jwt.signature,
        method_id=jwt.header.kid,
        model="1.1",
        holder=_holder(payload["iss"]),
        challenge=_text(payload["nonce"], "nonce"),
        domain=_text(payload["aud"], "aud"),
        documents=_documents(vp, str),
        made_at=max((times[name] for name in ("iat", "nbf") if name in times), default=None),
        expires_at=times.get("exp"),
    )


def _read_ldp(document: Mapping[str, Any]) -> Presented:
    if document.get("@context") not in _CONTEXTS:
        raise Refused(Reason.CONTEXT_NOT_PINNED)
    if "proof" not in document:
        raise Refused(Reason.PROOF_MISSING)
    if "holder" not in document:
        raise Refused(Reason.HOLDER_MISSING)
    require_members(document, _LDP_NEEDED, _LDP_NEEDED | {"verifiableCredential"})
    signature = read_proof(document, purpose="authentication")
    proof = signature.proof
    return Presented(
        format=DocumentFormat.LDP,
        signature=signature,
        method_id=proof["verificationMethod"],
        model="2.0" if signature.suite.is_data_integrity else "1.1",
        holder=_holder(document["holder"]),
        challenge=proof["challenge"],
        domain=proof["domain"],
        documents=_documents(document, dict),
        made_at=created_at(proof),
    )


def _documents(vp: Mapping[str, Any], kind: type[str] | type[dict[str, Any]]) -> Any:  # noqa: ANN401
    """The credentials: all of the presentation's own format, so that its signature covers them."""
    if vp["type"] != _TYPES:
        raise Refused(Reason.TYPE_NOT_ALLOWED)
    documents = vp.get("verifiableCredential", [])
    if not isinstance(documents, list) or ("verifiableCredential" in vp and not documents):
        raise Refused(Reason.NO_CREDENTIALS)
    if len(documents) > MAX_CREDENTIALS:
        raise Refused(Reason.TOO_MANY_CREDENTIALS)
    if not all(isinstance(one, kind) for one in documents):
        raise Refused(Reason.MIXED_FORMATS)
    if any(one in documents[:place] for place, one in enumerate(documents)):
        raise Refused(Reason.MALFORMED_MEMBER, "the same credential twice")
    return tuple(documents)


def _holder(value: Any) -> str:  # noqa: ANN401 - JSON
    try:
        did_method(value)
    except (DidRefused, TypeError) as refused:
        raise Refused(Reason.MALFORMED_DID, "holder") from refused
    return str(value)


def _text(value: Any, name: str) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise Refused(Reason.MALFORMED_MEMBER, name)
    return value
