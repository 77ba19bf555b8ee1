"""Vehicles learn together when to charge, discharge or wait: rounds over a simulated fleet.

Every ten steps half of the vehicles, drawn at random, go on from the shared model with what they
have seen so far; their coefficients and intercepts are averaged. A vehicle that has seen nothing
yet has no say. Every fifth step of a vehicle is kept for judging, trained on by nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backend.federation.fleet_privacy import FleetPrivacy, private_mean
from backend.federation.fleet_world import (
    ACTIONS,
    HOURS,
    IDLE,
    Flags,
    FleetLife,
    FleetWorld,
    Floats,
    Labels,
    PriceScale,
)
from backend.federation.weights import Weights

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier

STEPS_A_ROUND = 10
KNOTS = (0.25, 0.5, 0.75)
FEATURE_NAMES = (
    "soc",
    *(f"soc_above_{knot}" for knot in KNOTS),
    "price",
    *(f"price_above_{knot}" for knot in KNOTS),
    "soc_times_price",
    "hour_sin",
    "hour_cos",
)
_DRAW_STREAM, _FIT_STREAM, _NOISE_STREAM = 2, 3, 4
_HOLDOUT_EVERY = 5


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """How a fleet learns.

    Attributes:
        local_epochs: Passes of a vehicle over what it has seen.
        learning_rate: Constant, of stochastic gradient descent.
        l2: Weight of the penalty on coefficients.
        drawn_share: Share of the vehicles that train in a round.
        privacy: How updates are hidden; None averages them as they are.
        seed: Of draws, shuffles and noise.
    """

    local_epochs: int = 4
    learning_rate: float = 0.3
    l2: float = 1e-4
    drawn_share: float = 0.5
    privacy: FleetPrivacy | None = None
    seed: int = 7


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What each vehicle saw and what was right.

    Attributes:
        rows: Features, shape (vehicles, steps, features).
        labels: Indices into `ACTIONS`, shape (vehicles, steps).
        trains: Which of them the vehicle learns from, shape (vehicles, steps).
        judges: Which it is judged by, shape (vehicles, steps).
    """

    rows: Floats
    labels: Labels
    trains: Flags
    judges: Flags


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """How a round left the fleet; accuracies are means over vehicles on their own hold-outs.

    Attributes:
        accuracy: Of the shared model.
        log_loss: Of the shared model, in nats.
        local_accuracy: Of each vehicle's own model, which nobody helped; one that was never drawn
            waits idle.
        drawn: Vehicles that were drawn.
        trained: Those of them that had something to learn from.
    """

    round_number: int
    accuracy: float
    log_loss: float
    local_accuracy: float
    drawn: int
    trained: int


@dataclass(frozen=True, slots=True, eq=False)
class FleetState:
    """The fleet between two rounds.

    Attributes:
        shared: Coefficients and intercepts behind each other, shape (actions, features + 1).
        own: Each vehicle's own model, in the same form, shape (vehicles, actions, features + 1).
        has_own: Whether the vehicle has trained, shape (vehicles,).
        curve: Figures of the rounds so far.
    """

    shared: Floats
    own: Floats
    has_own: Flags
    curve: tuple[RoundFigures, ...] = ()


def features(soc: Floats, price_share: Floats, hour: Floats) -> Floats:
    """Features in the order of `FEATURE_NAMES`, the last axis of what is given back.

    Args:
        soc: Share of the battery that is full.
        price_share: The price normalised to 0..1.
        hour: Hour of day, 0 to 24.
    """
    soc, price_share, hour = np.broadcast_arrays(soc, price_share, hour)
    angle = 2 * np.pi * hour / HOURS
    bent = [[one, *(np.maximum(one - knot, 0.0) for knot in KNOTS)] for one in (soc, price_share)]
    columns = [*bent[0], *bent[1], soc * price_share, np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=-1)


