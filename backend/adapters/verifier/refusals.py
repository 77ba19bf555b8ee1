"""How a stage of the verifier says no, and which stage a reason belongs to."""

from backend.adapters.verifier.interface import Check
from backend.adapters.verifier.reasons import Reason

STAGES = ("document", "profile", "proof", "key", "trust", "signature", "dates", "status", "holder")
_FIRST_OF = {  # the first reason of each stage, in the order of the enumeration
    "document": Reason.TOO_LARGE,
    "profile": Reason.CONTEXT_NOT_PINNED,
    "proof": Reason.PROOF_MISSING,
    "key": Reason.UNSUPPORTED_DID_METHOD,
    "trust": Reason.UNTRUSTED_ISSUER,
    "signature": Reason.SIGNATURE_INVALID,
    "dates": Reason.NOT_YET_VALID,
    "status": Reason.REVOKED,
    "holder": Reason.CHALLENGE_MISMATCH,
}


class Refused(Exception):
    """The document is not accepted."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


def require_none(reason: Reason | None) -> None:
    """Refuse if there is a reason to.

    Raises:
        Refused: With the reason.
    """
    if reason is not None:
        raise Refused(reason)


def _stages() -> dict[Reason, str]:
    first = {reason: stage for stage, reason in _FIRST_OF.items()}
    stage, found = STAGES[0], {}
    for reason in Reason:
        stage = first.get(reason, stage)
        found[reason] = stage
    return found


STAGE_OF = _stages()
PASSED = tuple(Check(stage, passed=True) for stage in STAGES)


def checks_until(reason: Reason, detail: str = "") -> tuple[Check, ...]:
    """The stages that were passed, and the one that was not."""
    place = STAGES.index(STAGE_OF[reason])
    return (*PASSED[:place], Check(STAGES[place], passed=False, detail=detail or str(reason)))
