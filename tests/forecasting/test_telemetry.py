"""Traces: order, duplicates, gaps that nothing reaches across; and the simulated ones."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.forecasting.telemetry_features import (
    NOW_NAMES,
    Trace,
    fleet_of,
    is_after_gap,
    now_features,
    since_last_min,
    soc_at,
    soc_lags,
    states_at,
)
from backend.forecasting.telemetry_simulation import (
    RecordedStays,
    SimulationSettings,
    simulate,
)
from tests.forecasting.vehicles import MONDAY, trace

START_S = int(MONDAY.timestamp())


def seconds(*minutes: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([int(START_S + 60 * one) for one in minutes])


def test_points_are_put_in_order_and_the_first_of_a_moment_counts() -> None:
    made = trace([10, 0, 5, 5], soc=[3, 1, 2, 99])

    np.testing.assert_array_equal(made.soc_percent, [1, 2, 3])
    np.testing.assert_array_equal(since_last_min(made), [np.nan, 5, 5])


@pytest.mark.parametrize(("minutes", "gap"), [(239, False), (240, False), (241, True)])
def test_a_gap_is_a_silence_of_over_four_hours(minutes: float, *, gap: bool) -> None:
    assert is_after_gap(trace([0, minutes])).tolist() == [True, gap]


def test_lags_do_not_reach_across_a_gap() -> None:
    made = trace([0, 5, 10, 15, 500, 505], soc=[1, 2, 3, 4, 5, 6])

    np.testing.assert_array_equal(
        soc_lags(made),
        [
            [np.nan, np.nan, np.nan],
            [1, np.nan, np.nan],
            [2, 1, np.nan],
            [3, 2, 1],
            [np.nan, np.nan, np.nan],
            [5, np.nan, np.nan],
        ],
    )


def test_the_present_is_unknown_after_a_gap_and_before_the_first_point() -> None:
    made = trace([0, 5], soc=[40, 42], power_kw=[0, 25])

    now = now_features(made, seconds(-1, 6, 5 + 240, 5 + 241))

    by_name = dict(zip(NOW_NAMES, now.T, strict=True))
    np.testing.assert_array_equal(by_name["soc_percent"], [np.nan, 42, 42, np.nan])
    np.testing.assert_array_equal(by_name["age_min"], [np.nan, 1, 240, np.nan])
    np.testing.assert_array_equal(by_name["power_percent_per_h"], [np.nan, 50, 50, np.nan])
    np.testing.assert_array_equal(by_name["soc_delta_1"], [np.nan, 2, 2, np.nan])
    assert np.isnan(now[[0, 3]]).all()


def test_a_state_between_two_points_is_known_unless_a_gap_lies_there() -> None:
    made = trace([0, 60, 400], soc=[40, 50, 90], plugged=[1, 1, 0])

    np.testing.assert_allclose(
        soc_at(made, seconds(0, 30, 60, 200, 400, 401)), [40, 45, 50, np.nan, 90, np.nan]
    )
    assert states_at(made, seconds(-1, 0, 59, 300, 301, 400)).tolist() == [-1, 1, 1, 1, -1, 0]


@pytest.mark.parametrize(("soc", "power"), [([101.0], [0.0]), ([-1.0], [0.0]), ([5.0], [-1.0])])
def test_impossible_values_make_no_trace(soc: list[float], power: list[float]) -> None:
    with pytest.raises(ValueError, match="telemetry"):
        trace([0], soc=soc, power_kw=power)


def test_very_short_traces_are_known_as_such() -> None:
    assert trace(list(range(47))).is_very_short
    assert trace([float(one) for one in range(0, 60 * 47, 30)]).is_very_short
    assert not trace([float(one) for one in range(0, 60 * 49, 30)]).is_very_short


def test_a_fleet_knows_nothing_of_what_comes_after_its_end() -> None:
    made = trace([0, 10, 20, 40], soc=[10, 20, 30, 90], plugged=[0, 0, 1, 0])

    fleet = fleet_of(
        [made], start=MONDAY, end=MONDAY + timedelta(minutes=22), timezone="UTC", country=None
    )

    assert fleet.plugs.state.tolist() == [[0, 1]]  # the last slot as of minute 22
    assert fleet.traces[0].soc_percent.tolist() == [10, 20, 30]


# Simulated telemetry


def stays(seed: int = 0, days: int = 20) -> RecordedStays:
    rng = np.random.default_rng(seed)
    came = START_S + 86_400 * np.arange(days) + rng.integers(25_000, 32_000, days)
    left = came + rng.integers(20_000, 36_000, days)
    done = came + (left - came) * rng.integers(5, 11, days) // 10
    return RecordedStays(f"vehicle{seed}", came, done, left, rng.uniform(2, 25, days))


def drawn_of(
    recorded: RecordedStays, *, days: int = 20, chosen: SimulationSettings | None = None
) -> Trace:
    end_s = START_S + days * 86_400
    return simulate(recorded, begin_s=START_S, end_s=end_s, settings=chosen)


@given(seed=st.integers(0, 1_000))
def test_simulated_vehicles_are_plugged_in_as_recorded_and_stay_within_their_battery(
    seed: int,
) -> None:
    recorded = stays(seed)

    drawn = drawn_of(recorded)

    place = np.searchsorted(recorded.plug_in_s, drawn.at_s, side="right") - 1
    inside = (place >= 0) & (drawn.at_s < recorded.plug_out_s[np.maximum(place, 0)])
    np.testing.assert_array_equal(drawn.is_plugged_in == 1, inside)
    assert np.all((drawn.soc_percent >= 0) & (drawn.soc_percent <= 100))
    assert np.all(drawn.power_kw >= 0)
    assert np.all(drawn.power_kw[~inside] == 0)


def test_simulated_charges_bring_the_recorded_energy() -> None:
    recorded, chosen = stays(3), SimulationSettings(gaps_per_day=0, step_min=(1, 2))

    drawn = drawn_of(recorded, chosen=chosen)

    for came, left, energy in zip(
        recorded.plug_in_s, recorded.plug_out_s, recorded.energy_kwh, strict=True
    ):
        soc = drawn.soc_percent[(drawn.at_s >= came) & (drawn.at_s < left)]
        gained_kwh = (soc.max() - soc.min()) / 100 * drawn.battery_capacity_kwh
        assert gained_kwh == pytest.approx(chosen.efficiency * energy, abs=1.2)


def test_the_same_seed_gives_the_same_telemetry_and_another_does_not() -> None:
    first, again = (drawn_of(stays()) for _ in range(2))
    other = drawn_of(stays(), chosen=SimulationSettings(seed=1))

    np.testing.assert_array_equal(first.at_s, again.at_s)
    np.testing.assert_array_equal(first.soc_percent, again.soc_percent)
    assert len(first.at_s) != len(other.at_s) or np.any(first.at_s != other.at_s)


def test_simulated_telemetry_has_jitter_gaps_duplicates_and_late_points() -> None:
    steps_min = np.diff(drawn_of(stays(days=60), days=60).at_s.astype(np.float64)) / 60

    usual = steps_min[(steps_min > 0) & (steps_min < 60)]
    assert usual.min() >= 0.9
    assert 5 < np.mean(usual) < 6.5
    assert np.count_nonzero(steps_min > 240) >= 2
    assert np.count_nonzero(steps_min == 0) > 20
    assert np.count_nonzero(steps_min < 0) > 10
