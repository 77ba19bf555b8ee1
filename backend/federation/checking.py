"""What is checked of an update before anybody's opinion is asked: numbers, shapes, counts, size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from backend.federation.fixed_point import LARGEST
from backend.federation.networks import FloatArray
from backend.federation.tasks import TrainAnswer
from backend.federation.weights import Weights

MAX_EXAMPLES = 10**9


class Verdict(StrEnum):
    """What became of an update."""

    ACCEPTED = "accepted"
    REJECTED_NAN = "rejected_nan"
    REJECTED_SHAPE = "rejected_shape"
    REJECTED_COUNT = "rejected_count"
    REJECTED_DUPLICATE = "rejected_duplicate"
    REJECTED_COPY = "rejected_copy"
    REJECTED_NORM = "rejected_norm"
    REJECTED_QUALITY = "rejected_quality"
    REJECTED_HARMFUL = "rejected_harmful"


@dataclass(frozen=True, slots=True)
class Rules:
    """When an update counts, and how much.

    Attributes:
        copy_distance: Updates that differ by less than this part of their length count once: sites
            with data of their own never agree so far, one liar under several names does.
        norm_ratio: An update longer than so many times the median is rejected.
        gate: An update whose committee score lies so many deviations below the median is rejected.
        tolerance: Scores within this of the median are never rejected by the relative gate; a
            relative change of the holdout's loss.
        quality_threshold: An update of which a part (`score_step`) raises the committee's median
            holdout loss by more than this share is rejected, whatever the others are like.
        harm: A rejected update is harmful, not just unlike the others, if it raises the holdout
            loss of most members in both halves of the committee by more than this share.
        score_step: The committee tries this part of a clipped update. One update is one voice among
            many in the mean; whole, it is judged by how far it overshoots at sites unlike its own,
            in part by whether its direction helps.
        count_ratio: Examples beyond so many times the median do not count.
        trim_share: Of the accepted updates, left out at either end of each weight.
        attackers_share: Of the updates, that Krum supposes to be hostile.
    """

    copy_distance: float = 0.01
    norm_ratio: float = 3.0
    gate: float = 2.5
    tolerance: float = 0.01
    quality_threshold: float = 0.15
    harm: float = 0.05
    score_step: float = 0.25
    count_ratio: float = 1.0
    trim_share: float = 0.15
    attackers_share: float = 0.3


@dataclass(frozen=True, slots=True)
class Finding:
    """What the checks say of one update.

    Attributes:
        participant: Who sent it.
        verdict: Accepted, as far as checks can tell, or why not.
        reason: In words; empty if accepted.
        norm: Euclidean length; infinite where it has none.
        delta: The update clipped to the median length; empty if rejected.
        clip_factor: What it was multiplied by.
        num_examples: The count it goes in with.
    """

    participant: str
    verdict: Verdict
    reason: str
    norm: float
    delta: Weights
    clip_factor: float
    num_examples: int


def check(
    answers: Sequence[TrainAnswer], weights: Weights, rules: Rules, *, is_clipped: bool = True
) -> list[Finding]:
    """Check updates against the model and each other, in the order of their senders' names.

    Args:
        answers: As they came, in any order.
        weights: The model they were trained from.
        rules: What is allowed.
        is_clipped: Whether lengths are judged and clipped; plain strategies take them as they are.
    """
    found: dict[str, Finding] = {}
    for answer in sorted(answers, key=lambda one: one.participant):
        finding = _first_look(answer, weights)
        if answer.participant in found:  # which of two is meant nobody can say
            finding = _rejected(answer, Verdict.REJECTED_DUPLICATE, "sent twice in one round")
        found[answer.participant] = finding
    sound = {n: one for n, one in found.items() if one.verdict is Verdict.ACCEPTED}
    if is_clipped and sound:
        norm = float(np.median([one.norm for one in sound.values()]))
        count = float(np.median([one.num_examples for one in sound.values()]))
        cap = max(1, int(rules.count_ratio * count))
        found |= {n: _limited(one, norm, cap, rules) for n, one in sound.items()}
        found |= _copies(found, rules)
    return list(found.values())


def norm_of(delta: Weights) -> float:
    """Euclidean length over all arrays, summed in the order of their names."""
    return math.sqrt(
        math.fsum(float(np.sum(delta[name].astype(np.float64) ** 2)) for name in sorted(delta))
    )


def _first_look(answer: TrainAnswer, weights: Weights) -> Finding:
    shape_fault = _shape_fault(answer.delta, weights)
    if shape_fault:
        return _rejected(answer, Verdict.REJECTED_SHAPE, shape_fault)
    if not all(np.isfinite(array).all() for array in answer.delta.values()):
        return _rejected(answer, Verdict.REJECTED_NAN, "values that are not finite")
    if isinstance(answer.num_examples, bool) or not 0 < answer.num_examples <= MAX_EXAMPLES:
        reason = f"num_examples has to be 1 to {MAX_EXAMPLES}"
        return _rejected(answer, Verdict.REJECTED_COUNT, reason)
    largest = max(float(np.abs(array).max(initial=0.0)) for array in answer.delta.values())
    if largest > LARGEST:
        return _rejected(answer, Verdict.REJECTED_NORM, f"a value beyond {LARGEST:.0f}")
    norm, count = norm_of(answer.delta), int(answer.num_examples)
    return Finding(answer.participant, Verdict.ACCEPTED, "", norm, answer.delta, 1.0, count)


def _shape_fault(delta: Weights, weights: Weights) -> str:
    if set(delta) != set(weights):
        return "other arrays than the model has"
    for name, array in sorted(delta.items()):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            return f"{name} is no float32 array"
        if array.shape != weights[name].shape:
            return f"{name} has shape {array.shape}; {weights[name].shape} is asked for"
    return ""


def _rejected(answer: TrainAnswer, verdict: Verdict, reason: str) -> Finding:
    return Finding(answer.participant, verdict, reason, math.inf, {}, 0.0, 0)


def _limited(finding: Finding, median: float, cap: int, rules: Rules) -> Finding:
    """Clip the length to the median; examples are claims, nobody's counts beyond the cap."""
    if finding.norm > rules.norm_ratio * median:
        reason = f"length {finding.norm:.3g}; the median is {median:.3g}"
        return Finding(finding.participant, Verdict.REJECTED_NORM, reason, finding.norm, {}, 0.0, 0)
    factor = 1.0 if finding.norm <= median else median / finding.norm
    return replace(
        finding,
        delta=scaled(finding.delta, factor),
        clip_factor=factor,
        num_examples=min(finding.num_examples, cap),
    )


