"""Availability: features know nothing of the future, gaps are masked, the model beats habits."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.forecasting import availability
from backend.forecasting.availability import LEADS, Calibration, TooLittleTelemetry, train
from backend.forecasting.availability_features import (
    FEATURE_NAMES,
    LIVE,
    Known,
    Questions,
    features,
    without_live,
)
from backend.forecasting.availability_history import SLOTS_A_DAY, PlugHistory
from backend.forecasting.stays import probably_there_h
from tests.forecasting.vehicles import MONDAY, commuting

DAYS = 40


def ask(history: PlugHistory, origin: int, lead: int, vehicle: int = 0) -> dict[str, float]:
    known = Known.of(history, slots_ahead=max(LEADS))
    rows = features(known, Questions(*(np.array([one]) for one in (vehicle, origin, lead))))
    return dict(zip(FEATURE_NAMES, rows[0].tolist(), strict=True))


def slot(day: int, hour: float) -> int:
    return int(day * SLOTS_A_DAY + 4 * hour)


def test_the_present_and_the_way_to_it() -> None:
    state = np.zeros((1, 9 * SLOTS_A_DAY), dtype=np.int8)
    for day in (0, 1, 7, 8):
        state[0, slot(day, 8) : slot(day, 16)] = 1
    history = PlugHistory(("v0",), "UTC", None, MONDAY, state)

    given = ask(history, slot(8, 10), 8)

    assert given["is_plugged_in"] == 1
    assert given["in_state_h"] == given["since_plug_in_h"] == 2.0
    assert (given["plug_ins_today"], given["plug_ins_7d"], given["plug_ins_28d"]) == (1, 2, 4)
    assert given["here_today_h"] == 2.25
    assert (given["local_hour"], given["lead_h"], given["weekday"]) == (12.0, 2.0, 1.0)
    assert (given["one_day_ago"], given["two_days_ago"], given["one_week_ago"]) == (1, 0, 1)
    assert given["like_day_share_7"] < 1  # it was not there on three work days
    assert given["occupancy"] == 1.0


def test_an_off_day_is_asked_of_off_days() -> None:
    history = commuting(days=26)

    saturday = ask(history, slot(25, 12), slot(1, 0))

    assert saturday["is_off_day"] == 1
    assert saturday["like_day_share_28"] == 0
    assert ask(history, slot(24, 12), slot(1, 0))["like_day_share_28"] > 0.7


def test_local_time_decides_across_the_change_of_clocks() -> None:
    start = datetime(2026, 3, 22, 22, tzinfo=UTC)  # a Monday, 0:00 in Helsinki
    state = np.zeros((1, 12 * SLOTS_A_DAY), dtype=np.int8)
    for day in range(12):
        eight = datetime(2026, 3, 23, 8) + timedelta(days=day)  # noqa: DTZ001 - wall clock
        offset_h = 2 if day < 6 else 3  # summer time from the 29th on
        first = int((eight - timedelta(hours=offset_h) - start.replace(tzinfo=None)).seconds / 900)
        first += (eight - timedelta(hours=offset_h) - start.replace(tzinfo=None)).days * SLOTS_A_DAY
        state[0, first : first + 8] = 1
    history = PlugHistory(("v0",), "Europe/Helsinki", None, start, state)
    origin = int((datetime(2026, 4, 1, 21, tzinfo=UTC) - start) / timedelta(minutes=15))

    at_half_past_eight = ask(history, origin, 34)  # 5:30 UTC

    assert at_half_past_eight["local_hour"] == 8.5
    assert at_half_past_eight["like_day_share_28"] == 1.0


@settings(max_examples=40)
@given(origin=st.integers(10 * SLOTS_A_DAY, 18 * SLOTS_A_DAY), seed=st.integers(0, 99))
def test_features_do_not_change_with_what_happens_after_the_origin(origin: int, seed: int) -> None:
    history = commuting(days=21, seed=seed)
    changed = history.state.copy()
    changed[:, origin + 1 :] = 1 - changed[:, origin + 1 :]
    leads = np.array(LEADS)
    asked = Questions(np.zeros(len(leads), dtype=np.int64), np.full(len(leads), origin), leads)

    before, after = (
        features(Known.of(one, slots_ahead=max(LEADS)), asked)
        for one in (history, replace(history, state=changed))
    )

    np.testing.assert_array_equal(before, after)


def test_a_planted_leak_is_seen() -> None:
    history, origin = commuting(days=21), slot(15, 7)
    leaking = history.state.copy()
    leaking[:, origin - SLOTS_A_DAY] = history.state[:, origin + 8]  # the answer, put into the past
    leaking[0, origin - SLOTS_A_DAY] ^= 1

    honest, leaked = (
        ask(one, origin, SLOTS_A_DAY * 2) for one in (history, replace(history, state=leaking))
    )

    assert any(honest[name] != leaked[name] for name in FEATURE_NAMES if np.isfinite(honest[name]))


def test_an_unknown_present_is_missing_and_never_made_up() -> None:
    history = commuting(days=21)
    origin = slot(15, 12)
    state = history.state.copy()
    state[0, origin - 17 : origin + 1] = -1

    given = ask(replace(history, state=state), origin, 8)

    assert all(np.isnan(given[name]) for name in LIVE)
    assert np.isfinite(given["like_day_share_28"])


def test_hiding_the_present_hides_exactly_the_live_features() -> None:
    known = Known.of(commuting(days=21), slots_ahead=max(LEADS))
    asked = availability.draw(
        known, since=14 * SLOTS_A_DAY, until=21 * SLOTS_A_DAY, rows=50, seed=0
    )
    rows = features(known, asked)

    masked = without_live(rows, np.arange(len(rows)) % 2 == 0)

    live = [name in LIVE for name in FEATURE_NAMES]
    assert np.isnan(masked[::2][:, live]).all()
    np.testing.assert_array_equal(masked[1::2], rows[1::2])
    np.testing.assert_array_equal(masked[:, ~np.array(live)], rows[:, ~np.array(live)])


# The model


@pytest.fixture(scope="module")
def history() -> PlugHistory:
    return commuting(days=DAYS, vehicles=4)


def test_the_model_beats_habits_and_is_calibrated(history: PlugHistory) -> None:
    model = train(history)

    assert model.metrics["auc"] > model.metrics["climatology_auc"]
    assert model.metrics["brier"] < model.metrics["climatology_brier"]
    assert model.metrics["auc_1h"] > 0.97
    assert model.metrics["ece"] < 0.05


def test_one_model_serves_with_and_without_the_present(history: PlugHistory) -> None:
    model = train(history)
    known = Known.of(history, slots_ahead=max(LEADS))
    asked = availability.draw(
        known, since=30 * SLOTS_A_DAY, until=DAYS * SLOTS_A_DAY, rows=4_000, seed=3
    )
    rows, happened = features(known, asked), availability.answers(known, asked)

    live, silent = (
        availability.quality(
            happened, availability.predict_rows(model.text, model.calibration, one), asked.lead
        )
        for one in (rows, without_live(rows, np.ones(len(rows), dtype=np.bool_)))
    )

    assert live["auc"] > silent["auc"] > 0.9


def test_the_same_history_gives_the_same_model_in_another_process(history: PlugHistory) -> None:
    program = (
        "import hashlib; from tests.forecasting.vehicles import commuting\n"
        "from backend.forecasting.availability import train\n"
        f"text = train(commuting(days={DAYS}, vehicles=4)).text\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]

    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program],
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.strip() == hashlib.sha256(train(history).text.encode()).hexdigest()


@pytest.mark.parametrize("days", [1, 2])
def test_a_few_days_are_too_little(days: int) -> None:
    with pytest.raises(TooLittleTelemetry):
        train(commuting(days=days))


def test_vehicles_that_never_come_teach_nothing() -> None:
    quiet = np.zeros((3, 30 * SLOTS_A_DAY), dtype=np.int8)

    with pytest.raises(TooLittleTelemetry):
        train(PlugHistory(("a", "b", "c"), "UTC", None, MONDAY, quiet))


# Figures


def test_auc_and_calibration_error_by_hand() -> None:
    happened = np.array([0, 0, 1, 1])

    assert availability.auc(happened, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert availability.auc(happened, np.full(4, 0.5)) == 0.5
    assert availability.calibration_error(happened, np.array([0.0, 0.0, 1.0, 1.0])) == 0.0
    assert availability.calibration_error(happened, np.full(4, 0.9)) == pytest.approx(0.4)


def test_a_calibration_that_corrects_nothing_changes_nothing() -> None:
    chances = np.array([0.01, 0.5, 0.99])

    np.testing.assert_allclose(Calibration()(chances), chances)
    assert Calibration(2.0, 0.0)(chances)[0] < 0.01 < Calibration(0.5, 0.0)(chances)[0]


@pytest.mark.parametrize(
    ("chances", "hours"),
    [([1.0, 0.9, 0.8], 1.5), ([0.95, 0.9, 0.9], 4.0), ([0.7, 0.9, 0.9], 0.25), ([0.85] * 3, 4.0)],
)
def test_a_stay_is_bounded_by_when_the_vehicle_is_probably_gone(
    chances: list[float], hours: float
) -> None:
    ahead_h = np.array([0.5, 1.0, 4.0]) if chances[0] != 1.0 else np.array([0.5, 1.0, 2.0])

    assert probably_there_h(ahead_h, np.array(chances), at_least=0.85) == pytest.approx(hours)
