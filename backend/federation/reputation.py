"""Who keeps failing: exclusion from a round is no punishment, repeated failure has consequences.

An honest site unlike the others is left out now and then. What counts against a participant are
failures that different committees agree upon; a committee of much the same members counts once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.federation.checking import Verdict

SUSPENDED_AFTER = 3
LARGEST_OVERLAP = 0.75
REMEMBERED_ROUNDS = 20
"""Failures further back are forgotten."""

SELF_EVIDENT = frozenset(
    {Verdict.REJECTED_NAN, Verdict.REJECTED_SHAPE, Verdict.REJECTED_COUNT, Verdict.REJECTED_NORM}
)
"""Failures that arithmetic shows; nobody's opinion is needed, and every round counts."""


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
        now = replace(self, failures=recent)
        failure = Failure(round_number, verdict, frozenset(committee))
        if verdict in SELF_EVIDENT:
            return replace(now, failures=(*recent, replace(failure, committee=frozenset())))
        if verdict is not Verdict.REJECTED_QUALITY or not _is_another(failure, recent):
            return now
        return replace(now, failures=(*recent, failure))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Members in both over members in either; 1 for two empty committees."""
    return len(one & other) / len(one | other) if one | other else 1.0


def _is_another(failure: Failure, before: Iterable[Failure]) -> bool:
    judged = [one for one in before if one.committee]
    return all(overlap(failure.committee, one.committee) <= LARGEST_OVERLAP for one in judged)