def lessons_of(world: FleetWorld, life: FleetLife) -> Lessons:
    """What can be learned from a fleet's life: the hours in which vehicles were plugged in."""
    price_share = world.scale.share(world.price_eur_per_kwh)
    is_exam = np.arange(world.steps) % _HOLDOUT_EVERY == _HOLDOUT_EVERY - 1
    return Lessons(
        rows=features(life.soc, price_share[None, :], world.hour[None, :]),
        labels=life.action,
        trains=world.is_plugged_in & ~is_exam,
        judges=world.is_plugged_in & is_exam,
    )


def rounds_in(steps: int) -> int:
    """Full rounds in so many steps."""
    return steps // STEPS_A_ROUND


def untrained(vehicles: int) -> FleetState:
    """A fleet that knows nothing."""
    shape = (len(ACTIONS), len(FEATURE_NAMES) + 1)
    return FleetState(np.zeros(shape), np.zeros((vehicles, *shape)), np.zeros(vehicles, bool))


def advance(lessons: Lessons, state: FleetState, settings: FleetSettings) -> FleetState:
    """Do the next round: draw, train, average, judge."""
    number = len(state.curve) + 1
    drawn = draw(len(lessons.labels), number, settings)
    is_past = np.arange(lessons.labels.shape[1]) < number * STEPS_A_ROUND
    learner = _learner(settings)
    own, has_own, updates = state.own.copy(), state.has_own.copy(), {}
    for vehicle in drawn:
        chosen = lessons.trains[vehicle] & is_past
        if not chosen.any():
            continue
        # Passes as repeated rows, shuffled together: calls cost more than rows.
        rows = np.tile(lessons.rows[vehicle, chosen], (settings.local_epochs, 1))
        labels = np.tile(lessons.labels[vehicle, chosen], settings.local_epochs)
        # One seed for both, so that the two differ in nothing but where they set out.
        mixed = np.random.SeedSequence([settings.seed, _FIT_STREAM, number, vehicle])
        shuffle = int(mixed.generate_state(1)[0] >> 1)
        updates[int(vehicle)] = (
            fit(learner, state.shared, rows, labels, shuffle) - state.shared,
            len(labels),
        )
        own[vehicle] = fit(learner, own[vehicle], rows, labels, shuffle)
        has_own[vehicle] = True
    shared = state.shared + _mean(updates, len(drawn), number, settings, state.shared.shape)
    figures = _judge(lessons, shared, own, has_own)
    made = RoundFigures(number, *figures, drawn=len(drawn), trained=len(updates))
    return replace(state, shared=shared, own=own, has_own=has_own, curve=(*state.curve, made))


def draw(vehicles: int, round_number: int, settings: FleetSettings) -> Sequence[int]:
    """Whose turn it is: a fixed number of vehicles, drawn without replacement."""
    count = max(1, round(vehicles * settings.drawn_share))
    rng = np.random.default_rng([settings.seed, _DRAW_STREAM, round_number])
    return [int(one) for one in np.sort(rng.choice(vehicles, count, replace=False))]


def _learner(settings: FleetSettings) -> "SGDClassifier":
    from sklearn.linear_model import SGDClassifier  # noqa: PLC0415 - a second to import

    learner = SGDClassifier(
        loss="log_loss",
        alpha=settings.l2,
        learning_rate="constant",
        eta0=settings.learning_rate,
    )
    # The first call says which classes there are: a vehicle may not have seen all of them.
    nothing = np.zeros((len(ACTIONS), len(FEATURE_NAMES)))
    return learner.partial_fit(nothing, np.arange(len(ACTIONS)), classes=np.arange(len(ACTIONS)))


def fit(learner: "SGDClassifier", start: Floats, rows: Floats, labels: Labels, seed: int) -> Floats:
    """One pass over rows from a model on; gives the model it ends with."""
    from sklearn import config_context  # noqa: PLC0415 - a second to import

    learner.coef_ = np.ascontiguousarray(start[:, :-1])
    learner.intercept_ = np.ascontiguousarray(start[:, -1])
    learner.t_, learner.random_state = 1.0, seed
    with config_context(assume_finite=True, skip_parameter_validation=True):
        learner.partial_fit(rows, labels)
    return np.column_stack([learner.coef_, learner.intercept_])


