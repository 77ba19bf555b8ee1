"""Whoever presents: a challenge is used up, the presentation judged, the verdict written down."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog

from backend.adapters.verifier.interface import PresentationVerdict, Verifier
from backend.database import Database
from backend.features.credentials import challenges
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import current_epoch
from backend.features.credentials.registry import LocalRegistry
from backend.problems import FieldError, Problem

log = structlog.get_logger("tasco.presenting")
ANONYMOUS = "anonymous"


class PresentationRefused(Problem):
    """The presentation does not prove what it should."""

    status = HTTPStatus.UNAUTHORIZED
    fix = "Look at errors[]: each names a reason; then present anew with a new challenge."


@dataclass(frozen=True, slots=True)
class Counter:
    """Where presentations are judged.

    Attributes:
        domain: The address that presentations have to be made for.
        kept: What this process keeps between requests.
    """

    database: Database
    verifier: Verifier
    domain: str
    kept: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Presented:
    """A verified presentation, and the count of revocations from before it was looked at."""

    verdict: PresentationVerdict
    epoch: int

    @property
    def holder(self) -> str:
        """The DID that was proved."""
        return self.verdict.holder or ""


Presentation = str | dict[str, Any]


def receive(
    counter: Counter,
    presentation: Presentation,
    nonce: str,
    *,
    purpose: str,
    now: datetime,
    body_hash: str | None = None,
) -> Presented:
    """Use up the challenge and verify the presentation that answers it.

    Raises:
        ChallengeRefused: If the challenge does not hold.
        PresentationRefused: If the presentation does not verify; the challenge is used up.
    """
    epoch = take(counter, nonce, purpose=purpose, body_hash=body_hash, now=now)
    return Presented(judge(counter, presentation, nonce, purpose=purpose, now=now), epoch)


def take(
    counter: Counter, nonce: str, *, purpose: str, now: datetime, body_hash: str | None = None
) -> int:
    """Use up a challenge; gives the count of revocations so far.

    Raises:
        ChallengeRefused: If it does not hold.
    """
    with counter.database.transaction() as db:
        challenges.use_up(db, nonce, purpose=purpose, body_hash=body_hash, now=now)
        return current_epoch(db)


def judge(
    counter: Counter, presentation: Presentation, nonce: str, *, purpose: str, now: datetime
) -> PresentationVerdict:
    """Verify a presentation whose challenge was used up, and write the verdict down.

    Raises:
        PresentationRefused: If it does not verify.
    """
    with counter.database.reading() as db:
        verdict = counter.verifier.verify_presentation(
            presentation,
            challenge=nonce,
            domain=counter.domain,
            at=now,
            registry=LocalRegistry(db, counter.kept),
        )
    document_hash = hash_of(presentation)
    facts = {
        "purpose": purpose.partition(":")[0],
        "verified": verdict.verified,
        "reasons": [str(reason) for reason in verdict.reasons],
        "credentials": [one.credential_hash for one in verdict.credentials],
    }
    with counter.database.transaction() as db:
        note(
            db,
            now=now,
            actor=verdict.holder or ANONYMOUS,
            action="presentation.judged",
            object_id=document_hash,
            facts=facts,
        )
    if not verdict.verified:
        log.info("presentation.refused", reasons=facts["reasons"])
        raise PresentationRefused(errors=reasons_of(verdict))
    return verdict


def reasons_of(verdict: PresentationVerdict) -> list[FieldError]:
    """Why a presentation was refused, its credentials' reasons included."""
    found = [("/presentation", reason) for reason in verdict.reasons]
    for number, one in enumerate(verdict.credentials):
        found += [(f"/presentation/credentials/{number}", reason) for reason in one.reasons]
    return [FieldError(pointer=pointer, reason=str(reason)) for pointer, reason in found]


def hash_of(document: str | bytes | Mapping[str, Any]) -> str:
    """SHA-256 of a document as it came, hexadecimal."""
    if isinstance(document, bytes):
        return hashlib.sha256(document).hexdigest()
    text = document if isinstance(document, str) else json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
