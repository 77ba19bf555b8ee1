"""The end of an experiment: what its model is worth, its summary, its entry in the registry."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zstandard

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.outbox import record
from backend.adapters.federation.exchange import Exchange
from backend.database import new_id
from backend.features.federated import judging, queries, registry, storing
from backend.features.federated.arrows import Ledge
from backend.features.federated.models import (
    CLOSED,
    EDGE,
    FAILED,
    FederatedExperiment,
    FederatedRound,
)
from backend.features.federated.terms import Terms
from backend.federation.networks import INPUTS, predict
from backend.federation.privacy import PRIVACY_UNIT
from backend.federation.tasks import TrainAnswer, TrainTask
from backend.federation.weights import Weights, to_npz

ROWS = 1_000
NEAR = 0.02  # of the last R²: what counts as converged


def finish(
    at: Ledge, *, exchange: Exchange, artifacts: ArtifactFiles, passed: Callable[[str], None]
) -> dict[str, Any]:
    """Close the experiment and register its model, or fail it if no round gave one.

    Returns:
        The summary, as it is stored.
    """
    with at.database.reading() as db:
        rounds = queries.rounds_of(db, at.terms.experiment_id)
        experiment = db.get_one(FederatedExperiment, at.terms.experiment_id)
        weights = (
            storing.get(db, experiment.model_sha256, at.terms.shapes)
            if experiment.model_sha256
            else None
        )
    if weights is None or experiment.model_sha256 is None:
        return _fail(at, rounds)
    judged = _judge(at, exchange, weights, experiment.model_sha256, rounds)
    summary = _summary(at.terms, rounds, weights, judged)
    passed("judged")
    model_id = _reserve(at)
    digest = registry.write_files(
        artifacts, model_id, terms=at.terms, weights=weights, metrics=summary
    )
    passed("written")
    _close(at, model_id, digest, summary)
    passed("finished")
    return summary


def _judge(
    at: Ledge,
    exchange: Exchange,
    weights: Weights,
    sha256: str,
    rounds: Sequence[FederatedRound],
) -> dict[str, float | None]:
    """Median loss and R² of the last model; none where nobody says anything.

    A task of no epochs is the question how the model does that it brings.
    """
    names, terms = rounds[-1].selected, at.terms
    settings = replace(terms.settings, local_epochs=0)
    tasks = [
        TrainTask(
            experiment_id=terms.experiment_id,
            round_number=len(rounds) + 1,
            participant=name,
            family=terms.family,
            weights=weights,
            parent_hash=sha256,
            settings=settings,
            round_id=rounds[-1].id,
            asked_at=int(at.clock.now().timestamp()),
        )
        for name in names
    ]
    if terms.privacy:
        return {}  # who trains privately says nothing of its own data
    if terms.engine == EDGE:
        _ask_gateways(at, rounds[-1].id)
    answers = exchange.ask(tasks, timeout_s=terms.deadline_s)
    said = [one.metrics for one in answers if isinstance(one, TrainAnswer)]
    return judging.final_figures(said, terms)


def _ask_gateways(at: Ledge, round_id: str) -> None:
    """Let gateways, which ask for their tasks themselves, find that there is one more."""
    with at.step() as (db, _):
        last = db.get_one(FederatedRound, round_id)
        if queries.judged_in(last) is None:
            last.protocol = {**(last.protocol or {}), queries.JUDGED: {}}


def _summary(
    terms: Terms,
    rounds: Sequence[FederatedRound],
    weights: Weights,
    judged: Mapping[str, float | None],
) -> dict[str, Any]:
    """All figures of an experiment."""
    figures = [one.metrics or {} for one in rounds]
    plain, packed = to_npz(weights), zstandard.ZstdCompressor(level=19).compress(to_npz(weights))
    curve = [one.get("received_r2") for one in figures] + [judged.get("final_r2")]
    return {
        "experiment_id": terms.experiment_id,
        "engine": terms.engine,
        "mode": terms.mode,
        "strategy": terms.strategy,
        "rounds": len(rounds),
        "rounds_closed": sum(one.state == CLOSED for one in rounds),
        "duration_s": _total(figures, "duration_s"),
        "round_duration_s": _mean(figures, "duration_s"),
        "participation": _mean(figures, "participation"),
        "accepted": _total(figures, "accepted"),
        "rejected": _total(figures, "rejected"),
        "initial_loss": figures[0].get("received_loss"),
        "initial_r2": figures[0].get("received_r2"),
        "final_loss": judged.get("final_loss"),
        "final_r2": judged.get("final_r2"),
        "final_wape": judged.get("final_wape"),
        "usual_wape": judged.get("usual_wape"),
        "cost_saved_eur_per_mwh": judged.get("cost_saved_eur_per_mwh"),
        "imbalance_eur_per_kwh": terms.imbalance_eur_per_kwh,
        "convergence_round": convergence(curve),
        "bytes_moved": _total(figures, "bytes_moved"),
        "model_bytes": len(plain),
        "model_packed_bytes": len(packed),
        "model_reduction": 1 - len(packed) / len(plain),
        "inference_ms_per_1000": inference_ms(terms.family, weights),
        "cpu_s": _total(figures, "cpu_s"),
        "rss_mb": max((one.get("rss_mb", 0.0) for one in figures), default=0.0),
        "epsilon": max((one["epsilon"] for one in figures if one.get("epsilon")), default=None),
        "delta": max((one["delta"] for one in figures if one.get("delta")), default=None),
        "noise_multiplier": (terms.privacy or {}).get("noise_multiplier"),
        "noise_scale": terms.noise_scale,
        "privacy_unit": PRIVACY_UNIT if terms.privacy else None,
        "gas_used": None,  # noted when its rounds and its model stand on the chain
    }


def convergence(curve: Sequence[float | None]) -> int | None:
    """After how many rounds R² stays within 2 % of its last value; None if it is not known."""
    known = [one for one in curve if one is not None]
    if len(known) < len(curve) or not known:
        return None
    least = known[-1] - NEAR * abs(known[-1])
    reached = [all(one >= least for one in known[start:]) for start in range(len(known))]
    return reached.index(True)


def inference_ms(family: str, weights: Weights) -> float:
    """Milliseconds that the model takes for a thousand rows, the best of five."""
    rows = np.zeros((ROWS, INPUTS), dtype=np.float32)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        predict(family, weights, rows)
        times.append(1_000 * (time.perf_counter() - began))
    return round(min(times), 4)


def _total(figures: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(one.get(name) or 0 for one in figures)


def _mean(figures: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [one[name] for one in figures if one.get(name) is not None]
    return float(np.mean(known)) if known else None


def _reserve(at: Ledge) -> str:
    """The model's id, the same after a crash."""
    with at.step() as (db, now):
        row = db.get_one(FederatedExperiment, at.terms.experiment_id)
        row.model_id = row.model_id or new_id("mdl", at=now)
        return row.model_id