def _mean(
    updates: Mapping[int, tuple[Floats, int]],
    drawn: int,
    round_number: int,
    settings: FleetSettings,
    shape: tuple[int, ...],
) -> Floats:
    """The mean update: by examples, or with privacy every vehicle alike and noise."""
    if settings.privacy is not None:
        rng = np.random.default_rng([settings.seed, _NOISE_STREAM, round_number])
        flat = np.zeros((drawn, int(np.prod(shape))))
        for place, (update, _) in enumerate(updates.values()):
            flat[place] = update.ravel()
        return private_mean(flat, settings.privacy, rng).reshape(shape)
    total = sum(count for _, count in updates.values())
    whole = sum((update * count for update, count in updates.values()), np.zeros(shape))
    return np.asarray(whole / total if total else whole)


def _judge(
    lessons: Lessons, shared: Floats, own: Floats, has_own: Flags
) -> tuple[float, float, float]:
    """Accuracy and loss of the shared model, accuracy of the vehicles' own ones."""
    odds = lessons.rows @ shared[:, :-1].T + shared[:, -1]
    alone = np.einsum("vsf,vaf->vsa", lessons.rows, own[:, :, :-1]) + own[:, None, :, -1]
    own_says = np.where(has_own[:, None], alone.argmax(axis=-1), IDLE)
    chance = probabilities(odds)
    right = np.take_along_axis(chance, lessons.labels[..., None].astype(int), axis=-1)[..., 0]
    return (
        mean_accuracy(lessons, odds.argmax(axis=-1)),
        _mean_over_vehicles(lessons, -np.log(np.maximum(right, 1e-9))),
        mean_accuracy(lessons, own_says),
    )


def probabilities(log_odds: Floats) -> Floats:
    """One against the rest for each action, made to add up to 1, as scikit-learn does."""
    each = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -40.0, 40.0)))
    return np.asarray(each / each.sum(axis=-1, keepdims=True))


def mean_accuracy(lessons: Lessons, says: Floats | Labels) -> float:
    """The share of right answers on hold-outs, a mean over vehicles that have one."""
    return _mean_over_vehicles(lessons, says == lessons.labels)


def _mean_over_vehicles(lessons: Lessons, values: Floats | Flags) -> float:
    """0 where no vehicle has a hold-out, which ten steps give every one that parks."""
    count = lessons.judges.sum(axis=1)
    whole = (values * lessons.judges).sum(axis=1)[count > 0] / count[count > 0]
    return float(whole.mean()) if len(whole) else 0.0


def majority_accuracies(lessons: Lessons) -> tuple[float, float]:
    """Always saying what was most often right: for each vehicle, and for the fleet as a whole."""
    counts = np.stack(
        [((lessons.labels == one) & lessons.trains).sum(axis=1) for one in range(len(ACTIONS))]
    )
    each = np.broadcast_to(counts.argmax(axis=0)[:, None], lessons.labels.shape)
    all_alike = np.full(lessons.labels.shape, counts.sum(axis=1).argmax())
    return mean_accuracy(lessons, each), mean_accuracy(lessons, all_alike)


def weights_of(state: FleetState) -> Weights:
    """The shared model as arrays `coef`, shape (actions, features), and `intercept`."""
    shared = state.shared.astype(np.float32)
    return {"coef": shared[:, :-1].copy(), "intercept": shared[:, -1].copy()}


def decide(
    weights: Weights, scale: PriceScale, *, soc: float, price_eur_per_kwh: float, hour: float
) -> dict[str, float]:
    """The chance that each action is the right one."""
    price_share = scale.share(np.array(price_eur_per_kwh))
    row = features(np.array(soc), price_share, np.array(hour))
    odds = row @ weights["coef"].astype(np.float64).T + weights["intercept"]
    return dict(zip(ACTIONS, probabilities(odds).tolist(), strict=True))
