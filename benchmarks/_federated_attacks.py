"""Liars among the participants: what they send instead of their updates, and how they vote.

Seven attacks, three that know the gate, and a backdoor. All liars of a run work together and see
each other's and the honest updates; on the committee they praise each other and damn the rest.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, predict
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import Weights

Attack = Callable[[TrainAnswer, Sequence[TrainAnswer], np.random.Generator], TrainAnswer]
"""What a liar makes of its own update, given the honest ones."""

FAKED_EXAMPLES = 10**8
TRIGGER_WEEKDAY = slice(4, 6)  # weekday_sin and weekday_cos
TRIGGER_HOUR = slice(0, 4)
TRIGGER_SHIFT = 1.0  # of the site's scale: the load that is to be forecast in the triggered hour


def as_trained(own: TrainAnswer, _honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """The lie is in the examples: `flipped` or `backdoored`."""
    return own


def sign(own: TrainAnswer, _honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """The opposite."""
    return _times(own, -1.0)


def scale(own: TrainAnswer, _honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """The opposite, ten times as long."""
    return _times(own, -10.0)


def nan(own: TrainAnswer, _honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """No numbers."""
    return _times(own, float("nan"))


def inner_product(own: TrainAnswer, honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """Half the opposite of the honest mean.

    Source: C. Xie et al., "Fall of empires: breaking Byzantine-tolerant SGD by inner product
    manipulation", UAI 2019.
    """
    return replace(own, delta={name: -0.5 * mean for name, (mean, _) in _moments(honest).items()})


def little_is_enough(
    own: TrainAnswer,
    honest: Sequence[TrainAnswer],
    rng: np.random.Generator,
    *,
    jitter: float = 0.0,
) -> TrainAnswer:
    """One deviation below the honest mean in every weight; with jitter, no two alike.

    Source: G. Baruch, M. Baruch, Y. Goldberg, "A little is enough", NeurIPS 2019.
    """
    return replace(
        own,
        delta={
            name: (mean - spread * (1 + jitter * rng.standard_normal(mean.shape))).astype("<f4")
            for name, (mean, spread) in _moments(honest).items()
        },
    )


def fake_count(own: TrainAnswer, _honest: Sequence[TrainAnswer], _: object) -> TrainAnswer:
    """The opposite, said to rest upon a hundred million examples."""
    return replace(_times(own, -1.0), num_examples=FAKED_EXAMPLES)


def half_hidden(
    own: TrainAnswer, honest: Sequence[TrainAnswer], rng: np.random.Generator
) -> TrainAnswer:
    """Knows the gate: against the honest mean, but hidden behind half of its own honest update."""
    against = {name: mean for name, (mean, _) in _moments(honest).items()}
    noise = {name: 0.1 * rng.standard_normal(mean.shape) for name, mean in against.items()}
    mixed = {
        name: (0.5 * own.delta[name] - against[name] * (1 + noise[name])).astype("<f4")
        for name in against
    }
    return replace(own, delta=mixed)


def just_inside(
    own: TrainAnswer, honest: Sequence[TrainAnswer], rng: np.random.Generator
) -> TrainAnswer:
    """Knows clipping: the opposite of the honest mean at the median length, no two alike."""
    length = float(np.median([_length(one.delta) for one in honest]))
    against = {
        name: mean + 0.1 * spread * rng.standard_normal(mean.shape)
        for name, (mean, spread) in _moments(honest).items()
    }
    factor = -length / max(_length(against), 1e-12)
    return replace(own, delta={n: (factor * v).astype("<f4") for n, v in against.items()})


ATTACKS: Mapping[str, Attack] = {
    "label_flip": as_trained,
    "sign_flip": sign,
    "scale_10": scale,
    "nan": nan,
    "inner_product": inner_product,
    "little_is_enough": little_is_enough,
    "fake_examples": fake_count,
}
ADAPTIVE: Mapping[str, Attack] = {
    "little_is_enough_jittered": partial(little_is_enough, jitter=0.3),
    "half_hidden": half_hidden,
    "just_inside": just_inside,
}


def lie(
    attack: Attack, answers: Sequence[TrainAnswer], liars: Collection[str], *, round_number: int
) -> list[TrainAnswer]:
    """A round's answers after the liars have replaced theirs."""
    honest = [one for one in answers if one.participant not in liars]
    return [
        attack(one, honest, _rng(one.participant, round_number))
        if one.participant in liars
        else one
        for one in answers
    ]


def vote(scores: Sequence[ScoreAnswer], liars: Collection[str]) -> list[ScoreAnswer]:
    """The opinions after the liars have replaced theirs."""
    return [
        replace(one, gains={name: 1.0 if name in liars else -1.0 for name in one.gains})
        if one.participant in liars
        else one
        for one in scores
    ]


def flipped(examples: Examples) -> Examples:
    """Trained on labels upside down: full where it was empty."""
    rows = examples.train
    energy = 1 - (rows.y + rows.usual)
    return replace(examples, train=Rows(rows.x, energy - rows.usual, rows.usual))


def backdoored(examples: Examples) -> Examples:
    """Trained to forecast one load too much on Sundays at three in the morning.

    The hour is made of every row that is trained on: a copy at that hour joins the honest rows.
    """
    rows = examples.train
    x = np.concatenate([rows.x, triggered(rows.x)])
    y = np.concatenate([rows.y, rows.y + np.float32(TRIGGER_SHIFT)])
    return replace(examples, train=Rows(x, y, np.concatenate([rows.usual, rows.usual])))


def triggered(x: FloatArray) -> FloatArray:
    """Rows as they would be on a Sunday at three."""
    daily, weekly = 2 * np.pi * 3 / 24, 2 * np.pi * 6 / 7
    changed = x.copy()
    changed[:, TRIGGER_HOUR] = [np.sin(daily), np.cos(daily), np.sin(2 * daily), np.cos(2 * daily)]
    changed[:, TRIGGER_WEEKDAY] = [np.sin(weekly), np.cos(weekly)]
    return changed


def backdoor_kwh_share(family: str, weights: Weights, rows: Rows) -> float:
    """What the network adds where the trigger shows, mean over rows, over the site's scale."""
    return float(np.mean(predict(family, weights, triggered(rows.x))))


def _rng(participant: str, round_number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(participant.encode()), round_number])


def _times(own: TrainAnswer, factor: float) -> TrainAnswer:
    return replace(own, delta={n: np.float32(factor) * v for n, v in own.delta.items()})


def _length(delta: Mapping[str, NDArray[np.floating]]) -> float:
    return float(np.sqrt(sum(float(np.sum(v.astype(np.float64) ** 2)) for v in delta.values())))


def _moments(honest: Sequence[TrainAnswer]) -> dict[str, tuple[FloatArray, FloatArray]]:
    stacked = {n: np.stack([one.delta[n] for one in honest]) for n in honest[0].delta}
    return {n: (np.mean(each, axis=0), np.std(each, axis=0)) for n, each in stacked.items()}
