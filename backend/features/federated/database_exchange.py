"""The exchange with gateways over HTTP: tasks are read from the round, answers are its rows.

Gateways ask for their task and send what came of it; the routes check and store it. This side
only waits until everybody who was asked has sent, or the deadline has come.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import Database
from backend.features.federated import letters, queries, storing
from backend.features.federated.models import RUNNING, FederatedExperiment, FederatedRound
from backend.federation.networks import shapes
from backend.federation.tasks import (
    Answer,
    MaskTask,
    ScoreAnswer,
    ScoreTask,
    Task,
    TrainAnswer,
    TrainTask,
)

POLL_S = 0.1
LATE = "no answer in time"


class DatabaseExchange:
    """Waits for what the routes store.

    Args:
        database: Where they store it.
        engine: Whose participants are asked.
    """

    def __init__(
        self,
        database: Database,
        *,
        engine: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database, self._engine, self._sleep = database, engine, sleep
        self._missing: dict[str, str] = {}

    def participants(self) -> Sequence[str]:
        """Who is enrolled and active, in order of their sites."""
        with self._database.reading() as db:
            return queries.active_names(db, self._engine)

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Wait for the answers; see `Exchange`."""
        until, found = time.monotonic() + timeout_s, self._found(tasks)
        if tasks and not self._is_in_round(tasks[0]):
            until = 0.0  # gateways are asked in rounds only
        while len(found) < len(tasks) and time.monotonic() < until:
            self._sleep(POLL_S)
            found = self._found(tasks)
            if not self._goes_on(tasks[0].experiment_id):
                break
        self._missing = {one.participant: LATE for one in tasks if one.participant not in found}
        return [found[one.participant] for one in tasks if one.participant in found]

    def missing(self) -> Mapping[str, str]:
        """Who was asked last and did not answer."""
        return dict(self._missing)

    def close(self) -> None:
        """Nothing to let go of."""

    def _goes_on(self, experiment_id: str) -> bool:
        with self._database.reading() as db:
            row = db.get(FederatedExperiment, experiment_id)
            return row is not None and row.state == RUNNING

    def _is_in_round(self, task: Task) -> bool:
        with self._database.reading() as db:
            return _round_of(db, task) is not None or _judged(db, task) is not None

    def _found(self, tasks: Sequence[Task]) -> dict[str, Answer]:
        """The stored answers to these tasks, which are all of one round and kind."""
        if not tasks:
            return {}
        names = {one.participant for one in tasks}
        with self._database.reading() as db:
            current = _round_of(db, tasks[0])
            if current is None:
                return _judged(db, tasks[0]) or {}
            answers = _answers(db, current.id, tasks[0])
        return {one.participant: one for one in answers if one.participant in names}


def _round_of(db: Session, task: Task) -> FederatedRound | None:
    query = select(FederatedRound).where(
        FederatedRound.experiment_id == task.experiment_id,
        FederatedRound.number == task.round_number,
    )
    return db.scalar(query)


def _judged(db: Session, task: Task) -> dict[str, Answer] | None:
    """What sites say of the model that an experiment ends with; None if nobody is asked."""
    last = queries.last_round(db, task.experiment_id)
    said = None if last is None else queries.judged_in(last)
    if said is None:
        return None
    named = {"loss": "received_loss", "r2": "received_r2"}
    return {
        name: TrainAnswer(name, {}, 1, {named.get(what, what): one[what] for what in one})
        for name, one in said.items()
    }


def _answers(db: Session, round_id: str, task: Task) -> Sequence[Answer]:
    """What has come of the kind that answers a task."""
    if isinstance(task, TrainTask):
        return _updates(db, round_id, task.family)
    if isinstance(task, ScoreTask):
        return _scores(db, round_id)
    if isinstance(task, MaskTask):
        return letters.said_in(db, round_id, task.stage)
    return ()


def _updates(db: Session, round_id: str, family: str) -> list[Answer]:
    return [
        TrainAnswer(
            one.participant,
            storing.get(db, one.sha256, shapes(family)),
            one.num_examples,
            one.metrics,
            one.signature,
        )
        for one in queries.updates_of(db, round_id)
    ]


def _scores(db: Session, round_id: str) -> list[Answer]:
    hashes = {one.participant: one.sha256 for one in queries.updates_of(db, round_id)}
    return [
        ScoreAnswer(
            one.participant,
            {name: one.gains[digest] for name, digest in hashes.items() if digest in one.gains},
            one.signature,
        )
        for one in queries.validations_of(db, round_id)
    ]
