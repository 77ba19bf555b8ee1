from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from backend.forecasting.backtest import (
    LeakFound,
    Window,
    audit,
    backtest,
    check_no_leak,
    judge,
    training_part,
)
from backend.forecasting.features import rows_of
from backend.forecasting.history import FloatArray, SiteHistory
from backend.forecasting.models import fit
from backend.forecasting.samples import training_samples

MakeHistory = Callable[..., SiteHistory]


@pytest.fixture(scope="module")
def history(make_history: MakeHistory) -> SiteHistory:
    return make_history(days=70, seed=4)


@pytest.fixture(scope="module")
def window(history: SiteHistory) -> Window:
    test_from = history.end - timedelta(days=10)
    return Window(test_from, history.end, test_from - timedelta(days=14))


def test_a_planted_leak_is_caught(history: SiteHistory) -> None:
    def leaking(seen: SiteHistory, origin: int) -> FloatArray:
        return seen.energy_kwh[origin - 3 : origin + 1]  # the hour that begins at the origin too

    with pytest.raises(LeakFound, match="site_test: hour 900"):
        check_no_leak(leaking, history, origins=[900])


def test_a_value_that_came_late_is_a_leak_for_who_uses_it_early(history: SiteHistory) -> None:
    known_at_h = np.arange(1.0, history.hours + 1)
    known_at_h[898] = 905.0  # booked six hours after it happened
    late = replace(history, available_at_h=known_at_h)

    def early(seen: SiteHistory, origin: int) -> FloatArray:
        return seen.energy_kwh[origin - 3 : origin]

    check_no_leak(early, late, origins=[890, 905])
    with pytest.raises(LeakFound):
        check_no_leak(early, late, origins=[900])


def test_features_do_not_leak_also_where_values_came_late(history: SiteHistory) -> None:
    known_at_h = np.arange(1.0, history.hours + 1)
    known_at_h[::7] += 9.0
    late = replace(history, available_at_h=known_at_h)

    audit(late, origins=np.array([500, 777, 1000]))

    def columns(one: SiteHistory) -> FloatArray:
        return rows_of(one, origin=np.array([777]), lead_h=np.array([1])).features

    assert not np.array_equal(columns(late), columns(history), equal_nan=True)


def test_nothing_of_the_test_is_trained_on(history: SiteHistory, window: Window) -> None:
    part = training_part(history, window)

    assert part.end == window.test_from
    limited = replace(window, train_from=window.test_from - timedelta(days=30))
    assert training_part(history, limited).hours == 30 * 24


def test_a_backtest_measures_against_its_baselines(history: SiteHistory, window: Window) -> None:
    told: list[float] = []

    outcome = backtest(
        [history], {"site_test": window}, progress=lambda share, _: told.append(share)
    )

    figures = outcome.figures["site_test"]
    assert figures.rows == 10 * 8 * 6
    assert figures.mae_skill == pytest.approx(1 - figures.wape / figures.naive_wape)
    assert 0.5 < figures.r2 < 1
    assert figures.pinball < figures.climatology_pinball * 1.2
    assert 0.5 < figures.coverage_80 <= 1
    assert set(figures.wape_by_lead) == {1, 3, 6, 12, 18, 24}
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_model_of_the_same_quality_is_not_promoted(history: SiteHistory) -> None:
    before = history.cut(since_h=0, until_h=history.hours - 240)
    samples = training_samples([before], seed=0)
    texts = fit(samples, seed=0)

    verdict = judge(texts, texts, [history], since=before.end)

    assert verdict.gain == 0.0
    assert verdict.days >= 9
    assert not verdict.is_better
    with pytest.raises(ValueError, match="no hour"):
        judge(texts, texts, [history], since=history.end)
