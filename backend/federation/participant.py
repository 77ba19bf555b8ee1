"""What a participant does with a task: train on its own examples, score on its own holdout.

Both are pure: one task and one set of examples give the same bytes on the same machine. With
privacy the noise comes from a key that only the participant has.
"""

import hashlib
import secrets
from collections.abc import Mapping

import numpy as np

from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, predict, shapes
from backend.federation.noise import KEY_BYTES, SecretStream
from backend.federation.tasks import ScoreAnswer, ScoreTask, TrainAnswer, TrainSettings, TrainTask
from backend.federation.training import fit, fit_privately
from backend.federation.weights import Weights, checked, content_hash, shapes_of

WORST_GAIN = -1.0


class WrongModel(ValueError):
    """The weights of a task are not those its hash names."""


def train(task: TrainTask, examples: Examples, *, noise_key: bytes | None = None) -> TrainAnswer:
    """Train the shared model on own examples and say how its weights changed.

    Args:
        task: Which model and how.
        examples: One's own.
        noise_key: Secret of the participant that DP-SGD draws its batches and noise from; whoever
            knows it can take the noise off again. Without one a fresh key is drawn, and a task that
            is asked twice spends privacy twice.

    Returns:
        The update. With privacy it carries no figures, for they would say more of the data than
        epsilon admits.

    Raises:
        WrongModel: If the weights are not those the task names.
        WeightsRefused: If they do not fit the family.
    """
    weights = _model_of(task)
    rows, settings = examples.train, task.settings
    if settings.clip_norm is None:
        seed = seed_of(settings, task.participant, task.round_number)
        trained = fit(task.family, weights, rows, settings=settings, seed=seed)
        metrics = _metrics(task, trained, examples)
    else:
        stream = SecretStream(noise_key or secrets.token_bytes(KEY_BYTES), context_of(task, rows))
        trained = fit_privately(task.family, weights, rows, settings=settings, stream=stream)
        metrics = {}
    delta = {name: trained[name] - weights[name] for name in sorted(weights)}
    return TrainAnswer(task.participant, delta, len(rows), metrics)


def score(task: ScoreTask, examples: Examples) -> ScoreAnswer:
    """Say how much each candidate lowers the loss on one's own holdout.

    Returns:
        Relative fall of the squared loss, from -1 (at least twice as bad) to 1, by sender.

    Raises:
        WrongModel: If the weights are not those the task names.
        WeightsRefused: If they do not fit the family.
    """
    weights = _model_of(task)
    before = loss(task.family, weights, examples.holdout)
    gains = {
        name: _gain(task.family, weights, delta, examples.holdout, before)
        for name, delta in sorted(task.candidates.items())
    }
    return ScoreAnswer(task.participant, gains)


def loss(family: str, weights: Weights, rows: Rows) -> float:
    """Mean squared error over rows, in squared units of the site's scale; 0 without rows."""
    if not len(rows):
        return 0.0
    return float(np.mean((predict(family, weights, rows.x) - rows.y).astype(np.float64) ** 2))


def r2(family: str, weights: Weights, rows: Rows) -> float:
    """Share of the energy's variance that usual days and network explain together; 0 if none."""
    energy = (rows.y + rows.usual).astype(np.float64)
    variance = float(np.var(energy)) if len(rows) else 0.0
    return 1 - loss(family, weights, rows) / variance if variance > 0 else 0.0


def forecast_errors(family: str, weights: Weights, examples: Examples) -> dict[str, float]:
    """Absolute errors on one's own holdout per energy charged, of the model and of usual days.

    Weighted absolute percentage errors (WAPE), as shares: they tell nothing of how much it is.
    """
    rows = examples.holdout
    energy = float(np.sum(rows.y + rows.usual, dtype=np.float64))
    if energy <= 0:
        return {}
    off = np.abs(predict(family, weights, rows.x) - rows.y)
    return {
        "wape": float(np.sum(off, dtype=np.float64)) / energy,
        "usual_wape": float(np.sum(np.abs(rows.y), dtype=np.float64)) / energy,
    }


def seed_of(settings: TrainSettings, participant: str, round_number: int) -> int:
    """The seed of one participant's round, made of the experiment's by SHA-256."""
    text = f"{settings.seed}\n{participant}\n{round_number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def context_of(task: TrainTask, rows: Rows) -> bytes:
    """What has to differ for two trainings not to share their noise: the task or the examples.

    The same noise on two updates is gone from their difference.
    """
    parts = (task.experiment_id, task.round_number, task.participant, task.family, task.parent_hash)
    digest = hashlib.sha256(rows.x.tobytes() + rows.y.tobytes()).hexdigest()
    return repr((*parts, task.settings, digest)).encode()


def _model_of(task: TrainTask | ScoreTask) -> dict[str, FloatArray]:
    weights = checked(task.weights, shapes(task.family))
    if content_hash(weights) != task.parent_hash:
        raise WrongModel(f"the model is not {task.parent_hash}")
    return weights


def _gain(family: str, weights: Weights, delta: Weights, holdout: Rows, before: float) -> float:
    if before <= 0 or shapes_of(delta) != shapes_of(weights):
        return 0.0 if before <= 0 else WORST_GAIN
    with np.errstate(over="ignore", invalid="ignore"):
        moved = {name: weights[name] + delta[name] for name in weights}
        gain = 1 - loss(family, moved, holdout) / before
    return max(gain, WORST_GAIN) if np.isfinite(gain) else WORST_GAIN


def _metrics(task: TrainTask, trained: Weights, examples: Examples) -> Mapping[str, float]:
    return {
        "received_loss": loss(task.family, task.weights, examples.holdout),
        "received_r2": r2(task.family, task.weights, examples.holdout),
        "train_loss": loss(task.family, trained, examples.train),
        "holdout_loss": loss(task.family, trained, examples.holdout),
        "holdout_r2": r2(task.family, trained, examples.holdout),
        **forecast_errors(task.family, task.weights, examples),
    }
