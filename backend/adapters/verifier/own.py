"""The whole decision about our own types: gate, key, trust, signature, dates, status, holder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.adapters.verifier import gate, gate_presentations, second_opinion
from backend.adapters.verifier.candidates import Candidate, JwtSignature, Presented
from backend.adapters.verifier.interface import (
    Document,
    PresentationVerdict,
    Registry,
    Verdict,
    VerificationMethod,
)
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused, require_none
from backend.adapters.verifier.resolving import ResolveWeb, choose, methods_of
from backend.adapters.verifier.signatures import Signatures, Signed
from backend.adapters.verifier.verdicts import (
    accepted_credential,
    accepted_presentation,
    refused_credential,
    refused_presentation,
    require_verified,
)

CLOCK_SKEW = timedelta(seconds=60)
PRESENTATION_AGE = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything but the document that a decision depends on."""

    at: datetime
    registry: Registry
    resolve_web: ResolveWeb | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """A credential on its way: refused already, or with signatures to judge."""

    candidate: Candidate | None = None
    signed: Signed | None = None
    refused: Refused | None = None


def judge_credential(
    document: Document,
    circumstances: Circumstances,
    signatures: Signatures,
    *,
    expected_type: str | None = None,
) -> Verdict:
    """Judge one credential."""
    examined = _examine(document, circumstances, expected_type=expected_type)
    (verdict,) = _conclude_all([examined], _reasons(signatures, [examined]), circumstances)
    return verdict


def judge_presentation(
    document: Document,
    circumstances: Circumstances,
    signatures: Signatures,
    *,
    challenge: str,
    domain: str,
) -> PresentationVerdict:
    """Judge a presentation and the credentials in it, their signatures together."""
    try:
        presented = gate_presentations.read_presentation(document)
        require_fresh(presented, circumstances.at)
        method = _method_of_holder(presented, circumstances)
    except Refused as refused:
        return refused_presentation(refused)
    inside = [_examine(one, circumstances) for one in presented.documents]
    if any(one.refused for one in inside):
        return _refuse_unasked(presented, inside, circumstances, signatures)
    candidates = [one.candidate for one in inside if one.candidate is not None]
    own = Signed(
        ((presented.signature, method),),
        lambda: second_opinion.about_presentation(presented, method, candidates),
    )
    reason, *reasons = _reasons(signatures, [Examined(signed=own), *inside])
    verdicts = _conclude_all(inside, reasons, circumstances, holder=presented.holder)
    try:
        require_bound(presented, reason, challenge=challenge, domain=domain)
        require_verified(verdicts)
    except Refused as refused:
        return refused_presentation(refused, presented, verdicts)
    return accepted_presentation(presented, method, verdicts)


def _refuse_unasked(
    presented: Presented,
    inside: Sequence[Examined],
    circumstances: Circumstances,
    signatures: Signatures,
) -> PresentationVerdict:
    """Refuse a presentation with a credential that did not pass, its own signature unjudged.

    Its canonical form would be worked out with whatever a stranger put into that credential.
    """
    reasons = _reasons(signatures, inside)
    verdicts = _conclude_all(inside, reasons, circumstances, holder=presented.holder)
    refused = Refused(Reason.CREDENTIAL_REFUSED)
    return refused_presentation(refused, presented, verdicts, is_signature_judged=False)


def _examine(
    document: Document, circumstances: Circumstances, *, expected_type: str | None = None
) -> Examined:
    """Gate, key and trust."""
    candidate = None
    try:
        candidate = gate.read_credential(document, expected_type=expected_type)
        return Examined(candidate, _examine_issuer(candidate, circumstances))
    except Refused as refused:
        return Examined(candidate, refused=refused)


def _examine_issuer(candidate: Candidate, circumstances: Circumstances) -> Signed:
    issued_at, registry = candidate.valid_from or circumstances.at, circumstances.registry
    if candidate.made_at and candidate.made_at > circumstances.at + CLOCK_SKEW:
        raise Refused(Reason.PROOF_IN_FUTURE)
    methods = methods_of(
        candidate.issuer,
        at=max(issued_at, candidate.made_at or issued_at),
        purpose="assertionMethod",
        registry=registry,
        resolve_web=circumstances.resolve_web,
    )
    (signature,), (named,) = candidate.signatures, candidate.method_ids
    algorithm = signature.algorithm if isinstance(signature, JwtSignature) else None
    otherwise = Reason.METHOD_NOT_OF_ISSUER
    method = choose(methods, named, algorithm=algorithm, otherwise=otherwise)
    untrusted = registry.accredits(
        candidate.issuer,
        candidate.credential_type,
        candidate.claims,
        subject=candidate.subject or "",
        issued_at=issued_at,
        at=circumstances.at,
    )
    if untrusted is not None:
        raise Refused(untrusted)
    return Signed(
        ((signature, method),),
        lambda: second_opinion.about_credential(candidate, signature, method),
        _cache_key(candidate, registry, method),
    )


