"""Judges foreign documents against an explicit list of issuers: signature, dates, binding, shape.

What such a verdict says is `signature_only`: profile, accreditation and status were not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.adapters.verifier import foreign_reading
from backend.adapters.verifier.candidates import Candidate, JwtSignature, Presented, Signature
from backend.adapters.verifier.dids import DidRefused, resolve_offline
from backend.adapters.verifier.formats import require_format
from backend.adapters.verifier.interface import (
    Document,
    PresentationVerdict,
    Trust,
    Verdict,
    VerificationMethod,
)
from backend.adapters.verifier.own import CLOCK_SKEW, require_bound, require_fresh, require_valid
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused, require_none
from backend.adapters.verifier.resolving import choose
from backend.adapters.verifier.signatures import Signatures, Signed
from backend.adapters.verifier.verdicts import (
    accepted_credential,
    accepted_presentation,
    refused_credential,
    refused_presentation,
    require_verified,
)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a presentation has to be made for; None for what it must not name."""

    challenge: str | None
    domain: str | None


def judge_credential(
    document: Document, signatures: Signatures, *, format_: str, trust: Trust, at: datetime
) -> Verdict:
    """Judge one foreign credential."""
    candidate = None
    try:
        candidate = foreign_reading.read_credential(document, at=at + CLOCK_SKEW)
        require_format(candidate.format, format_)
        (reason,) = signatures.judge([_signed(candidate, trust)])
        require_none(reason)
        require_valid(candidate, at)
    except Refused as refused:
        return refused_credential(refused, candidate, signature_only=True)
    return accepted_credential(candidate, signature_only=True)


def _signed(candidate: Candidate, trust: Trust) -> Signed:
    methods = trust.get(candidate.issuer)
    if methods is None:
        raise Refused(Reason.UNTRUSTED_ISSUER)
    pairs = zip(candidate.signatures, candidate.method_ids, strict=True)
    return Signed(
        tuple(
            (one, _method(methods, one, named, Reason.METHOD_NOT_OF_ISSUER)) for one, named in pairs
        )
    )


def _method(
    methods: Sequence[VerificationMethod],
    signature: Signature,
    named: str | None,
    otherwise: Reason,
) -> VerificationMethod:
    """The listed method of that id, or of that fragment: every listed one may sign."""
    algorithm = signature.algorithm if isinstance(signature, JwtSignature) else None
    if named is not None and all(method.id != named for method in methods):
        fragment = named.rpartition("#")[2]
        alike = [one for one in methods if one.id.rpartition("#")[2] == fragment]
        named = alike[0].id if len(alike) == 1 else named
    return choose(methods, named, algorithm=algorithm, otherwise=otherwise)


def judge_presentation(
    document: Document,
    signatures: Signatures,
    binding: Binding,
    *,
    format_: str,
    trust: Trust,
    at: datetime,
) -> PresentationVerdict:
    """Judge a foreign presentation and every credential in it."""
    presented = None
    verdicts: list[Verdict] = []
    try:
        proofs = foreign_reading.read_presentation(document, at=at + CLOCK_SKEW)
        presented = proofs[0]
        require_format(presented.format, format_)
        methods = [_method_of_holder(one, trust) for one in proofs]
        reasons = signatures.judge(
            [
                Signed(((one.signature, method),))
                for one, method in zip(proofs, methods, strict=True)
            ]
        )
        for one, reason in zip(proofs, reasons, strict=True):
            require_bound(one, reason, challenge=binding.challenge, domain=binding.domain)
        require_fresh(presented, at, age=None)
        verdicts = [
            _judge_inside(one, signatures, presented, trust, at) for one in presented.documents
        ]
        require_verified(verdicts)
    except Refused as refused:
        return refused_presentation(refused, presented, verdicts, signature_only=True)
    return accepted_presentation(presented, methods[0], verdicts, signature_only=True)


def _method_of_holder(presented: Presented, trust: Trust) -> VerificationMethod:
    """A listed method of the holder, or the one of a DID that describes itself."""
    methods = trust.get(presented.holder)
    try:
        methods = resolve_offline(presented.holder) if methods is None else methods
    except DidRefused as refused:
        raise Refused(refused.reason) from refused
    return _method(methods, presented.signature, presented.method_id, Reason.METHOD_NOT_OF_HOLDER)


def _judge_inside(
    document: Document, signatures: Signatures, presented: Presented, trust: Trust, at: datetime
) -> Verdict:
    verdict = judge_credential(
        document, signatures, format_=str(presented.format), trust=trust, at=at
    )
    if verdict.verified and verdict.subject not in {None, presented.holder}:
        return refused_credential(Refused(Reason.HOLDER_NOT_SUBJECT), signature_only=True)
    return verdict
