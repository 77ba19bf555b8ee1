"""Rounds whose updates come masked: sums of all, or of cells, in place of single updates.

Letters are kept after every stage, so a conductor that was killed goes on from the last one. The
means are stored under the names of their groups and judged like updates; who was in which group is
written down, what each of them sent nobody knows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.federation.exchange import Exchange
from backend.features.federated import arrows, asking, letters, standings
from backend.features.federated.arrows import Ledge
from backend.features.federated.models import FederatedRound
from backend.features.federated.terms import Terms
from backend.federation.cells import TooFewForCells, cells_of, means_of
from backend.federation.secure import (
    STAGES,
    WHOLE,
    GroupSum,
    Letters,
    SecureSums,
    fault_of_mean,
)
from backend.federation.tasks import MaskAnswer, MaskTask, ScoreAnswer, TrainAnswer, TrainTask

SECURE, CELLS = "secure", "cells"
MODES = (SECURE, CELLS)
GROUPS, LETTERS, LETTER_BYTES, REASON = "groups", "letters", "letter_bytes", "reason"


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of the sums.

    Attributes:
        received: Participants whose updates are in a mean.
        reason: Why the round fails; empty if it goes on.
    """

    received: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Collecting:
    """What sums are collected with.

    Attributes:
        left_s: Gives the seconds to the deadline.
        passed: Told of every stage that was kept.
    """

    at: Ledge
    exchange: Exchange
    left_s: Callable[[], float]
    passed: Callable[[str], None]


def collect(how: Collecting, current: FederatedRound, tasks: Sequence[TrainTask]) -> Collected:
    """Go through the stages that are left and store the means; nothing else is ever held."""
    known = current.protocol or {}
    if GROUPS in known:  # a conductor that was killed had made the sums already
        return Collected(members(current), known.get(REASON, ""))
    try:
        sums = sums_of(how.at.terms, current, tasks)
    except TooFewForCells as few:
        return Collected(0, str(few))
    while sums.stage is not None:
        sums.step(lambda steps: _asked(how, steps))
        _keep(how.at, current.id, sums.letters)
        how.passed("masked")
    made = _made(how.at, current.id, sums)
    how.passed("stored")
    return made


def task_of(
    db: Session, terms: Terms, current: FederatedRound, name: str, *, now: datetime
) -> MaskTask | None:
    """The next step of a participant in the sums that are under way; None if it has none."""
    if GROUPS in (current.protocol or {}):
        return None
    tasks = asking.train_tasks(db, terms, current, now=now)
    try:
        sums = sums_of(terms, current, tasks)
    except TooFewForCells:  # the conductor says so when it comes to them
        return None
    return next((one for one in sums.tasks() if one.participant == name), None)


def sums_of(terms: Terms, current: FederatedRound, tasks: Sequence[TrainTask]) -> SecureSums:
    """The sums of a round as far as its kept letters go.

    Raises:
        TooFewForCells: If there are too few for cells.
    """
    groups = groups_of(terms, current, tasks)
    return SecureSums(groups, terms.shapes, letters=(current.protocol or {}).get(LETTERS))


def forget(db: Session, current: FederatedRound) -> None:
    """Erase what was said for sums that nobody will make."""
    kept = current.protocol or {}
    current.protocol = {name: one for name, one in kept.items() if name != LETTERS}
    letters.erase(db, current.id)


def groups_of(
    terms: Terms, current: FederatedRound, tasks: Sequence[TrainTask]
) -> dict[str, Sequence[TrainTask]]:
    """The tasks of each group: one of all, or cells drawn by the recorded seed.

    Raises:
        TooFewForCells: If there are too few for cells.
    """
    if terms.mode == SECURE:
        return {WHOLE: tasks}
    by_name = {task.participant: task for task in tasks}
    cells = cells_of(sorted(by_name), seed=terms.seed, round_number=current.number)
    return {cell: [by_name[name] for name in names] for cell, names in cells.items()}


def fault_of(
    terms: Terms, answers: Sequence[TrainAnswer], scores: Sequence[ScoreAnswer]
) -> str | None:
    """Why the mean of all may not become the model; cells are judged as updates are."""
    if terms.mode != SECURE:
        return None
    return fault_of_mean(answers[0], scores) or None


def members(current: FederatedRound) -> int:
    """How many are in a mean."""
    return len(members_of(current))


def members_of(current: FederatedRound) -> set[str]:
    """Who is in a mean; nobody where updates are not masked."""
    groups = (current.protocol or {}).get(GROUPS, {})
    return {name for one in groups.values() for name in one["members"]}


def figures(current: FederatedRound) -> dict[str, Any]:
    """Who took part in a masked round: participants, where single updates are not counted."""
    count = members(current)
    if not count:
        return {}
    groups = (current.protocol or {})[GROUPS]
    return {
        "received": count,
        "participation": count / len(current.selected),
        "groups": len(groups),
        "groups_without_mean": sum(bool(one["reason"]) for one in groups.values()),
    }


def letter_bytes(current: FederatedRound) -> int:
    """What was said to make the sums, in bytes; 0 for rounds without."""
    return int((current.protocol or {}).get(LETTER_BYTES, 0))


def _letter_bytes(said: Letters) -> int:
    """What participants said, in bytes."""
    every = [one for groups in said.values() for group in groups.values() for one in group.values()]
    return sum(len(one) // 2 for one in every)


def _asked(how: Collecting, steps: Sequence[MaskTask]) -> list[MaskAnswer]:
    """Ask for a stage; the time that is left is for all stages that are left, in equal parts."""
    stages = len(STAGES) - STAGES.index(steps[0].stage)
    said = how.exchange.ask(steps, timeout_s=how.left_s() / stages)
    return [one for one in said if isinstance(one, MaskAnswer)]


def _means(terms: Terms, found: Mapping[str, GroupSum]) -> list[TrainAnswer]:
    if terms.mode == CELLS:
        return means_of(found)[0]
    whole = found[WHOLE]
    if whole.mean is None:
        raise TooFewForCells(whole.reason)
    return [whole.mean]


def _received(found: Mapping[str, GroupSum]) -> int:
    return sum(len(one.members) for one in found.values())


def _outcomes(found: Mapping[str, GroupSum]) -> dict[str, Any]:
    return {
        group: {"members": list(one.members), "reason": one.reason or None}
        for group, one in sorted(found.items())
    }


def _made(at: Ledge, round_id: str, sums: SecureSums) -> Collected:
    """Make the sums and keep what came of them in the place of the letters, which are large."""
    found, means, reason = sums.sums(), [], ""
    try:
        means = _means(at.terms, found)
    except TooFewForCells as few:
        reason = str(few)
    size = _letter_bytes(sums.letters)
    with at.step() as (db, now):
        row = db.get_one(FederatedRound, round_id)
        row.protocol = {GROUPS: _outcomes(found), LETTER_BYTES: size, REASON: reason}
        for mean in means:
            arrows.keep_update(db, at.terms, round_id, mean, now=now)
        for name in members_of(row):  # each of them has sent something that no epsilon bounds
            standings.spend(db, at.terms, name, num_examples=0)
    return Collected(_received(found), reason)


def _keep(at: Ledge, round_id: str, said: Letters) -> None:
    """Keep what was said until now; what gateways sent is in it."""
    with at.step() as (db, _):
        db.get_one(FederatedRound, round_id).protocol = {LETTERS: said}
        letters.erase(db, round_id)