def _cache_key(
    candidate: Candidate, registry: Registry, method: VerificationMethod
) -> tuple[str, str, str]:
    key = method.blockchain_account or (method.public_jwk or {}).get("x", "")
    return candidate.hash, registry.epoch, key


def _method_of_holder(presented: Presented, circumstances: Circumstances) -> VerificationMethod:
    methods = methods_of(
        presented.holder,
        at=circumstances.at,
        purpose="authentication",
        registry=circumstances.registry,
        resolve_web=circumstances.resolve_web,
    )
    signature = presented.signature
    algorithm = signature.algorithm if isinstance(signature, JwtSignature) else None
    otherwise = Reason.METHOD_NOT_OF_HOLDER
    return choose(methods, presented.method_id, algorithm=algorithm, otherwise=otherwise)


def _reasons(signatures: Signatures, examined: Sequence[Examined]) -> list[Reason | None]:
    """Why signatures do not hold; None where they do or were not asked about."""
    answers = iter(signatures.judge([one.signed for one in examined if one.signed is not None]))
    return [None if one.signed is None else next(answers) for one in examined]


def _conclude_all(
    examined: Sequence[Examined],
    reasons: Sequence[Reason | None],
    circumstances: Circumstances,
    holder: str | None = None,
) -> list[Verdict]:
    return [
        _conclude(one, reason, circumstances, holder)
        for one, reason in zip(examined, reasons, strict=True)
    ]


def _conclude(
    examined: Examined, reason: Reason | None, circumstances: Circumstances, holder: str | None
) -> Verdict:
    """Dates, status and holder of a credential whose signature was judged."""
    candidate = examined.candidate
    if examined.refused is not None or candidate is None:
        return refused_credential(examined.refused or Refused(Reason.ENGINE_FAILED), candidate)
    try:
        require_none(reason)
        require_valid(candidate, circumstances.at)
        _require_status(candidate, circumstances)
        if holder is not None:
            _require_holder(candidate, holder, circumstances)
    except Refused as refused:
        return refused_credential(refused, candidate)
    return accepted_credential(candidate)


def require_valid(candidate: Candidate, at: datetime) -> None:
    """Refuse a credential outside its dates; its last second is not included.

    Raises:
        Refused: `NOT_YET_VALID` or `EXPIRED`.
    """
    if candidate.valid_from is not None and candidate.valid_from > at + CLOCK_SKEW:
        raise Refused(Reason.NOT_YET_VALID)
    if candidate.valid_until is not None and at >= candidate.valid_until:
        raise Refused(Reason.EXPIRED)


def _require_status(candidate: Candidate, circumstances: Circumstances) -> None:
    for entry in candidate.status:
        reason = circumstances.registry.status(entry, at=circumstances.at)
        if reason is not None:
            raise Refused(reason)


def _require_holder(candidate: Candidate, holder: str, circumstances: Circumstances) -> None:
    subject, kind = candidate.subject or "", candidate.credential_type
    is_bound = subject == holder or circumstances.registry.binds(
        holder, subject, kind, at=circumstances.at
    )
    if not is_bound:
        raise Refused(Reason.HOLDER_NOT_SUBJECT)


def require_fresh(
    presented: Presented, at: datetime, *, age: timedelta | None = PRESENTATION_AGE
) -> None:
    """Refuse a presentation from the future or of long ago.

    Raises:
        Refused: `PROOF_IN_FUTURE` or `PROOF_TOO_OLD`.
    """
    if presented.made_at is not None:
        if presented.made_at > at + CLOCK_SKEW:
            raise Refused(Reason.PROOF_IN_FUTURE)
        if age is not None and presented.made_at < at - age:
            raise Refused(Reason.PROOF_TOO_OLD)
    if presented.expires_at is not None and at >= presented.expires_at:
        raise Refused(Reason.PROOF_TOO_OLD, "expired")


def require_bound(
    presented: Presented, reason: Reason | None, *, challenge: str | None, domain: str | None
) -> None:
    """Refuse a presentation that was not signed, or not for this challenge and domain.

    Raises:
        Refused: With the signature's reason, `CHALLENGE_MISMATCH` or `DOMAIN_MISMATCH`.
    """
    require_none(reason)
    if presented.challenge != challenge:
        raise Refused(Reason.CHALLENGE_MISMATCH)
    if presented.domain != domain:
        raise Refused(Reason.DOMAIN_MISMATCH)
