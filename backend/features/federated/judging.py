"""What became of a round's updates, from what is stored of them: nothing else goes into a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from backend.features.federated import queries, storing
from backend.features.federated.models import FederatedRound
from backend.features.federated.terms import Terms
from backend.federation.aggregation import Aggregate, aggregate, candidates_of
from backend.federation.checking import Rules
from backend.federation.statements import is_figure
from backend.federation.strategies import VALIDATED
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import Weights

RECEIVED = ("received_loss", "received_r2")
TRAINED = ("holdout_loss", "holdout_r2")
ERRORS = ("wape", "usual_wape")
KWH_PER_MWH = 1_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What a round has to go by.

    Attributes:
        weights: The parent model.
        answers: The updates, in the order of their senders.
        hashes: Of each update, by sender.
        scores: What the committee said.
        size_bytes: Of all updates together.
    """

    weights: Weights
    answers: tuple[TrainAnswer, ...]
    hashes: Mapping[str, str]
    scores: tuple[ScoreAnswer, ...]
    size_bytes: int

    @classmethod
    def read(cls, db: Session, current: FederatedRound, terms: Terms) -> "Sent":
        """Read it; every hash is checked.

        Raises:
            WeightsAltered: If stored weights are not the ones they should be.
        """
        updates = queries.updates_of(db, current.id)
        hashes = {one.participant: one.sha256 for one in updates}
        answers = tuple(
            TrainAnswer(
                one.participant,
                storing.get(db, one.sha256, terms.shapes),
                one.num_examples,
                one.metrics,
            )
            for one in updates
        )
        scores = tuple(
            ScoreAnswer(one.participant, _by_name(one.gains, hashes))
            for one in queries.validations_of(db, current.id)
        )
        weights = storing.get(db, current.parent_sha256, terms.shapes)
        return cls(weights, answers, hashes, scores, sum(one.size_bytes for one in updates))


def _by_name(gains: Mapping[str, float], hashes: Mapping[str, str]) -> dict[str, float]:
    """Gains by sender; equal updates of two senders have one hash and one gain."""
    return {name: gains[digest] for name, digest in hashes.items() if digest in gains}


def rules_of(terms: Terms) -> Rules:
    """When an update counts."""
    return Rules(quality_threshold=terms.quality_threshold)


def candidates(sent: Sent, terms: Terms) -> dict[str, Weights]:
    """What the committee is asked about; nothing where the strategy asks nobody."""
    if terms.strategy != VALIDATED:
        return {}
    return candidates_of(sent.answers, sent.weights, rules_of(terms))


def outcome(sent: Sent, terms: Terms) -> Aggregate:
    """The next model and a verdict on every update."""
    return aggregate(terms.strategy, sent.weights, sent.answers, sent.scores, rules=rules_of(terms))


def verdicts(aggregated: Aggregate) -> dict[str, dict[str, Any]]:
    """What is stored of each update."""
    return {
        one.participant: {
            "norm": one.norm if np.isfinite(one.norm) else None,
            "clip_factor": one.clip_factor,
            "score": one.gain,
            "verdict": str(one.verdict),
            "reason": one.reason or None,
        }
        for one in aggregated.judged
    }


def figures(sent: Sent, aggregated: Aggregate, terms: Terms, *, selected: int) -> dict[str, Any]:
    """Figures of a round: who took part, losses, R² and errors before and after local training."""
    said = [one.metrics for one in sent.answers]
    rejected = len(aggregated.judged) - len(aggregated.accepted)
    return {
        "selected": selected,
        "received": len(sent.answers),
        "accepted": len(aggregated.accepted),
        "rejected": rejected,
        "participation": len(sent.answers) / selected if selected else 0.0,
        "disagreement": _disagreement(sent.scores),
        **{name: median(said, name) for name in (*RECEIVED, *TRAINED, *ERRORS, "train_loss")},
        "cost_saved_eur_per_mwh": cost_saved(said, terms),
    }


def final_figures(said: Sequence[Mapping[str, Any]], terms: Terms) -> dict[str, float | None]:
    """How an experiment's last model does, of what participants say of it."""
    return {
        "final_loss": median(said, "received_loss"),
        "final_r2": median(said, "received_r2"),
        "final_wape": median(said, "wape"),
        "usual_wape": median(said, "usual_wape"),
        "cost_saved_eur_per_mwh": cost_saved(said, terms),
    }


def cost_saved(said: Sequence[Mapping[str, Any]], terms: Terms) -> float | None:
    """What a model's smaller errors than those of usual days are worth, EUR per MWh charged.

    Of the median site, at the price of imbalance that the terms assume: a value, not money that
    anybody was paid. Negative if usual days are nearer; None if no site says both errors.
    """
    fallen = [
        float(one["usual_wape"]) - float(one["wape"])
        for one in said
        if all(is_figure(name, one.get(name)) for name in ERRORS)
    ]
    if not fallen:
        return None
    return KWH_PER_MWH * float(np.median(fallen)) * terms.imbalance_eur_per_kwh


def median(said: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Median of what participants say: few liars move it little; private ones say nothing."""
    known = [float(one[name]) for one in said if is_figure(name, one.get(name))]
    return float(np.median(known)) if known else None


def _disagreement(scores: Sequence[ScoreAnswer]) -> float | None:
    """Mean standard deviation of the members' gains over the candidates."""
    names = {name for one in scores for name in one.gains}
    spreads = [
        float(np.std([one.gains[name] for one in scores if name in one.gains])) for name in names
    ]
    return float(np.mean(spreads)) if spreads else None