def _close(at: Ledge, model_id: str, digest: str, summary: Mapping[str, Any]) -> None:
    initial, final = summary["initial_r2"], summary["final_r2"]
    is_better = None if initial is None or final is None else final > initial
    with at.step() as (db, now):
        row = db.get_one(FederatedExperiment, at.terms.experiment_id)
        row.state, row.finished_at, row.summary = CLOSED, now, dict(summary)
        registry.register(
            db,
            model_id,
            digest,
            content_hash=str(row.model_sha256),
            metrics=summary,
            is_better=is_better,
            now=now,
        )
        facts = {"experiment_id": row.id, "model_id": model_id, "model_sha256": row.model_sha256}
        record(db, f"federated.experiment.{CLOSED}", facts, now=now)


def _fail(at: Ledge, rounds: Sequence[FederatedRound]) -> dict[str, Any]:
    with at.step() as (db, now):
        row = db.get_one(FederatedExperiment, at.terms.experiment_id)
        row.state, row.finished_at = FAILED, now
        row.reason = rounds[-1].reason if rounds else "no round was opened"
        facts = {"experiment_id": row.id, "reason": row.reason}
        record(db, f"federated.experiment.{FAILED}", facts, now=now)
        return {"experiment_id": row.id, "state": FAILED, "reason": row.reason}
