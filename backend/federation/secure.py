"""Rounds whose coordinator sees sums only: updates go in masked, their weighted mean comes out.

What is masked cannot be looked at one by one, so participants clip their own updates, and what is
judged is the mean: its length, and what the committee says of it. One liar can spoil a round, whose
mean is then refused as a whole; who it was nobody can tell. Between this and validating every
update lie `cells`.

A coordinator asks in four stages, and keeps the letters of each before it goes on: from `Letters`
and the participants' own memory an interrupted round comes to the same sum.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.federation import unmasking
from backend.federation.checking import norm_of
from backend.federation.fixed_point import ONE, decode
from backend.federation.masking_messages import MaskingRefused, members_of, names_in
from backend.federation.secure_participant import MOST_EXAMPLES
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    ScoreAnswer,
    Stage,
    TrainAnswer,
    TrainTask,
    context_of_sum,
)
from backend.federation.unmasking import SecureSumFailed
from backend.federation.weights import Shapes, Weights

STAGES: tuple[Stage, ...] = ("hello", "share", "mask", "reveal")
WHOLE = "all sites"
"""The name of its one group. Like those of cells it has a space, which no site's id has."""

CLIP_NORM = 2.0
"""Public, and the same for all: whoever would clip to others' lengths would have to know them."""

HARMFUL = 0.02
"""A mean that raises the median member's holdout loss by more than this share is refused."""

_SLACK = 1e-3  # of rounding, on lengths

Ask = Callable[[Sequence[MaskTask]], Sequence[MaskAnswer]]
Letters = dict[str, dict[str, dict[str, str]]]
"""By stage, then group, then participant: what it said, hexadecimal, and its statement about it
after a space; JSON, to be stored."""


@dataclass(frozen=True, slots=True)
class GroupSum:
    """What came of one group.

    Attributes:
        mean: Its mean update under the group's name, with the statements of its members about
            their masked vectors, one a line; None if there is none.
        members: Who is in it, in order; empty if there is none.
        reason: Why there is none.
    """

    mean: TrainAnswer | None
    members: tuple[str, ...] = ()
    reason: str = ""


