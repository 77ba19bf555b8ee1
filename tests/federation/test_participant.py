"""Training and scoring at a participant: the same bytes again, better than before, and private."""

from dataclasses import replace

import numpy as np
import pytest

from backend.federation.demand import Examples, Rows
from backend.federation.noise import SecretStream
from backend.federation.participant import (
    WrongModel,
    context_of,
    forecast_errors,
    loss,
    score,
    seed_of,
    train,
)
from backend.federation.tasks import ScoreTask, TrainSettings
from backend.federation.training import Adam, fit_privately
from backend.federation.weights import Weights, WeightsRefused, content_hash
from tests.federation.updates import FAMILY, PARENT, filled, site, train_task

KEY = bytes(range(32))
PRIVATE = TrainSettings(local_epochs=1, clip_norm=1.0, noise_multiplier=1.0)
ONE = site(1)


def score_task(**candidates: float) -> ScoreTask:
    updates = {name: filled(value) for name, value in candidates.items()}
    return ScoreTask("exp", 1, "me", FAMILY, PARENT, content_hash(PARENT), updates)


def test_training_lowers_the_loss_on_hours_it_never_saw() -> None:
    answer = train(train_task("me", PARENT), ONE)

    moved = {name: PARENT[name] + answer.delta[name] for name in PARENT}
    assert loss(FAMILY, moved, ONE.holdout) < 0.95 * loss(FAMILY, PARENT, ONE.holdout)
    assert answer.num_examples == len(ONE.train)
    assert answer.metrics["holdout_loss"] == pytest.approx(loss(FAMILY, moved, ONE.holdout))


def test_errors_are_said_as_shares_of_the_energy_beside_those_of_usual_days() -> None:
    """Two hours 0.5 and 0.2 above a usual 1: of 2.7 charged, usual days miss 0.7."""
    x = np.zeros((2, 26), np.float32)
    rows = Rows(x, np.array([0.5, 0.2], np.float32), np.ones(2, np.float32))
    data = Examples(rows, rows, rows[:0], scale_kwh=10.0)
    weights = {"w": np.zeros((26, 1), np.float32), "b": np.array([0.3], np.float32)}

    said = forecast_errors(FAMILY, weights, data)

    # The network says 0.3 for each: it misses by 0.2 and by 0.1.
    assert said == {"wape": pytest.approx(0.3 / 2.7), "usual_wape": pytest.approx(0.7 / 2.7)}
    assert forecast_errors(FAMILY, weights, replace(data, scale_kwh=99.0)) == said
    assert forecast_errors(FAMILY, weights, replace(data, holdout=rows[:0])) == {}
    assert train(train_task("me", weights), data).metrics["wape"] == said["wape"]


def test_the_same_task_gives_the_same_bytes() -> None:
    first, again = (train(train_task("me", PARENT), site(1)).delta for _ in range(2))

    assert content_hash(first) == content_hash(again)


def test_participants_and_rounds_shuffle_differently() -> None:
    terms = TrainSettings()

    seeds = {seed_of(terms, name, number) for name in ("a", "b") for number in (1, 2)}

    assert len(seeds) == 4
    assert seed_of(terms, "a", 1) != seed_of(replace(terms, seed=8), "a", 1)


def test_the_pull_of_fedprox_keeps_an_update_short() -> None:
    free = train(train_task("me", PARENT), ONE).delta
    held = train(train_task("me", PARENT, settings=TrainSettings(prox_mu=5.0)), ONE).delta

    assert np.linalg.norm(held["w"]) < 0.8 * np.linalg.norm(free["w"])


def test_a_model_other_than_the_task_names_is_not_trained() -> None:
    with pytest.raises(WrongModel, match="is not 00"):
        train(replace(train_task("me", PARENT), parent_hash="00"), ONE)


def test_weights_that_are_no_weights_are_refused() -> None:
    bad = {**PARENT, "b": np.array([np.nan], np.float32)}

    with pytest.raises(WeightsRefused, match="not finite"):
        train(train_task("me", bad), ONE)


def test_a_private_update_carries_no_figures_and_comes_again_with_its_key() -> None:
    task = train_task("me", PARENT, settings=PRIVATE)

    first, again = train(task, ONE, noise_key=KEY), train(task, ONE, noise_key=KEY)
    others = [train(task, ONE), train(replace(task, round_number=2), ONE, noise_key=KEY)]

    assert not first.metrics
    assert content_hash(first.delta) == content_hash(again.delta)
    assert all(content_hash(one.delta) != content_hash(first.delta) for one in others)


def test_other_examples_do_not_share_the_noise_of_a_task() -> None:
    """Its difference would otherwise tell what the new example is."""
    task = train_task("a", PARENT, settings=PRIVATE)
    older = ONE.train[:-1]

    contexts = {context_of(task, rows) for rows in (ONE.train, older, ONE.train[:-1])}

    assert len(contexts) == 2


def test_no_example_moves_a_private_sum_further_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums: list[Weights] = []

    monkeypatch.setattr(Adam, "move", lambda _self, _weights, slope: sums.append(slope))
    monkeypatch.setattr(SecretStream, "normal", lambda _self, count: np.zeros(count))
    outlier = Rows(*(100 * ONE.train[:1].x, 100 * ONE.train[:1].y, ONE.train[:1].usual))
    terms = TrainSettings(local_epochs=1, batch_size=1, clip_norm=0.5, noise_multiplier=1.0)

    fit_privately(FAMILY, PARENT, outlier, settings=terms, stream=SecretStream(KEY, b""))

    lengths = [np.sqrt(sum(float(np.sum(g**2)) for g in one.values())) for one in sums]
    assert lengths == [pytest.approx(0.5, rel=1e-4)]


def test_the_noise_has_the_spread_it_should_have() -> None:
    noise = SecretStream(KEY, b"a").normal(100_000)

    assert float(np.mean(noise)) == pytest.approx(0, abs=0.02)
    assert float(np.std(noise)) == pytest.approx(1, abs=0.02)
    assert not np.array_equal(noise[:10], SecretStream(KEY, b"b").normal(10))


def test_a_key_anybody_could_guess_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        SecretStream(b"secret", b"")


def test_gains_say_how_far_the_loss_falls() -> None:
    answer = score(score_task(nothing=0.0, little=0.001), ONE)

    moved = {name: PARENT[name] + np.float32(0.001) for name in PARENT}
    fall = 1 - loss(FAMILY, moved, ONE.holdout) / loss(FAMILY, PARENT, ONE.holdout)
    assert answer.gains == {"little": pytest.approx(fall), "nothing": 0.0}


@pytest.mark.parametrize("value", [50.0, 3e38, float("nan"), float("inf")])
def test_what_ruins_the_model_has_the_worst_gain(value: float) -> None:
    assert score(score_task(ruin=value), ONE).gains == {"ruin": -1.0}


def test_an_update_of_another_shape_has_the_worst_gain() -> None:
    odd = replace(score_task(), candidates={"odd": {"w": np.zeros((3, 1), np.float32)}})

    assert score(odd, ONE).gains == {"odd": -1.0}
