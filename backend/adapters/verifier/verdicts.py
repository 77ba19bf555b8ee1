"""How decisions are written down."""

from collections.abc import Sequence
from dataclasses import replace

from backend.adapters.verifier.candidates import Candidate, Presented
from backend.adapters.verifier.interface import PresentationVerdict, Verdict, VerificationMethod
from backend.adapters.verifier.keys import thumbprint
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import PASSED, STAGE_OF, Refused, checks_until

CREDENTIAL_CHECKS = tuple(one for one in PASSED if one.name != "holder")
PRESENTATION_CHECKS = tuple(one for one in PASSED if one.name not in {"trust", "status"})
SIGNATURE_CHECKS = tuple(one for one in CREDENTIAL_CHECKS if one.name not in {"trust", "status"})


def refused_credential(
    refused: Refused, candidate: Candidate | None = None, *, signature_only: bool = False
) -> Verdict:
    """A refusal. What the document claims is repeated only so far that it can be found again."""
    verdict = Verdict(
        verified=False,
        checks=checks_until(refused.reason, refused.detail),
        reasons=(refused.reason,),
        signature_only=signature_only,
    )
    if candidate is None:
        return verdict
    return replace(
        verdict,
        format=candidate.format,
        issuer=candidate.issuer,
        credential_id=candidate.credential_id,
        credential_type=candidate.credential_type,
        credential_hash=candidate.hash,
    )


def accepted_credential(candidate: Candidate, *, signature_only: bool = False) -> Verdict:
    """An acceptance, with the facts that were signed."""
    return Verdict(
        verified=True,
        checks=SIGNATURE_CHECKS if signature_only else CREDENTIAL_CHECKS,
        reasons=(),
        format=candidate.format,
        issuer=candidate.issuer,
        subject=candidate.subject,
        credential_id=candidate.credential_id,
        credential_type=candidate.credential_type,
        claims=candidate.claims,
        credential_hash=candidate.hash,
        valid_from=candidate.valid_from,
        valid_until=candidate.valid_until,
        status_entries=candidate.status,
        assurance=None if signature_only else "verified",
        signature_only=signature_only,
    )


def refused_presentation(
    refused: Refused,
    presented: Presented | None = None,
    credentials: Sequence[Verdict] = (),
    *,
    signature_only: bool = False,
    is_signature_judged: bool = True,
) -> PresentationVerdict:
    """A refusal; its holder is not named, for nobody proved to be it."""
    checks = checks_until(refused.reason, refused.detail)
    names = {one.name for one in PRESENTATION_CHECKS} | {STAGE_OF[refused.reason]}
    if not is_signature_judged:
        names.discard("signature")
    return PresentationVerdict(
        verified=False,
        checks=tuple(one for one in checks if one.name in names),
        reasons=(refused.reason, *_reasons_of(credentials)),
        format=presented.format if presented else None,
        credentials=tuple(credentials),
        signature_only=signature_only,
    )


def require_verified(credentials: Sequence[Verdict]) -> None:
    """Refuse a presentation with a credential that was refused.

    Raises:
        Refused: `CREDENTIAL_REFUSED`.
    """
    if not all(one.verified for one in credentials):
        raise Refused(Reason.CREDENTIAL_REFUSED)


def _reasons_of(credentials: Sequence[Verdict]) -> list[Reason]:
    return list(dict.fromkeys(reason for one in credentials for reason in one.reasons))


def accepted_presentation(
    presented: Presented,
    method: VerificationMethod,
    credentials: Sequence[Verdict],
    *,
    signature_only: bool = False,
) -> PresentationVerdict:
    """An acceptance: the holder proved to hold the key."""
    return PresentationVerdict(
        verified=True,
        checks=PRESENTATION_CHECKS,
        reasons=(),
        format=presented.format,
        holder=presented.holder,
        holder_key=method,
        holder_key_thumbprint=thumbprint(method.public_jwk) if method.public_jwk else None,
        credentials=tuple(credentials),
        assurance=None if signature_only else "verified",
        signature_only=signature_only,
    )
