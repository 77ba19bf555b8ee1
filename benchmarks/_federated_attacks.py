"""Liars among the participants: what they send instead of their updates, and how they vote.

Seven attacks, three that know the defence, free riders, and a backdoor. All liars of a run work
together and see each other's and the honest updates; on the committee they praise each other and
damn the rest.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from backend.federation.checking import Rules, norm_of
from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, predict
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import Weights


@dataclass(frozen=True, slots=True)
class Situation:
    """What a liar goes by.

    Attributes:
        own: Its update as it came of training.
        honest: The honest updates.
        rng: Its own, so that no two liars are alike.
        gain: What an update is worth on its own holdout, tried as the committee would.
    """

    own: TrainAnswer
    honest: Sequence[TrainAnswer]
    rng: np.random.Generator
    gain: Callable[[Weights], float]

    def moments(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Mean and spread of the honest updates, by array."""
        stacked = {n: np.stack([one.delta[n] for one in self.honest]) for n in self.own.delta}
        return {n: (np.mean(each, axis=0), np.std(each, axis=0)) for n, each in stacked.items()}

    def against(self) -> dict[str, NDArray[np.floating]]:
        """The opposite of the honest mean at the honest median length, a little unlike others'."""
        median = float(np.median([norm_of(one.delta) for one in self.honest]))
        moved = {
            name: mean + 0.1 * spread * self.rng.standard_normal(mean.shape)
            for name, (mean, spread) in self.moments().items()
        }
        length = norm_of({name: array.astype(np.float32) for name, array in moved.items()})
        return {name: -median / max(length, 1e-12) * array for name, array in moved.items()}


Attack = Callable[[Situation], TrainAnswer]

FAKED_EXAMPLES = 10**8
PARTS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
NOTHING = 1e-3
PASSES = 0.9  # of the tolerance: its holdout is not the committee's
TRIGGER_WEEKDAY = slice(4, 6)  # weekday_sin and weekday_cos
TRIGGER_HOUR = slice(0, 4)
TRIGGER_SHIFT = 1.0  # of the site's scale: the load that is to be forecast in the triggered hour


def as_trained(now: Situation) -> TrainAnswer:
    """The lie is in the examples: `flipped` or `backdoored`."""
    return now.own


def sign(now: Situation) -> TrainAnswer:
    """The opposite."""
    return _times(now.own, -1.0)


def scale(now: Situation) -> TrainAnswer:
    """The opposite, ten times as long."""
    return _times(now.own, -10.0)


def nan(now: Situation) -> TrainAnswer:
    """No numbers."""
    return _times(now.own, float("nan"))


def inner_product(now: Situation) -> TrainAnswer:
    """Half the opposite of the honest mean.

    Source: C. Xie et al., "Fall of empires: breaking Byzantine-tolerant SGD by inner product
    manipulation", UAI 2019.
    """
    half = {n: np.float32(-0.5) * mean for n, (mean, _) in now.moments().items()}
    return replace(now.own, delta=half)


def little_is_enough(now: Situation, *, jitter: float = 0.0) -> TrainAnswer:
    """One deviation below the honest mean in every weight; with jitter, no two alike.

    Source: G. Baruch, M. Baruch, Y. Goldberg, "A little is enough", NeurIPS 2019.
    """
    below = {
        name: (mean - spread * (1 + jitter * now.rng.standard_normal(mean.shape))).astype("<f4")
        for name, (mean, spread) in now.moments().items()
    }
    return replace(now.own, delta=below)


def fake_count(now: Situation) -> TrainAnswer:
    """The opposite, said to rest upon a hundred million examples."""
    return replace(_times(now.own, -1.0), num_examples=FAKED_EXAMPLES)


def just_inside(now: Situation) -> TrainAnswer:
    """Knows clipping and copies: as far against the honest mean as is never clipped."""
    return replace(now.own, delta={n: a.astype("<f4") for n, a in now.against().items()})


def gate_aware(now: Situation) -> TrainAnswer:
    """Knows the gate: as far against the honest mean as its own holdout says will just pass.

    The rest of the way is its own honest update, so that early rounds do not give it away.
    """
    against = now.against()
    for part in PARTS:
        mixed = {
            n: ((1 - part) * now.own.delta[n] + part * against[n]).astype("<f4") for n in against
        }
        if now.gain(mixed) > -PASSES * Rules().tolerance:
            return replace(now.own, delta=mixed)
    return now.own


def free_ride(now: Situation) -> TrainAnswer:
    """Next to nothing, no two alike: the model without the work, and a short median to clip to."""
    almost = {
        name: (NOTHING * now.rng.standard_normal(array.shape)).astype("<f4")
        for name, array in now.own.delta.items()
    }
    return replace(now.own, delta=almost)


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
    "just_inside": just_inside,
    "gate_aware": gate_aware,
    "free_riders": free_ride,
}


def lie(
    attack: Attack,
    answers: Sequence[TrainAnswer],
    liars: Collection[str],
    *,
    round_number: int,
    gain: Callable[[str, Weights], float],
) -> list[TrainAnswer]:
    """A round's answers after the liars have replaced theirs.

    Args:
        attack: How.
        answers: As they came of training.
        liars: Who.
        round_number: Of the round.
        gain: What an update is worth on somebody's holdout.
    """
    honest = [one for one in answers if one.participant not in liars]
    return [
        attack(
            Situation(
                one,
                honest,
                np.random.default_rng([zlib.crc32(one.participant.encode()), round_number]),
                partial(gain, one.participant),
            )
        )
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


def _times(own: TrainAnswer, factor: float) -> TrainAnswer:
    return replace(own, delta={n: np.float32(factor) * v for n, v in own.delta.items()})