def _copies(found: Mapping[str, Finding], rules: Rules) -> dict[str, Finding]:
    """What is to be said of updates that are as good as another's; the first name's stands."""
    sound = [one for one in found.values() if one.verdict is Verdict.ACCEPTED and one.norm > 0]
    flat = np.array([_flat(one.delta) for one in sound])
    rejected: dict[str, Finding] = {}
    for later in range(1, len(sound)):
        apart = np.sqrt(((flat[:later] - flat[later]) ** 2).sum(axis=1))
        alike = np.flatnonzero(apart < rules.copy_distance * np.sqrt((flat[later] ** 2).sum()))
        if alike.size:
            copy, first = sound[later], sound[int(alike[0])]
            reason = f"the same as that of {first.participant}; they count once"
            rejected[copy.participant] = _out(copy, Verdict.REJECTED_COPY, reason)
    return rejected


def _flat(delta: Weights) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(delta[name]) for name in sorted(delta)]).astype(np.float64)


def _out(finding: Finding, verdict: Verdict, reason: str) -> Finding:
    return Finding(finding.participant, verdict, reason, finding.norm, {}, 0.0, 0)


def scaled(delta: Weights, factor: float) -> dict[str, FloatArray]:
    """An update times a factor."""
    return {name: array * np.float32(factor) for name, array in delta.items()}
