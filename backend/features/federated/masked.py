"""Rounds whose updates come masked: sums of all, or of cells, in place of single updates.

Letters are kept after every stage, so a conductor that was killed goes on from the last one. The
means are stored under the names of their groups and judged like updates; who was in which group is
written down, what each of them sent nobody knows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.adapters.federation.exchange import Exchange
from backend.features.federated import arrows, queries, standings
from backend.features.federated.arrows import Ledge
from backend.features.federated.models import FederatedRound
from backend.features.federated.terms import Terms
from backend.federation.cells import TooFewForCells, cells_of, means_of
from backend.federation.secure import WHOLE, GroupSum, Letters, SecureSums, fault_of_mean
from backend.federation.tasks import MaskAnswer, MaskTask, ScoreAnswer, TrainAnswer, TrainTask

SECURE, CELLS = "secure", "cells"
MODES = (SECURE, CELLS)
GROUPS, LETTER_BYTES = "groups", "letter_bytes"


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
    terms = how.at.terms
    with how.at.database.reading() as db:
        if queries.updates_of(db, current.id):  # a conductor that was killed had them already
            return Collected(members(current))
    try:
        groups = groups_of(terms, current, tasks)
    except TooFewForCells as few:
        return Collected(0, str(few))
    kept = dict(current.protocol or {})
    sums = SecureSums(groups, terms.shapes, letters=kept.get("letters"))
    while sums.stage is not None:
        sums.step(lambda steps: _asked(how, steps))
        kept["letters"] = sums.letters
        _keep(how.at, current.id, kept)
        how.passed("masked")
    found = sums.sums()
    outcome = {GROUPS: _outcomes(found), LETTER_BYTES: _letter_bytes(sums.letters)}
    try:
        means = _means(terms, found)
    except TooFewForCells as few:
        _settle(how.at, current.id, (), {**kept, **outcome})
        return Collected(_received(found), str(few))
    # Letters are of use until the sums are made, and large.
    _settle(how.at, current.id, means, outcome)
    how.passed("stored")
    return Collected(_received(found))


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


def _letter_bytes(letters: Letters) -> int:
    """What participants said, in bytes."""
    said = [
        one for groups in letters.values() for group in groups.values() for one in group.values()
    ]
    return sum(len(one) // 2 for one in said)


def _asked(how: Collecting, steps: Sequence[MaskTask]) -> list[MaskAnswer]:
    said = how.exchange.ask(steps, timeout_s=how.left_s())
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


def _settle(
    at: Ledge, round_id: str, means: Sequence[TrainAnswer], protocol: Mapping[str, Any]
) -> None:
    """Keep the means and who is in them; that these have sent something is counted once."""
    with at.step() as (db, now):
        row = db.get_one(FederatedRound, round_id)
        is_new = not members_of(row)
        row.protocol = dict(protocol)
        for mean in means:
            arrows.keep_update(db, at.terms, round_id, mean, now=now)
        for name in members_of(row) if is_new else ():
            standings.spend(db, at.terms, name, num_examples=0)


def _keep(at: Ledge, round_id: str, protocol: Mapping[str, Any]) -> None:
    with at.step() as (db, _):
        db.get_one(FederatedRound, round_id).protocol = dict(protocol)
