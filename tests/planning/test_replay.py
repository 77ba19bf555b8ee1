from dataclasses import replace

import numpy as np
import pytest

from backend.planning import policies
from backend.planning.replay import Array, State, outcome, replay
from tests.planning.visits import flat_site, visits


def test_a_vehicle_is_not_seen_before_it_arrives_nor_after_it_left_or_is_full() -> None:
    seen: list[tuple[int, list[int]]] = []

    def watching(state: State) -> Array:
        seen.append((state.step, state.vehicles.tolist()))
        return state.usable_kw

    replay(flat_site(100), visits((1, 4, 4, 2), (2, 8, 1, 1), (3, 5, 9, 1)), watching)

    assert seen == [(1, [0]), (2, [0, 1]), (3, [2]), (4, [2])]


def test_what_will_happen_cannot_be_seen_in_the_state() -> None:
    two = visits((0, 8, 8, 2), (5, 8, 3, 3))
    one = visits((0, 8, 8, 2))
    states: list[list[State]] = [[], []]
    for found, day in zip(states, (two, one), strict=True):

        def watching(state: State, found: list[State] = found) -> Array:
            found.append(state)
            return 0.5 * state.usable_kw

        replay(flat_site(100), day, watching)

    for first, second in zip(states[0][:5], states[1][:5], strict=True):
        assert np.array_equal(first.vehicles, second.vehicles)
        assert np.array_equal(first.open_kwh, second.open_kwh)
        assert first.peak_kw == second.peak_kw


def test_a_stated_departure_hides_the_true_one_and_is_never_in_the_past() -> None:
    day = replace(visits((0, 6, 60, 2)), stated_departure=np.array([2]))
    believed: list[int] = []

    def watching(state: State) -> Array:
        believed.append(int(state.departure[0]))
        return state.usable_kw

    replay(flat_site(100), day, watching)

    assert believed == [2, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("setpoint_kw", "code"),
    [
        ([4.0, 3.0], "plug_limit"),
        ([3.0, 3.1], "site_limit"),
        ([-1.0, 0.0], "negative_power"),
        ([0.0, 2.5], "too_much_energy"),
        ([0.5, 0.0], "minimum_power"),
    ],
)
def test_a_setpoint_that_breaks_a_rule_is_found(setpoint_kw: list[float], code: str) -> None:
    day = replace(visits((0, 1, 3, 3), (0, 1, 2, 3.5)), min_kw=np.ones(2))
    limit_kw = 5.0 if code == "site_limit" else 100.0

    lived = replay(flat_site(limit_kw, steps=1), day, lambda _state: np.array(setpoint_kw))

    assert code in {violation.code for violation in lived.violations}


def test_setpoints_at_the_limits_break_nothing() -> None:
    day = replace(visits((0, 1, 3, 3), (0, 1, 2, 3.5)), min_kw=np.array([3.0, 2.5]))

    lived = replay(flat_site(5.5, steps=1), day, lambda _state: np.array([3.0, 2.5]))

    assert lived.violations == ()
    assert lived.power_kw[:, 0].tolist() == [3.0, 2.0]  # it stops by itself when it is full


def test_a_policy_that_answers_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="step 0"):
        replay(flat_site(5), visits((0, 1, 3, 3)), lambda _state: np.array([np.nan]))


def test_a_battery_takes_less_when_it_is_nearly_full() -> None:
    day = replace(visits((0, 8, 6, 4)), taper_kwh=np.array([4.0]))

    lived = replay(flat_site(100), day, policies.uncontrolled)

    # 4 kW above the knee; 2 kWh open: 0.25 + 0.75 / 2 of 4 kW, more than is open.
    np.testing.assert_allclose(lived.power_kw[0, :3], [4.0, 2.0, 0.0])
    assert np.all(np.diff(lived.power_kw[0]) <= 0)


def test_a_day_comes_to_its_energy_peak_and_misses() -> None:
    site, day = flat_site(100, steps=2, charge=0.5), visits((0, 2, 4, 2), (1, 2, 5, 3))

    result = outcome(site, day, replay(site, day, policies.uncontrolled).power_kw)

    assert (result.vehicles, result.met) == (2, 1)
    assert result.delivered_kwh == pytest.approx(7)
    assert result.peak_kw == pytest.approx(5)
    assert result.bill_eur == pytest.approx(7 * 0.2 + 5 * 0.5)
