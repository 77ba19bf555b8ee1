"""Verification on request: our own profile, or any document against an explicit trust list."""

import contextlib
import json
from datetime import datetime
from http import HTTPStatus
from typing import Any

from backend.adapters.verifier.dids import DidRefused, read_trust
from backend.adapters.verifier.formats import AUTO, format_of, require_format
from backend.adapters.verifier.interface import (
    PresentationVerdict,
    Reason,
    Trust,
    Verdict,
)
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.verdicts import refused_credential
from backend.features.credentials.audit import note
from backend.features.credentials.presenting import Counter, hash_of
from backend.features.credentials.registry import LocalRegistry
from backend.features.credentials.schemas import CheckView, VerdictView, VerifyRequest
from backend.problems import FieldError, Problem


class TrustListUnreadable(Problem):
    """The trust list names a verification method that cannot be used."""

    status = HTTPStatus.CONFLICT
    fix = "Use DID URLs of did:key, did:jwk or did:pkh, or methods with publicKeyJwk."


class ProfileUnfit(Problem):
    """The profile and what came with it do not fit."""

    status = HTTPStatus.CONFLICT
    fix = "Send trust with the generic profile, and none with our own."


class ChallengeMissing(Problem):
    """A presentation is verified for a challenge and a domain."""

    status = HTTPStatus.CONFLICT
    fix = "Send challenge and domain as the presentation was made for."


def has_duplicates(body: bytes) -> bool:
    """Whether any object of a JSON text names a member twice, of which a parser keeps one.

    What is no JSON text is for the schema to refuse.
    """
    found = False

    def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        members = dict(pairs)
        found = found or len(members) != len(pairs)
        return members

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(body, object_pairs_hook=_object)
    return found


def refused_at_once(asked: VerifyRequest, *, repeats_member: bool) -> VerdictView | None:
    """The verdict on a document with a member twice, or of another format than it should be."""
    is_generic = asked.profile == "generic"
    if repeats_member:
        refused = Refused(Reason.DUPLICATE_MEMBER)
        return _view(refused_credential(refused, signature_only=is_generic))
    try:
        require_format(format_of(asked.document), asked.format or AUTO)
    except Refused as refused:
        return _view(refused_credential(refused, signature_only=is_generic))
    return None


def require_fitting(asked: VerifyRequest) -> None:
    """Our own profile has its own trust registry, the generic one needs to be told.

    Raises:
        ProfileUnfit: If the request says otherwise.
    """
    if (asked.trust is not None) != (asked.profile == "generic"):
        raise ProfileUnfit


def verify_credential(
    counter: Counter, asked: VerifyRequest, *, by: str, now: datetime
) -> VerdictView:
    """Judge a credential.

    Raises:
        TrustListUnreadable: If the trust list names no usable key.
    """
    at = asked.at or now
    if asked.profile == "generic":
        verdict = counter.verifier.verify_generic(
            asked.document,
            format=asked.format or AUTO,
            trust=_trust(asked),
            challenge=asked.challenge,
            domain=asked.domain,
            at=at,
        )
    else:
        with counter.database.reading() as db:
            registry = LocalRegistry(db, counter.kept)
            verdict = counter.verifier.verify_credential(asked.document, at=at, registry=registry)
    view = _view(verdict)
    _write_down(counter, asked, view, "credential.judged", by=by, now=now)
    return view


def verify_presentation(
    counter: Counter, asked: VerifyRequest, *, by: str, now: datetime
) -> VerdictView:
    """Judge a presentation and every credential in it; no challenge of ours is used up.

    Raises:
        TrustListUnreadable: If the trust list names no usable key.
        ChallengeMissing: If our own profile is asked without challenge or domain.
    """
    at = asked.at or now
    if asked.profile == "generic":
        verdict = counter.verifier.verify_generic_presentation(
            asked.document,
            format=asked.format or AUTO,
            trust=_trust(asked),
            challenge=asked.challenge,
            domain=asked.domain,
            at=at,
        )
    else:
        if asked.challenge is None or asked.domain is None:
            raise ChallengeMissing
        with counter.database.reading() as db:
            verdict = counter.verifier.verify_presentation(
                asked.document,
                challenge=asked.challenge,
                domain=asked.domain,
                at=at,
                registry=LocalRegistry(db, counter.kept),
            )
    view = _presentation_view(verdict)
    _write_down(counter, asked, view, "presentation.examined", by=by, now=now)
    return view


def _trust(asked: VerifyRequest) -> Trust:
    try:
        return read_trust(asked.trust or {})
    except DidRefused as refused:
        raise TrustListUnreadable(
            errors=[FieldError(pointer="/body/trust", reason=str(refused.reason))]
        ) from None


def _view(verdict: Verdict) -> VerdictView:
    return VerdictView(
        verified=verdict.verified,
        checks=[_check(one.name, one.passed, one.detail) for one in verdict.checks],
        reasons=[str(reason) for reason in verdict.reasons],
        signature_only=verdict.signature_only,
        format=verdict.format,
        issuer=verdict.issuer,
        subject=verdict.subject,
        credential_type=verdict.credential_type,
        credential_hash=verdict.credential_hash,
        valid_from=verdict.valid_from,
        valid_until=verdict.valid_until,
    )


def _presentation_view(verdict: PresentationVerdict) -> VerdictView:
    return VerdictView(
        verified=verdict.verified,
        checks=[_check(one.name, one.passed, one.detail) for one in verdict.checks],
        reasons=[str(reason) for reason in verdict.reasons],
        signature_only=verdict.signature_only,
        format=verdict.format,
        holder=verdict.holder,
        credentials=[_view(one) for one in verdict.credentials],
    )


def _check(name: str, passed: bool, detail: str) -> CheckView:  # noqa: FBT001 - the columns of a row
    return CheckView(name=name, passed=passed, detail=detail.encode(errors="replace").decode())


def _write_down(
    counter: Counter,
    asked: VerifyRequest,
    view: VerdictView,
    action: str,
    *,
    by: str,
    now: datetime,
) -> None:
    facts: dict[str, Any] = {
        "profile": asked.profile,
        "verified": view.verified,
        "reasons": view.reasons,
    }
    with counter.database.transaction() as db:
        object_id = hash_of(asked.document)
        note(db, now=now, actor=by, action=action, object_id=object_id, facts=facts)