def mean_of(total: NDArray[np.int64], shapes: Shapes, *, members: int) -> tuple[Weights, int]:
    """The weighted mean update in a sum, and its examples.

    Raises:
        SecureSumFailed: If no honest members can have sent it.
    """
    count = int(total[-1])
    if not members <= count <= members * MOST_EXAMPLES:
        raise SecureSumFailed(f"{count} examples of {members} participants")
    mean = (total[:-1] + count // 2) // count
    if int(np.abs(mean).max(initial=0)) > ONE * 2**18:
        raise SecureSumFailed("the mean has values beyond every update's")
    return decode(mean, shapes), count


class SecureSums:
    """The sums of one round, stage by stage: groups do their stages side by side.

    Args:
        groups: The training tasks of each group, by its name.
        shapes: Of the model.
        clip_norm: Longest update.
        letters: What was said so far; nothing at the beginning.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[TrainTask]],
        shapes: Shapes,
        *,
        clip_norm: float = CLIP_NORM,
        letters: Letters | None = None,
    ) -> None:
        self._groups, self._shapes, self._clip_norm = dict(groups), dict(shapes), clip_norm
        self.letters: Letters = dict(letters or {})

    @property
    def stage(self) -> Stage | None:
        """The next stage; None after the last."""
        return next((one for one in STAGES if one not in self.letters), None)

    def tasks(self) -> list[MaskTask]:
        """What is asked in the next stage, and whom: nobody of a group that has failed."""
        stage = self.stage
        if stage is None:
            return []
        return [task for group in self._groups for task in self._tasks(group, stage)]

    def step(self, ask: Ask) -> None:
        """Ask for the next stage and keep what was said; who says nothing has dropped out."""
        stage, tasks = self.stage, self.tasks()
        if stage is None:
            return
        said = {one.participant: one for one in ask(tasks) if one.stage == stage} if tasks else {}
        self.letters[stage] = {
            group: {
                one.participant: _kept(said[one.participant])
                for one in members
                if one.participant in said
            }
            for group, members in self._groups.items()
        }

    def sums(self) -> dict[str, GroupSum]:
        """What came of every group after the last stage."""
        return {group: self._sum(group) for group in self._groups}

    def _tasks(self, group: str, stage: Stage) -> Iterator[MaskTask]:
        """The tasks of a stage; none for a group that has failed."""
        try:
            letters = self._letters_for(group, stage)
        except (SecureSumFailed, MaskingRefused):
            return
        for task in self._groups[group]:
            if stage == "hello" or task.participant in letters:
                own = letters.get(task.participant, {})
                yield MaskTask(task, stage, group, self._clip_norm, own)

    def _letters_for(self, group: str, stage: Stage) -> dict[str, dict[str, bytes]]:
        """What each participant of a group is told in a stage; who is not named is not asked."""
        if stage == "hello":
            return {}
        roster = self._roster(group)
        if stage == "share":
            return {name: {"roster": roster} for name in members_of(roster)}
        parcels = unmasking.parcels_for(roster, self._said("share", group))
        told = {name: {"roster": roster, "parcels": one} for name, one in parcels.items()}
        if stage == "mask":
            return told
        survivors = self._survivors(group, roster, parcels)
        return {name: {**told[name], "survivors": survivors} for name in names_in(survivors)}

    def _survivors(self, group: str, roster: bytes, parcels: Mapping[str, bytes]) -> bytes:
        masked = self._said("mask", group)
        return unmasking.survivors_of(roster, parcels, masked, values=self._values)

    def _sum(self, group: str) -> GroupSum:
        try:
            roster = self._roster(group)
            parcels = unmasking.parcels_for(roster, self._said("share", group))
            survivors = self._survivors(group, roster, parcels)
            total = unmasking.unmasked(
                roster,
                parcels,
                survivors,
                masked=self._said("mask", group),
                reveals=self._said("reveal", group),
                context=context_of_sum(self._groups[group][0], group),
                values=self._values,
            )
            members = tuple(names_in(survivors))
            delta, count = mean_of(total, self._shapes, members=len(members))
        except (SecureSumFailed, MaskingRefused) as failed:
            return GroupSum(None, reason=str(failed))
        statements = self._statements("mask", group)
        signature = "\n".join(statements[name] for name in members if statements[name])
        return GroupSum(TrainAnswer(group, delta, count, signature=signature), members)

    def _roster(self, group: str) -> bytes:
        return unmasking.roster_of(self._said("hello", group), self._statements("hello", group))

    def _said(self, stage: Stage, group: str) -> dict[str, bytes]:
        return {name: bytes.fromhex(one) for name, one, _ in self._kept(stage, group)}

    def _statements(self, stage: Stage, group: str) -> dict[str, str]:
        return {name: one for name, _, one in self._kept(stage, group)}

    def _kept(self, stage: Stage, group: str) -> Iterator[tuple[str, str, str]]:
        """Who said what, and the statement about it."""
        said: Mapping[str, str] = self.letters.get(stage, {}).get(group, {})
        for name, one in said.items():
            letter, _, statement = one.partition(" ")
            yield name, letter, statement

    @property
    def _values(self) -> int:
        """Numbers of a vector: the model's and the examples."""
        return sum(math.prod(shape) for shape in self._shapes.values()) + 1


def _kept(said: MaskAnswer) -> str:
    return f"{said.letter.hex()} {said.signature}".rstrip()


def fault_of_mean(
    mean: TrainAnswer, scores: Sequence[ScoreAnswer], *, clip_norm: float = CLIP_NORM
) -> str:
    """Why a mean may not become the next model; empty if it may.

    Means of clipped updates are no longer than the bound: a longer one tells of somebody who did
    not clip. Beyond that the committee's word counts, and without any the round fails.
    """
    norm = norm_of(mean.delta)
    if not norm <= clip_norm * (1 + _SLACK):
        return f"the mean has length {norm:.3g}; clipped updates have {clip_norm:g} at most"
    gains = [
        float(np.clip(one.gains[mean.participant], -1.0, 1.0))
        for one in sorted(scores, key=lambda one: one.participant)
        if math.isfinite(one.gains.get(mean.participant, math.nan))
    ]
    if not gains:
        return "no committee member has said anything of the mean"
    gain = float(np.median(gains))
    if gain < -HARMFUL:
        return f"the median member's loss rises by {-gain:.1%}; {HARMFUL:.0%} is allowed"
    return ""
