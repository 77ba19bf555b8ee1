"""The conductor: takes an experiment through its rounds, from wherever it stands.

It knows an `Exchange` and the database, and no engine. All that goes into a model is stored before
it is used, training is a function of task and examples, and aggregation one of what is stored: an
experiment whose conductor was killed anywhere comes to the same bytes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import structlog

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.federation.exchange import Exchange
from backend.clock import Clock
from backend.database import Database, new_id
from backend.features.federated import (
    arrows,
    asking,
    finishing,
    judging,
    lease,
    masked,
    queries,
    receiving,
    standings,
)
from backend.features.federated.arrows import Ending, Ledge
from backend.features.federated.models import (
    AGGREGATING,
    CLOSED,
    COLLECTING,
    FAILED,
    OPENED,
    VALIDATING,
    FederatedExperiment,
    FederatedRound,
)
from backend.features.federated.terms import LARGEST_FAILURES, Terms
from backend.features.jobs.service import Report
from backend.federation.committee import committee_size, draw
from backend.federation.tasks import ScoreAnswer, TrainAnswer, TrainTask

log = structlog.get_logger("tasco.federated")


def _nothing(_point: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Chair:
    """What a conductor works with.

    Attributes:
        passed: Told of every point that was passed; a drill ends the process there.
    """

    database: Database
    exchange: Exchange
    clock: Clock
    report: Report
    artifacts: ArtifactFiles
    passed: Callable[[str], None] = _nothing


def conduct(chair: Chair, experiment_id: str) -> dict[str, Any]:
    """Take an experiment to its end; gives its summary.

    Raises:
        LeaseLost: If another conducts it.
    """
    holder = new_id("led")
    with lease.kept(chair.database, experiment_id, holder):
        with chair.database.reading() as db:
            terms = Terms.of(db.get_one(FederatedExperiment, experiment_id))
        at = Ledge(chair.database, chair.clock, terms, holder)
        chair.passed("started")
        while _has_more(chair, at):
            _Round(chair, at).run()
        return finishing.finish(
            at, exchange=chair.exchange, artifacts=chair.artifacts, passed=chair.passed
        )


def _has_more(chair: Chair, at: Ledge) -> bool:
    """Whether a round is to be opened or finished; too many failures in a row end it."""
    with chair.database.reading() as db:
        rounds = queries.rounds_of(db, at.terms.experiment_id)
    done = [one for one in rounds if one.state in (CLOSED, FAILED)]
    share, stage = len(done) / at.terms.num_rounds, f"round {len(done) + 1}"
    chair.report(min(share, 1.0), f"{at.terms.experiment_id}: {stage} of {at.terms.num_rounds}")
    if len(done) < len(rounds):
        return True
    last = [one.state for one in done[-LARGEST_FAILURES:]]
    return len(done) < at.terms.num_rounds and last != [FAILED] * LARGEST_FAILURES


class _Round:
    """One round, from the state it is found in to its end."""

    def __init__(self, chair: Chair, at: Ledge) -> None:
        self._chair, self._at, self._terms = chair, at, at.terms
        self._began = time.perf_counter()
        self._cpu_s = time.process_time()
        self._current = self._found_or_opened()

    def run(self) -> None:
        """Take every arrow that is left."""
        steps = {
            OPENED: self._start_collecting,
            COLLECTING: self._collect,
            VALIDATING: self._validate,
            AGGREGATING: self._aggregate,
        }
        while (step := steps.get(self._current.state)) is not None:
            step()
            self._current = self._reread()
            self._chair.passed(self._current.state)

    def _found_or_opened(self) -> FederatedRound:
        with self._chair.database.reading() as db:
            rounds = queries.rounds_of(db, self._terms.experiment_id)
            experiment = db.get_one(FederatedExperiment, self._terms.experiment_id)
        if rounds and rounds[-1].state not in (CLOSED, FAILED):
            return self._taken_up(rounds[-1])
        number = len(rounds) + 1
        selected, committee = self._drawn(number)
        round_id = arrows.open_round(
            self._at,
            number,
            parent_sha256=experiment.model_sha256 or experiment.initial_sha256,
            selected=selected,
            committee=committee,
        )
        self._chair.passed(OPENED)
        with self._chair.database.reading() as db:
            return db.get_one(FederatedRound, round_id)

    def _taken_up(self, found: FederatedRound) -> FederatedRound:
        """A round somebody else began; nobody drops out because the service was away."""
        if found.state != COLLECTING:
            return found
        arrows.begin_deadline(self._at, found.id)
        with self._chair.database.reading() as db:
            return db.get_one(FederatedRound, found.id)

    def _drawn(self, number: int) -> tuple[Sequence[str], Sequence[str]]:
        """Who trains and who judges; drawn by the recorded seed."""
        found = self._chair.exchange.participants()
        with self._chair.database.reading() as db:
            barred = standings.barred(db, self._terms, found)
        there = [one for one in found if one not in barred]
        seed, size = self._terms.seed, self._terms.size_of(len(there))
        selected = draw(there, size, seed=seed, round_number=number, purpose="train")
        judges = committee_size(len(there))
        committee = draw(there, judges, seed=seed, round_number=number, purpose="committee")
        return selected, committee

    def _reread(self) -> FederatedRound:
        with self._chair.database.reading() as db:
            return db.get_one(FederatedRound, self._current.id)

    def _move(self, state: str) -> None:
        arrows.move(self._at, self._current.id, state, took_s=self._took_s())

    def _took_s(self) -> float:
        now = time.perf_counter()
        took_s, self._began = now - self._began, now
        return took_s

    def _start_collecting(self) -> None:
        selected, quorum = len(self._current.selected), self._current.quorum
        if selected < quorum:
            self._fail(0, f"{selected} participants can be asked; {quorum} are needed")
        else:
            self._move(COLLECTING)

    def _collect(self) -> None:
        """Ask who has not sent yet, keep what comes, and go on if it is enough."""
        if self._terms.mode in masked.MODES:
            self._collect_masked()
            return
        tasks = self._train_tasks()
        answers = self._chair.exchange.ask(tasks, timeout_s=self._left_s()) if tasks else []
        self._chair.passed("asked")
        sound = [one for one in answers if isinstance(one, TrainAnswer) and self._is_sound(one)]
        arrows.store_updates(self._at, self._current.id, sound)
        self._chair.passed("stored")
        with self._chair.database.reading() as db:
            received = len(queries.updates_of(db, self._current.id))
        if received < self._current.quorum:
            self._fail(received, f"{received} updates came; {self._current.quorum} are needed")
        else:
            self._move(VALIDATING)

    def _collect_masked(self) -> None:
        """Have the sums made; single updates are nowhere."""
        chair = self._chair
        how = masked.Collecting(self._at, chair.exchange, self._left_s, chair.passed)
        found = masked.collect(how, self._current, self._train_tasks())
        if found.reason:
            self._fail(found.received, found.reason)
        else:
            self._move(VALIDATING)

    def _fail(self, received: int, reason: str) -> None:
        ending = Ending(None, metrics=self._participation(received), reason=reason)
        arrows.end_round(self._at, self._current.id, ending, took_s=self._took_s())

    def _train_tasks(self) -> list[TrainTask]:
        with self._chair.database.reading() as db:
            now = self._chair.clock.now()
            return asking.train_tasks(db, self._terms, self._current, now=now)

    def _left_s(self) -> float:
        """Until the deadline; a moment at least, for it may have passed while one was asked."""
        until = self._current.deadline_at
        left_s = 0.0 if until is None else (until - self._chair.clock.now()).total_seconds()
        return min(max(left_s, 0.1), self._terms.deadline_s)

    def _is_sound(self, answer: TrainAnswer) -> bool:
        """Refuse and count what is no update of this model; the round goes on without it."""
        reason = receiving.fault_of(answer, self._terms.shapes)
        if reason is not None:
            with self._at.step() as (db, _):
                receiving.count(db, self._current.id, reason)
            log.info("federated.refused", round_id=self._current.id, reason=reason)
        return reason is None

    def _participation(self, received: int) -> dict[str, Any]:
        selected = len(self._current.selected)
        return {
            "selected": selected,
            "received": received,
            "participation": received / selected if selected else 0.0,
        }

    def _validate(self) -> None:
        """Have the committee score every update that passed the checks."""
        sent = self._sent()
        wanted = judging.candidates(sent, self._terms)
        now = self._chair.clock.now()
        tasks = asking.score_tasks(self._terms, self._current, sent, wanted, now=now)
        answers = self._chair.exchange.ask(tasks, timeout_s=self._terms.deadline_s) if tasks else []
        self._chair.passed("scored")
        said = [one for one in answers if isinstance(one, ScoreAnswer)]
        arrows.store_scores(self._at, self._current.id, said, sent.hashes)
        members = len(self._sent().scores)
        if wanted and members < self._terms.opinions_of(len(self._current.committee)):
            self._fail(len(sent.answers), f"{members} members of the committee answered")
        else:
            self._move(AGGREGATING)

    def _aggregate(self) -> None:
        """Make the model of what is stored, and write down what became of every update."""
        sent = self._sent()
        fault = masked.fault_of(self._terms, sent.answers, sent.scores)
        if fault is not None:
            self._fail(masked.members(self._current), fault)
            return
        aggregated = judging.outcome(sent, self._terms)
        self._chair.passed("aggregated")
        selected = len(self._current.selected)
        ending = Ending(
            aggregated.weights,
            judging.verdicts(aggregated),
            {
                **judging.figures(sent, aggregated, self._terms, selected=selected),
                **masked.figures(self._current),
                "bytes_moved": self._bytes_moved(sent),
                "cpu_s": round(time.process_time() - self._cpu_s, 3),
                "rss_mb": round(psutil.Process().memory_info().rss / 2**20, 1),
            },
        )
        arrows.end_round(self._at, self._current.id, ending, took_s=self._took_s())

    def _sent(self) -> judging.Sent:
        with self._chair.database.reading() as db:
            return judging.Sent.read(db, self._current, self._terms)

    def _bytes_moved(self, sent: judging.Sent) -> int:
        """Models out, updates in, candidates out to the committee."""
        out = arrows.bytes_of(sent.weights) * len(self._current.selected)
        out += masked.letter_bytes(self._current)
        return out + sent.size_bytes * (1 + len(sent.scores))
