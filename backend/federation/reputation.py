"""Who keeps failing: exclusion from a round is no punishment, repeated failure has consequences.

An honest site unlike the others is left out now and then; that alone never counts. What counts are
failures that arithmetic shows, and updates that two committees without a common member both find
harmful (`committee.judge` splits each round's committee in two).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.federation.checking import Verdict

SUSPENDED_AFTER = 3
REMEMBERED_ROUNDS = 20
"""Failures further back are forgotten."""

SELF_EVIDENT = frozenset(
    {Verdict.REJECTED_NAN, Verdict.REJECTED_SHAPE, Verdict.REJECTED_COUNT, Verdict.REJECTED_NORM}
)
"""Failures that arithmetic shows; nobody's opinion is needed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that counts.

    Attributes:
        round_number: When, counted over all rounds of the federation.
        verdict: What failed.
        committee: Who judged; empty if arithmetic did.
    """

    round_number: int
    verdict: Verdict
    committee: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reputation:
    """What is remembered of a participant.

    Attributes:
        participant: Whom.
        failures: Those that count, in order.
    """

    participant: str
    failures: tuple[Failure, ...] = ()

    @property
    def is_suspended(self) -> bool:
        """Whether it has failed often enough not to be asked again until somebody looks."""
        return len(self.failures) >= SUSPENDED_AFTER

    def after(
        self, verdict: Verdict, *, round_number: int, committee: Iterable[str]
    ) -> "Reputation":
        """What is remembered after a round.

        Args:
            verdict: On its update.
            round_number: Of the round.
            committee: Who gave opinions on it.
        """
        recent = tuple(
            one for one in self.failures if one.round_number > round_number - REMEMBERED_ROUNDS
        )
        if verdict in SELF_EVIDENT:
            recent = (*recent, Failure(round_number, verdict, frozenset()))
        elif verdict is Verdict.REJECTED_HARMFUL:
            recent = (*recent, Failure(round_number, verdict, frozenset(committee)))
        return replace(self, failures=recent)
