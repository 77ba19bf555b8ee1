"""Who takes part in a round, who judges it, and what the judges' opinions say together.

Draws are orders by SHA-256 of a recorded seed: whoever has seed and names draws the same again, on
any machine and in any version of any library.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.federation.checking import Rules
from backend.federation.tasks import ScoreAnswer

LARGEST_COMMITTEE = 21
SIGMA_OF_MAD = 1.4826  # of a normal distribution
HELPFUL = 0.5
SMALLEST_HALF = 2


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the committee says of one update.

    Attributes:
        gain: Median over the members of how far the update lowers their holdout loss; relative.
        score: How many deviations it lies above the median update (below if negative).
        members: How many members gave it a number.
        is_rejected: Whether it fails.
        reason: Why; empty if it does not.
        is_harmful: Whether two halves of the committee that share no member both find it harmful.
    """

    gain: float
    score: float
    members: int
    is_rejected: bool
    reason: str
    is_harmful: bool = False


def draw(
    names: Sequence[str], count: int, *, seed: int, round_number: int, purpose: str
) -> tuple[str, ...]:
    """Draw without replacement, in the order of the names.

    Args:
        names: To draw from; duplicates count once.
        count: How many at most.
        seed: Of the experiment, recorded.
        round_number: Of the round.
        purpose: Draws for different purposes are independent, such as `train` and `committee`.
    """

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{round_number}\n{purpose}\n{name}".encode()).digest()

    return tuple(sorted(sorted(set(names), key=place)[: max(count, 0)]))


def committee_size(participants: int) -> int:
    """How many judge: everybody up to 21.

    A small committee drawn from many liars is often theirs: of seven out of twenty with eight
    liars they hold a majority more than once in four rounds, of all twenty never.
    """
    return min(participants, LARGEST_COMMITTEE)


def judge(
    candidates: Sequence[str], scores: Sequence[ScoreAnswer], rules: Rules
) -> dict[str, Opinion]:
    """Put the members' opinions of all candidates together.

    Members are compared with themselves first: what counts is how an update does at a member
    against that member's median update, in units of the updates' usual spread (median absolute
    deviation). An update fails if the median member finds it worse than the median update by more
    than the gate allows, or harmful beyond the quality threshold. A member has no say about its own
    update, none at all if it said two different things, and numbers outside [-1, 1] count as these
    bounds.

    Args:
        candidates: Senders of the updates that are judged.
        scores: The members' gains; missing or not finite is no opinion.
        rules: Gate, tolerance and threshold.

    Returns:
        An opinion of each candidate, by sender; without any member's word all pass.
    """
    votes, names = _votes(scores), sorted(set(candidates))
    table = np.array([[_gain(vote, name) for vote in votes] for name in names])
    if not np.isfinite(table).any():
        return {name: Opinion(0.0, 0.0, 0, is_rejected=False, reason="") for name in names}
    gains = _row_medians(table)
    paired = _row_medians(table - _row_medians(table.T)[None, :])
    centre = float(np.nanmedian(paired))
    spread = float(np.nanmedian(np.abs(paired - centre)))
    # Where all help much, they may differ much: who helps half as much as the median is no liar.
    tolerance = max(rules.tolerance, HELPFUL * float(np.nanmedian(gains)))
    scale = max(SIGMA_OF_MAD * spread, tolerance / rules.gate)
    opinions = {}
    for name, row, gain, value in zip(names, table, gains, paired, strict=True):
        members = {vote.participant: float(one) for vote, one in zip(votes, row, strict=True)}
        score = float((value - centre) / scale)
        opinions[name] = _opinion(name, float(gain), score, members, rules)
    return opinions


def _votes(scores: Sequence[ScoreAnswer]) -> list[ScoreAnswer]:
    """One answer of each member, in the order of their names; none of who contradicts itself."""
    said: dict[str, list[ScoreAnswer]] = {}
    for one in scores:
        said.setdefault(one.participant, []).append(one)
    return [
        each[0]
        for _, each in sorted(said.items())
        if all(dict(one.gains) == dict(each[0].gains) for one in each)
    ]


def _gain(vote: ScoreAnswer, name: str) -> float:
    gain = vote.gains.get(name, math.nan)
    if vote.participant == name or not math.isfinite(gain):
        return math.nan
    return min(max(float(gain), -1.0), 1.0)


def _row_medians(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of the known values; NaN where a row has none."""
    return np.array(
        [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else math.nan for row in table]
    )


def _opinion(
    name: str, gain: float, score: float, gains: Mapping[str, float], rules: Rules
) -> Opinion:
    known = {member: one for member, one in gains.items() if math.isfinite(one)}
    if not known:
        return Opinion(0.0, 0.0, 0, is_rejected=False, reason="")
    reason = ""
    if gain < -rules.quality_threshold:
        reason = f"raises the median holdout loss by {-gain:.1%}"
    elif score < -rules.gate:
        reason = f"{-score:.1f} deviations below the median update"
    is_harmful = bool(reason) and _halves_agree(name, known, rules)
    return Opinion(
        gain, score, len(known), is_rejected=bool(reason), reason=reason, is_harmful=is_harmful
    )


def _halves_agree(name: str, gains: Mapping[str, float], rules: Rules) -> bool:
    """Whether more than half of either half of the members, drawn by hash, find it harmful.

    While at most half of the members lie, they hold the majority of one half at most: they cannot
    make an honest update harmful, though they can spare one of theirs the name.
    """

    def place(member: str) -> bytes:
        return hashlib.sha256(f"{name}\n{member}".encode()).digest()

    order = sorted(gains, key=place)
    halves = (order[::2], order[1::2])
    against = [[gains[one] < -rules.harm for one in half] for half in halves]
    return all(len(each) >= SMALLEST_HALF and 2 * sum(each) > len(each) for each in against)
