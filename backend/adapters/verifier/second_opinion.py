"""didkit's opinion of what the first engine accepted, asked of worker processes.

didkit 0.3.3 knows the data model 1.1, keys that describe themselves, and one status entry. It
judges JWT dates by the machine's clock, so it is asked only about tokens that are valid by that
clock too. About everything else it has no opinion.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from backend.adapters.verifier.candidates import Candidate, JwtSignature, Presented, Signature
from backend.adapters.verifier.interface import VerificationMethod
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.workers import (
    DidkitWorkers,
    Question,
    WorkerDied,
    WorkerOverdue,
    WorkersResting,
)

Opinion = Literal["agrees", "none", "unavailable"] | Reason
_OFFLINE = ("did:key:", "did:jwk:", "did:pkh:")
_OPINIONS: dict[str, Opinion] = {
    "ok": "agrees",
    "no": Reason.ENGINES_DISAGREE,
    "failed": Reason.ENGINE_FAILED,
}


@dataclass(frozen=True, slots=True)
class Span:
    """When a token is valid by its own word."""

    start: datetime | None
    end: datetime | None

    def holds_now(self) -> bool:
        """By the machine's clock, which is the one didkit reads."""
        wall = datetime.now(UTC)
        return not (self.start and wall < self.start) and not (self.end and wall >= self.end)


def about_credential(
    candidate: Candidate, signature: Signature, method: VerificationMethod
) -> Question | None:
    """What to ask about a credential; None where didkit can have no opinion."""
    if not _is_readable(candidate) or not _is_known(method):
        return None
    options = {"proofPurpose": "assertionMethod"}
    if method.controller != method.id.partition("#")[0]:
        options["verificationMethod"] = method.id  # our registry bound it to the issuer
    if isinstance(signature, JwtSignature):
        span = Span(candidate.valid_from, candidate.valid_until)
        if candidate.method_ids[0] is None or not span.holds_now():
            return None
        return _question("credential", signature.token, options | {"proofFormat": "jwt"})
    if "verificationMethod" in options:
        return None
    return _question("credential", json.dumps(dict(signature.document)), options)


def about_presentation(
    presented: Presented, method: VerificationMethod, candidates: Sequence[Candidate]
) -> Question | None:
    """What to ask about a presentation; it is read with the credentials inside."""
    is_known = presented.model == "1.1" and presented.method_id is not None and _is_known(method)
    is_own = method.controller == method.id.partition("#")[0]
    if not is_known or not is_own or not all(map(_is_readable, candidates)):
        return None
    options = {"proofPurpose": "authentication"}
    if presented.challenge is not None:
        options["challenge"] = presented.challenge
    if presented.domain is not None:
        options["domain"] = presented.domain
    signature = presented.signature
    if isinstance(signature, JwtSignature):
        if not Span(presented.made_at, presented.expires_at).holds_now():
            return None
        return _question("presentation", signature.token, options | {"proofFormat": "jwt"})
    return _question("presentation", json.dumps(dict(signature.document)), options)


def _question(
    kind: Literal["credential", "presentation"], document: str, options: dict[str, str]
) -> Question:
    return kind, document, json.dumps(options)


def _is_readable(candidate: Candidate) -> bool:
    return candidate.model == "1.1" and len(candidate.status) <= 1


def _is_known(method: VerificationMethod) -> bool:
    is_p384 = method.public_jwk is not None and method.public_jwk["crv"] == "P-384"
    return method.id.startswith(_OFFLINE) and not is_p384


def ask(workers: DidkitWorkers, questions: Sequence[Question | None]) -> list[Opinion]:
    """One opinion per question, asked together.

    `unavailable` means that workers rest after repeated failures; the first engine then carries the
    load alone. A document that makes a worker late or kills it is refused.
    """
    asked = [question for question in questions if question is not None]
    if not asked:
        return ["none"] * len(questions)
    try:
        answers = iter([_OPINIONS[answer] for answer in workers.ask(asked)])
    except WorkersResting:
        return ["none" if question is None else "unavailable" for question in questions]
    except WorkerOverdue:
        return _instead(questions, Reason.ENGINE_OVERDUE)
    except WorkerDied:
        return _instead(questions, Reason.ENGINE_FAILED)
    return ["none" if question is None else next(answers) for question in questions]


def _instead(questions: Sequence[Question | None], reason: Reason) -> list[Opinion]:
    return ["none" if question is None else reason for question in questions]
