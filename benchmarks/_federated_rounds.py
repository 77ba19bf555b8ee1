"""Rounds without any engine: the same training, scoring and aggregation, called one by one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from backend.federation.aggregation import Judged, aggregate, candidates_of
from backend.federation.checking import Rules, scaled
from backend.federation.committee import committee_size, draw
from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, initial_weights, predict
from backend.federation.newcomer import r2_of
from backend.federation.participant import score, train
from backend.federation.strategies import VALIDATED
from backend.federation.tasks import ScoreAnswer, ScoreTask, TrainAnswer, TrainSettings, TrainTask
from backend.federation.weights import Weights, content_hash
from benchmarks._federated_attacks import Attack, lie, vote

FAMILY, ROUNDS, SEED = "mlp", 8, 7


@dataclass(frozen=True, slots=True)
class Liars:
    """Who lies and how.

    Attributes:
        names: Who.
        attack: What they send.
        examples: What they train on instead of their own examples.
    """

    names: frozenset[str] = frozenset()
    attack: Attack | None = None
    examples: Mapping[str, Examples] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Run:
    """What came of rounds: the model after each, and every verdict."""

    weights: Weights
    models: tuple[Weights, ...]
    judged: tuple[tuple[Judged, ...], ...]

    def rejected_pct(self, names: Collection[str]) -> float:
        """How much of these participants' updates was rejected."""
        verdicts = [o.verdict for each in self.judged for o in each if o.participant in names]
        return 100 * float(np.mean([verdict != "accepted" for verdict in verdicts]))


def run(
    sites: Mapping[str, Examples],
    *,
    strategy: str = VALIDATED,
    family: str = FAMILY,
    settings: TrainSettings | None = None,
    liars: Liars | None = None,
    dropout: float = 0.0,
    noise_key: bytes | None = None,
) -> Run:
    """Eight rounds among these sites; each round, the share that drops out is drawn anew."""
    terms, false = settings or TrainSettings(seed=SEED), liars or Liars()
    weights: Weights = initial_weights(family, SEED)
    models, judged = [], []
    for number in range(1, ROUNDS + 1):
        there = round(len(sites) * (1 - dropout))
        names = draw(sorted(sites), there, seed=SEED, round_number=number, purpose="present")
        task = TrainTask("bench", number, "", family, weights, content_hash(weights), terms)
        answers = _train(task, names, {**sites, **false.examples}, noise_key)
        if false.attack is not None:
            with np.errstate(invalid="ignore"):
                answers = lie(
                    false.attack,
                    answers,
                    false.names,
                    round_number=number,
                    gain=partial(_gain, task, sites),
                )
        scores = _score(task, names, sites, answers) if strategy == VALIDATED else []
        result = aggregate(strategy, weights, answers, vote(scores, false.names))
        weights = result.weights
        models.append(weights)
        judged.append(result.judged)
    return Run(weights, tuple(models), tuple(judged))


def _train(
    task: TrainTask,
    names: Sequence[str],
    examples: Mapping[str, Examples],
    noise_key: bytes | None,
) -> list[TrainAnswer]:
    return [
        train(replace(task, participant=name), examples[name], noise_key=noise_key)
        for name in names
    ]


def _score(
    task: TrainTask,
    names: Sequence[str],
    sites: Mapping[str, Examples],
    answers: Sequence[TrainAnswer],
) -> list[ScoreAnswer]:
    size = committee_size(len(names))
    members = draw(names, size, seed=SEED, round_number=task.round_number, purpose="committee")
    candidates = candidates_of(answers, task.weights)
    return [score(_asked(task, name, candidates), sites[name]) for name in members]


def _gain(task: TrainTask, sites: Mapping[str, Examples], name: str, delta: Weights) -> float:
    """What an update is worth on a site's own holdout, tried as the committee would."""
    tried = scaled(delta, Rules().score_step)
    return score(_asked(task, name, {name: tried}), sites[name]).gains[name]


def _asked(task: TrainTask, name: str, candidates: Mapping[str, Weights]) -> ScoreTask:
    return ScoreTask(
        task.experiment_id,
        task.round_number,
        name,
        task.family,
        task.weights,
        task.parent_hash,
        candidates,
    )


def pooled(parts: Sequence[Rows]) -> Rows:
    """Rows of several sites as one."""
    return Rows(
        np.concatenate([one.x for one in parts]),
        np.concatenate([one.y for one in parts]),
        np.concatenate([one.usual for one in parts]),
    )


def pooled_r2(sites: Mapping[str, Examples], answers: Mapping[str, FloatArray]) -> float:
    """R² over the test rows of all sites together, each in units of its own scale."""
    names = sorted(sites)
    rows = pooled([sites[name].test for name in names])
    return r2_of(rows, np.concatenate([answers[name] for name in names]))


def shared_r2(sites: Mapping[str, Examples], weights: Weights, family: str = FAMILY) -> float:
    """Pooled R² of one shared model."""
    return pooled_r2(
        sites, {name: predict(family, weights, one.test.x) for name, one in sites.items()}
    )
