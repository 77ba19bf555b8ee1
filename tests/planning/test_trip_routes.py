import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.routes import mean_speed_route, route_from_speeds, usual_stops


def test_a_trace_becomes_pieces_worked_out_by_hand() -> None:
    route = route_from_speeds(np.array([0.0, 4.0, 4.0]), step_s=2.0, height_m=np.array([5, 6, 4]))

    np.testing.assert_allclose(route.length_m, [4.0, 8.0])
    np.testing.assert_allclose(route.speed_m_s, [math.sqrt(8), 4.0])
    np.testing.assert_allclose(route.duration_s, [2.0, 2.0])
    np.testing.assert_allclose(route.kinetic_j_per_kg, [8.0, 0.0])
    np.testing.assert_allclose(route.rise_m, [1.0, -2.0])
    np.testing.assert_allclose(route.height_m, [4.0, 4.0])


def test_hops_are_worked_out_by_hand() -> None:
    # Each half: 2000 m in 150 s with one stop of 15 s, so v * (135 - v / 0.8) = 2000.
    speed = 0.8 * (135 - math.sqrt(135**2 - 4 * 2000 / 0.8)) / 2

    route = mean_speed_route(distance_km=4.0, mean_speed_km_h=48.0, stops=2, speed_spread=0.0)

    ramp_m = speed**2 / 1.6
    np.testing.assert_allclose(route.length_m, [ramp_m, 2000 - 2 * ramp_m, ramp_m, 0.0] * 2)
    np.testing.assert_allclose(route.speed_m_s[[0, 1]], [speed * math.sqrt(0.5), speed])
    np.testing.assert_allclose(route.kinetic_j_per_kg[:4], [speed**2 / 2, 0, -(speed**2) / 2, 0])
    assert route.duration_h == pytest.approx(300 / 3600)


def test_more_stops_than_there_is_time_for_make_the_way_longer() -> None:
    route = mean_speed_route(distance_km=1.0, mean_speed_km_h=36.0, stops=2, speed_spread=0.0)

    # Two ramps of 250 m each, met in the middle at sqrt(500 * 0.8) = 20 m/s, and 15 s of standing.
    assert route.kinetic_j_per_kg.max() == pytest.approx(200.0)
    assert route.duration_h == pytest.approx(2 * (50 + 15) / 3600)


def test_the_usual_stops_are_those_of_the_cycles_they_come_from() -> None:
    assert usual_stops(11.99, 31.5) == pytest.approx(17, abs=0.1)
    assert usual_stops(16.51, 77.7) == pytest.approx(1, abs=0.1)


@given(
    distance_km=st.floats(1, 500),
    speed_km_h=st.floats(5, 140),
    climb_m=st.floats(0, 400),
    descent_m=st.floats(0, 400),
)
def test_a_route_is_as_long_and_as_high_as_it_was_said_to_be(
    distance_km: float, speed_km_h: float, climb_m: float, descent_m: float
) -> None:
    route = mean_speed_route(
        distance_km=distance_km, mean_speed_km_h=speed_km_h, climb_m=climb_m, descent_m=descent_m
    )

    assert route.distance_km == pytest.approx(distance_km)
    assert route.rise_m.clip(min=0).sum() == pytest.approx(climb_m)
    assert route.rise_m.sum() == pytest.approx(climb_m - descent_m, abs=1e-6)
    assert route.kinetic_j_per_kg.sum() == pytest.approx(0.0, abs=1e-6)


@given(distance_km=st.floats(20, 500), speed_km_h=st.floats(20, 140))
def test_a_route_with_few_stops_keeps_its_time(distance_km: float, speed_km_h: float) -> None:
    route = mean_speed_route(distance_km=distance_km, mean_speed_km_h=speed_km_h, stops=1)

    assert route.duration_h == pytest.approx(distance_km / speed_km_h)


def test_nowhere_is_no_pieces() -> None:
    assert mean_speed_route(distance_km=0.0, mean_speed_km_h=50).duration_h == 0.0


def test_a_stretched_trace_drives_the_same_way_for_longer() -> None:
    trace = route_from_speeds(np.array([0.0, 10.0, 10.0, 0.0]))

    longer = trace.stretched(3 * trace.distance_km)

    assert longer.duration_h == pytest.approx(3 * trace.duration_h)
    np.testing.assert_array_equal(longer.speed_m_s, trace.speed_m_s)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distance_km": -1.0}, "distance_km"),
        ({"distance_km": math.inf}, "distance_km"),
        ({"mean_speed_km_h": 0.0}, "mean_speed_km_h"),
        ({"stops": -1.0}, "stops"),
        ({"speed_spread": -0.1}, "speed_spread"),
        ({"climb_m": 11_000.0}, "more than the distance"),
        ({"start_height_m": math.nan}, "start_height_m"),
    ],
)
def test_impossible_ways_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_speed_route(**({"distance_km": 10.0, "mean_speed_km_h": 50.0} | arguments))


@pytest.mark.parametrize(
    ("speeds", "heights"),
    [([1.0], None), ([1.0, -1.0], None), ([1.0, math.nan], None), ([1.0, 1.0], [0.0])],
)
def test_impossible_traces_are_refused(speeds: list[float], heights: list[float] | None) -> None:
    height_m = None if heights is None else np.array(heights)

    with pytest.raises(ValueError, match="speed_m_s"):
        route_from_speeds(np.array(speeds), height_m=height_m)
