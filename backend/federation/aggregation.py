"""From a round's updates to the next model, with a verdict on every update.

One set of updates and opinions gives one model, bit by bit, in whatever order they arrived: all is
sorted by sender and summed in whole numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.federation.checking import Finding, Rules, Verdict, check, scaled
from backend.federation.committee import Opinion, judge
from backend.federation.fixed_point import LARGEST_UNITS, decode, encode
from backend.federation.networks import FloatArray
from backend.federation.strategies import VALIDATED, combine_by
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import Weights, content_hash, shapes_of

USUAL = Rules()


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one update.

    Attributes:
        participant: Who sent it.
        verdict: Accepted or why not.
        reason: In words; empty if accepted.
        norm: Euclidean length as it was sent; infinite where it has none.
        clip_factor: What it was multiplied by; 0 if it does not count.
        num_examples: The count it went in with, at most the cap; 0 if it does not count.
        gain: The committee's median relative fall of holdout loss; None if it was not scored.
        score: Deviations above (below if negative) the median update; None if it was not scored.
    """

    participant: str
    verdict: Verdict
    reason: str
    norm: float
    clip_factor: float
    num_examples: int
    gain: float | None
    score: float | None


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Aggregate:
    """The next model.

    Attributes:
        weights: Of the model; the parent's if no update was accepted.
        model_hash: Its content hash.
        judged: Every update, in the order of the senders' names.
    """

    weights: dict[str, FloatArray]
    model_hash: str
    judged: tuple[Judged, ...]

    @property
    def accepted(self) -> tuple[str, ...]:
        """Whose updates are in the model."""
        return tuple(o.participant for o in self.judged if o.verdict is Verdict.ACCEPTED)


def candidates_of(
    answers: Sequence[TrainAnswer], weights: Weights, rules: Rules = USUAL
) -> dict[str, Weights]:
    """What the committee tries, by sender: the part of each clipped update that `rules` name."""
    sound = [one for one in check(answers, weights, rules) if one.verdict is Verdict.ACCEPTED]
    return {one.participant: scaled(one.delta, rules.score_step) for one in sound}


def aggregate(
    strategy: str,
    weights: Weights,
    answers: Sequence[TrainAnswer],
    scores: Sequence[ScoreAnswer] = (),
    *,
    rules: Rules = USUAL,
) -> Aggregate:
    """Make the next model of a round's updates.

    `validated` checks, clips, caps, asks the committee's opinions and takes the trimmed mean. The
    other strategies are there to compare with: they refuse only what no arithmetic can take (other
    shapes, values that are not finite, impossible counts) and do as their papers say.

    Args:
        strategy: One of `STRATEGIES`.
        weights: The parent model.
        answers: Updates, in any order.
        scores: The committee's opinions, in any order; only `validated` reads them.
        rules: When an update counts.

    Raises:
        UnknownStrategy: If there is none of this name.
    """
    combine, is_validated = combine_by(strategy), strategy == VALIDATED
    findings = check(answers, weights, rules, is_clipped=is_validated)
    sound = [one for one in findings if one.verdict is Verdict.ACCEPTED]
    opinions = judge([o.participant for o in sound], scores, rules) if is_validated else {}
    kept = [one for one in sound if not _is_rejected(opinions, one)]
    judged = tuple(_judged(one, opinions.get(one.participant)) for one in findings)
    parent = encode(weights)
    if kept:
        updates = np.stack([encode(one.delta) for one in kept])
        moved = parent + combine(updates, [one.num_examples for one in kept], rules)
        # Plain averages of liars' updates leave the range within rounds; the next could not encode.
        parent = np.clip(moved, -LARGEST_UNITS, LARGEST_UNITS)
    model = decode(parent, shapes_of(weights))
    return Aggregate(model, content_hash(model), judged)


def _is_rejected(opinions: Mapping[str, Opinion], finding: Finding) -> bool:
    opinion = opinions.get(finding.participant)
    return opinion is not None and opinion.is_rejected


def _judged(finding: Finding, opinion: Opinion | None) -> Judged:
    verdict, reason = finding.verdict, finding.reason
    is_out = verdict is not Verdict.ACCEPTED
    if opinion is not None and opinion.is_rejected:
        verdict = Verdict.REJECTED_HARMFUL if opinion.is_harmful else Verdict.REJECTED_QUALITY
        reason, is_out = opinion.reason, True
    is_scored = opinion is not None and opinion.members > 0
    return Judged(
        participant=finding.participant,
        verdict=verdict,
        reason=reason,
        norm=finding.norm,
        clip_factor=0.0 if is_out else finding.clip_factor,
        num_examples=0 if is_out else finding.num_examples,
        gain=opinion.gain if opinion is not None and is_scored else None,
        score=opinion.score if opinion is not None and is_scored else None,
    )
