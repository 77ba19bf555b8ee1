import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from backend.forecasting.history import SiteHistory
from backend.forecasting.models import (
    FeaturesDiffer,
    TrainedModel,
    content_hash,
    predict,
    train,
)
from backend.forecasting.samples import (
    TooLittleHistory,
    holdout_samples,
    split_time,
    training_samples,
)

MakeHistory = Callable[..., SiteHistory]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def histories(make_history: MakeHistory) -> list[SiteHistory]:
    return [
        make_history(site_id="site_small", seed=1),
        make_history(site_id="site_large", seed=2, scale=20.0),
    ]


@pytest.fixture(scope="module")
def model(histories: list[SiteHistory]) -> TrainedModel:
    return train(histories)


def test_training_measures_itself_on_the_last_fifth_of_the_hours(
    model: TrainedModel, histories: list[SiteHistory]
) -> None:
    metrics = model.metrics

    assert metrics["test_from"] == (histories[0].end - timedelta(hours=144)).isoformat()
    assert metrics["test_to"] == histories[0].end.isoformat()
    assert metrics["test_r2"] > 0.8
    assert metrics["skill_vs_seasonal_naive"] > 0.05
    assert set(metrics["per_site"]) == {"site_small", "site_large"}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_the_measured_model_has_seen_no_hour_of_the_test(histories: list[SiteHistory]) -> None:
    split = split_time(histories)
    split_hour = int(split.timestamp()) // 3600

    seen = training_samples(histories, before=split, seed=0)
    held_out = holdout_samples(histories, since=split)

    assert seen.hour.max() < split_hour <= held_out.hour.min()
    shorter = [_until(history, split) for history in histories]
    np.testing.assert_array_equal(
        seen.rows.features, training_samples(shorter, seed=0).rows.features
    )


def _until(history: SiteHistory, moment: datetime) -> SiteHistory:
    hours = history.index_of(moment)
    return replace(
        history,
        energy_kwh=history.energy_kwh[:hours],
        occupancy=history.occupancy[:hours],
        sessions_started=history.sessions_started[:hours],
    )


@pytest.mark.parametrize("hours_ahead", [1, 24, 48, 168])
@pytest.mark.parametrize("origin_h", [0, 5, 30, 700, 760])
def test_a_forecast_is_finite_and_its_band_contains_its_mean(
    model: TrainedModel, histories: list[SiteHistory], origin_h: int, hours_ahead: int
) -> None:
    origin = histories[1].start + timedelta(hours=origin_h, minutes=20)

    forecast = predict(model.texts, histories[1], origin=origin, hours_ahead=hours_ahead)

    assert forecast.source == "lightgbm"
    assert forecast.origin == origin - timedelta(minutes=20)
    assert len(forecast.valid_at) == hours_ahead
    bounds = np.stack([forecast.p10_kwh, forecast.mean_kwh, forecast.p90_kwh])
    assert np.all(np.isfinite(bounds))
    assert np.all(bounds >= 0)
    assert np.all(np.diff(bounds, axis=0) >= 0)
    assert np.all(forecast.occupancy >= 0)


def test_a_forecast_ignores_what_comes_after_its_origin(
    model: TrainedModel, histories: list[SiteHistory]
) -> None:
    history = histories[0]
    origin = history.start + timedelta(hours=500)

    known = predict(model.texts, _until(history, origin), origin=origin, hours_ahead=24)
    full = predict(model.texts, history, origin=origin, hours_ahead=24)

    np.testing.assert_array_equal(known.mean_kwh, full.mean_kwh)


def test_weekends_and_nights_of_a_workplace_are_forecast_as_quiet(
    model: TrainedModel, histories: list[SiteHistory]
) -> None:
    friday = datetime(2026, 3, 27, tzinfo=UTC)

    forecast = predict(model.texts, histories[1], origin=friday, hours_ahead=72)

    by_day = forecast.mean_kwh.reshape(3, 24)
    assert by_day[0, 7:15].min() > 100.0
    assert by_day[1:].max() < 0.1 * by_day[0].max()


def test_a_site_that_was_never_trained_on_gets_a_forecast_of_its_own_size(
    model: TrainedModel, make_history: MakeHistory
) -> None:
    newcomer = make_history(site_id="site_new", seed=9, days=25, scale=5.0)
    actual = make_history(site_id="site_new", seed=9, days=26, scale=5.0).energy_kwh[-24:]

    forecast = predict(model.texts, newcomer, origin=newcomer.end, hours_ahead=24)

    assert forecast.mean_kwh.sum() == pytest.approx(actual.sum(), rel=0.3)


def test_the_same_input_gives_the_same_model_in_every_process(make_history: MakeHistory) -> None:
    here = content_hash(train([make_history(days=4)], seed=3))
    program = (
        "import sys; sys.path.insert(0, 'tests/forecasting');"
        "from conftest import _history;"
        "from backend.forecasting.models import content_hash, train;"
        "print(content_hash(train([_history(days=4)], seed=3)))"
    )

    there = subprocess.run(  # noqa: S603  # our own interpreter and program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert there.stdout.strip() == here


def test_the_hash_covers_texts_and_feature_names(model: TrainedModel) -> None:
    changed_text = replace(model, texts={**model.texts, "q10": model.texts["q90"]})
    changed_names = replace(model, feature_names=model.feature_names[::-1])

    hashes = {content_hash(each) for each in (model, changed_text, changed_names)}

    assert len(hashes) == 3
    assert content_hash(replace(model, seed=99)) in hashes
    assert content_hash(replace(model, data_fingerprint="other")) not in hashes


@pytest.mark.parametrize("days", [2, 3])
def test_a_few_days_of_history_are_enough(make_history: MakeHistory, days: int) -> None:
    history = make_history(days=days)

    trained = train([history])

    assert trained.metrics["rows_test"] > 0
    forecast = predict(trained.texts, history, origin=history.end, hours_ahead=24)
    assert np.all(np.isfinite(forecast.mean_kwh))


def test_sites_where_nothing_ever_happened_are_forecast_as_zero() -> None:
    still = np.zeros(24 * 10)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    history = SiteHistory("site_still", "Europe/Helsinki", None, start, still, still, still)

    trained = train([history])

    forecast = predict(trained.texts, history, origin=history.end, hours_ahead=24)
    assert forecast.p90_kwh.max() == 0.0
    assert json.dumps(trained.metrics, allow_nan=False)


def test_training_without_two_days_of_history_is_refused(make_history: MakeHistory) -> None:
    with pytest.raises(TooLittleHistory):
        train([])
    with pytest.raises(TooLittleHistory):
        train([make_history(days=1.9)])


def test_a_model_of_other_features_is_refused(
    model: TrainedModel, histories: list[SiteHistory]
) -> None:
    other = {name: text.replace("lag_week", "lag_month") for name, text in model.texts.items()}

    with pytest.raises(FeaturesDiffer):
        predict(other, histories[0], origin=histories[0].end, hours_ahead=1)


def test_training_tells_how_far_it_is(make_history: MakeHistory) -> None:
    told: list[tuple[float, str]] = []

    train([make_history(days=3)], progress=lambda share, step: told.append((share, step)))

    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(step for _, step in told)
