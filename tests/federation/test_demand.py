"""Examples of a series: what each input is, that none is known too late, and how they are split."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.demand import (
    FEATURES,
    TooFewExamples,
    feature_columns,
    hourly_examples,
    scale_of,
)
from backend.federation.networks import INPUTS

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday


def columns(energy: np.ndarray) -> dict[str, np.ndarray]:
    return feature_columns(energy, START, timezone="UTC", country=None)


def test_there_are_as_many_inputs_as_the_networks_take() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == INPUTS


@settings(max_examples=25, deadline=None)
@given(hour=st.integers(24, 24 * 40 - 1), seed=st.integers(0, 10**6))
def test_no_input_knows_anything_of_the_last_24_hours(hour: int, seed: int) -> None:
    energy = np.random.default_rng(seed).uniform(0, 10, 24 * 40)
    changed = energy.copy()
    changed[hour - 23 : hour + 24] += 100

    before, after = columns(energy), columns(changed)

    for name in FEATURES:
        np.testing.assert_array_equal(before[name][hour], after[name][hour], err_msg=name)


def test_inputs_are_what_their_names_say() -> None:
    energy = np.arange(24.0 * 60)
    hour = 24 * 45 + 9  # a Thursday, nine o'clock

    row = {name: column[hour] for name, column in columns(energy).items()}

    assert row["lag_24"] == hour - 24
    assert row["lag_336"] == hour - 336
    assert row["like_day_3"] == np.mean([hour - 24 * day for day in (1, 2, 3)])
    worked = (1, 2, 3, 6, 7, 8, 9, 10)  # of the days before, those on which people work
    assert row["like_day_8"] == np.mean([hour - 24 * day for day in worked])
    assert row["like_day_8_before"] == row["like_day_8"] - 1
    assert row["same_weekday_4"] == np.mean([hour - 168 * week for week in (1, 2, 3, 4)])
    assert row["same_hour_7"] == hour - 24 * 4
    assert row["day_mean"] == np.mean(energy[hour - 47 : hour - 23])
    assert row["week_mean"] == pytest.approx(np.mean(energy[hour - 191 : hour - 23]))
    assert row["hour_sin"] == pytest.approx(np.sin(2 * np.pi * 9 / 24))
    assert (row["is_off_day"], row["is_off_eve"], row["is_off_morrow"]) == (-0.5, -0.5, -0.5)


def test_a_public_holiday_is_a_day_off() -> None:
    christmas = datetime(2026, 12, 25, tzinfo=UTC)

    at_work = feature_columns(np.zeros(24), christmas, timezone="UTC", country=None)
    at_home = feature_columns(np.zeros(24), christmas, timezone="UTC", country="US")

    assert at_work["is_off_day"][12] == -0.5
    assert at_home["is_off_day"][12] == 0.5


def test_hours_and_days_are_those_of_the_sites_zone() -> None:
    found = feature_columns(np.zeros(24), START, timezone="Pacific/Auckland", country=None)

    local_midnight = 11  # UTC, for it is summer there
    assert found["hour_cos"][local_midnight] == pytest.approx(1.0)


def test_training_holdout_and_test_follow_each_other_in_time() -> None:
    energy = np.arange(1.0, 24 * 50 + 1)

    found = hourly_examples(energy, START, timezone="UTC", holdout_share=0.1, test_share=0.2)

    hours = [
        (part.y + part.usual) * found.scale_kwh for part in (found.train, found.holdout, found.test)
    ]
    np.testing.assert_allclose(np.concatenate(hours), energy[24 * 12 :], rtol=1e-5)
    assert (len(found.train), len(found.holdout), len(found.test)) == (24 * 23, 120, 240)


@pytest.mark.parametrize(("days", "rows"), [(7, 24 * 5), (19, 24 * 17), (20, 24 * 7)])
def test_a_young_site_trains_on_its_first_days_too_if_it_has_little_else(
    days: int, rows: int
) -> None:
    energy = np.random.default_rng(1).uniform(1, 2, 24 * days)

    found = hourly_examples(energy, START, timezone="UTC", holdout_share=1 / days)

    assert len(found.train) == rows


def test_the_scale_is_learned_from_what_is_trained_on_alone() -> None:
    energy = np.ones(24 * 50)
    energy[24 * 40 :] = 1_000

    found = hourly_examples(energy, START, timezone="UTC", holdout_share=0.1, test_share=0.1)

    assert found.scale_kwh == 1.0


def test_unknown_hours_are_neither_examples_nor_inputs() -> None:
    energy = np.random.default_rng(1).uniform(1, 2, 24 * 30)
    energy[24 * 16 : 24 * 18] = np.nan

    found = hourly_examples(energy, START, timezone="UTC")

    assert len(found.train) + len(found.holdout) == 24 * 16  # without the first days and the gap
    assert np.isfinite(found.train.x).all()
    assert np.isfinite(found.holdout.x).all()


def test_a_site_that_never_charged_has_a_scale_of_one() -> None:
    assert scale_of(np.zeros(100)) == 1.0
    assert scale_of(np.array([])) == 1.0
    assert scale_of(np.append(np.zeros(99), 5.0)) == 5.0


def test_a_series_too_short_to_hold_something_out_is_refused() -> None:
    with pytest.raises(TooFewExamples, match="20 hours leave 0 rows"):
        hourly_examples(np.ones(20), START, timezone="UTC")
