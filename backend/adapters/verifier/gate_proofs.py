"""The proof inside a document of our own types: one proof, exact members, pinned context."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backend.adapters.verifier import profiles
from backend.adapters.verifier.candidates import ProofSignature
from backend.adapters.verifier.dids import DID_URL
from backend.adapters.verifier.interface import Purpose
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.suites import ED25519_2020, Suite, suite_of

_CREATED = re.compile(r"[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}(?:\.[0-9]{1,6})?Z\Z")
_V1_CONTEXTS_2020 = (profiles.LDP_V1_2020, profiles.PRESENTATION_V1_2020)


def read_proof(document: Mapping[str, Any], *, purpose: Purpose) -> ProofSignature:
    """The one proof of a document.

    Raises:
        Refused: If there is none or several, or it is not exactly as its suite writes it.
    """
    proof = document["proof"]
    if isinstance(proof, list):
        raise Refused(Reason.PROOF_NOT_SINGLE)
    if not isinstance(proof, dict):
        raise Refused(Reason.PROOF_MISSING)
    suite = suite_of(proof)
    if suite is None:
        raise Refused(Reason.PROOF_TYPE_NOT_ALLOWED, str(proof.get("type"))[:40])
    if proof.get("proofPurpose") != purpose:
        raise Refused(Reason.PROOF_PURPOSE_WRONG)
    _require_members(suite, document, proof, purpose)
    if not DID_URL.match(proof["verificationMethod"]):
        raise Refused(Reason.METHOD_UNKNOWN)
    created_at(proof)
    return ProofSignature(suite, document, proof)


def _require_members(
    suite: Suite, document: Mapping[str, Any], proof: Mapping[str, Any], purpose: Purpose
) -> None:
    expected = {"type", "created", "verificationMethod", "proofPurpose", suite.value}
    if suite.is_data_integrity:
        expected.add("cryptosuite")
    if purpose == "authentication":
        expected |= {"challenge", "domain"}
    found = set(proof)
    if "@context" in proof and _is_pinned(suite, document, proof["@context"]):
        found.discard("@context")
    if found != expected or _needs_context(suite, document) != ("@context" in proof):
        raise Refused(Reason.PROOF_MEMBER_NOT_ALLOWED, ", ".join(sorted(found ^ expected))[:80])
    if not all(isinstance(proof[name], str) for name in expected):
        raise Refused(Reason.PROOF_MEMBER_NOT_ALLOWED)
    is_v2 = document["@context"] in (profiles.V2, profiles.PRESENTATION_V2)
    if is_v2 != suite.is_data_integrity:
        raise Refused(Reason.PROOF_TYPE_NOT_ALLOWED, suite.name)


def _is_pinned(suite: Suite, document: Mapping[str, Any], context: object) -> bool:
    if suite.is_data_integrity:
        return bool(context == document["@context"])
    return context == [suite.context]


def _needs_context(suite: Suite, document: Mapping[str, Any]) -> bool:
    """Whether the suite's terms are not defined by the document's own contexts."""
    if suite.context == ED25519_2020:
        return document["@context"] not in _V1_CONTEXTS_2020
    if suite.canonical == "json":
        return True  # it repeats the document's
    return suite.context is not None


def created_at(proof: Mapping[str, Any]) -> datetime:
    """When the proof says it was made.

    Raises:
        Refused: If it does not say so as a UTC time.
    """
    if not _CREATED.match(proof["created"]):
        raise Refused(Reason.MALFORMED_DATE, "created")
    try:
        return datetime.fromisoformat(proof["created"])
    except ValueError as error:
        raise Refused(Reason.MALFORMED_DATE, "created") from error
