import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning import climate
from backend.planning.road import (
    SCALE_LIMITS,
    Weather,
    calibrated,
    class_near,
    drive_energy,
    wltc_route,
)
from backend.planning.routes import Route, mean_speed_route, route_from_speeds
from backend.planning.vehicle_classes import CLASSES, ClassName, VehicleParameters

PLAIN = VehicleParameters(
    mass_kg=1000,
    drag_area_m2=0.5,
    rolling_coefficient=0.01,
    drive_efficiency=0.8,
    cell_loss_per_kw=0.0,
    recuperation_share=0.5,
    max_recuperation_kw=1000,
    auxiliary_kw=0.5,
    heating_kw_per_k=0.1,
    cooling_kw_per_k=0.05,
    max_climate_kw=5.0,
    warm_up_kwh_per_k=0.01,
)
"""Round figures, for cases worked out by hand."""

CALM = Weather(20.0, air_density_kg_per_m3=1.2)

class_names = st.sampled_from(sorted(CLASSES))
temperatures = st.floats(-35, 48)


@st.composite
def routes(draw: st.DrawFn, *, hilly: bool = True) -> Route:
    distance_km = draw(st.floats(0.5, 400))
    climb_m = draw(st.floats(0, 30)) * distance_km if hilly else 0.0
    return mean_speed_route(
        distance_km=distance_km,
        mean_speed_km_h=draw(st.floats(5, 140)),
        stops=draw(st.none() | st.floats(0, 300)),
        climb_m=climb_m,
        descent_m=climb_m,
    )


def steady(speed_m_s: float, seconds: int, rise_m: float = 0.0) -> Route:
    """A route held at one speed."""
    speeds = np.full(seconds + 1, speed_m_s)
    return route_from_speeds(speeds, height_m=np.linspace(0.0, rise_m, seconds + 1))


def test_a_level_hour_at_twenty_metres_a_second_is_what_the_hand_works_out() -> None:
    energy = drive_energy(PLAIN, steady(20.0, 3600), CALM)

    # Rolling 0.01 * 1000 * 9.80665 = 98.0665 N, drag 1.2 / 2 * 0.5 * 400 = 120 N, over 72 km.
    assert energy.traction_kwh == pytest.approx(218.0665 * 72_000 / 3.6e6 / 0.8)
    assert energy.recuperated_kwh == 0.0
    assert energy.auxiliary_kwh == pytest.approx(0.5)
    assert energy.climate_kwh == 0.0
    assert energy.distance_km == pytest.approx(72.0)
    assert energy.duration_h == pytest.approx(1.0)


def test_a_steep_descent_returns_what_the_hand_works_out() -> None:
    energy = drive_energy(PLAIN, steady(10.0, 100, rise_m=-100.0), CALM)

    work_j = (98.0665 + 30) * 1000 - 1000 * 9.80665 * 100
    assert energy.traction_kwh == 0.0
    assert energy.recuperated_kwh == pytest.approx(-work_j / 3.6e6 * 0.5 * 0.8)
    assert energy.battery_kwh == pytest.approx(0.5 / 36 - energy.recuperated_kwh)


def test_speeding_up_and_braking_costs_what_the_hand_works_out() -> None:
    still = replace(PLAIN, drag_area_m2=0.0, rolling_coefficient=0.0)

    energy = drive_energy(still, route_from_speeds(np.array([0.0, 10.0, 0.0])), CALM)

    motion_kwh = 1.03 * 1000 * 50 / 3.6e6
    assert energy.traction_kwh == pytest.approx(motion_kwh / 0.8)
    assert energy.recuperated_kwh == pytest.approx(motion_kwh * 0.5 * 0.8)


def test_cells_lose_more_at_high_power() -> None:
    lossy = replace(PLAIN, cell_loss_per_kw=0.001)

    plain, energy = (drive_energy(one, steady(20.0, 3600), CALM) for one in (PLAIN, lossy))

    assert energy.traction_kwh == pytest.approx(
        plain.traction_kwh * (1 + 0.001 * plain.traction_kwh)  # kWh of one hour are kW
    )


def test_a_traced_hill_costs_more_than_the_level_road() -> None:
    speeds = np.full(3601, 20.0)
    hill = 150 * np.sin(np.linspace(0, math.pi, 3601))

    level, hilly = (
        drive_energy(CLASSES["van"], route_from_speeds(speeds, height_m=height_m)).battery_kwh
        for height_m in (None, hill)
    )

    assert hilly > level


def test_air_is_as_dense_as_the_standard_atmosphere_says() -> None:
    at_15_c, at_2000_m = (
        climate.air_density_kg_per_m3(np.array(15.0)),
        climate.air_density_kg_per_m3(np.array(2.0), 2000.0),
    )

    assert at_15_c == pytest.approx(1.225, abs=5e-4)
    assert at_2000_m == pytest.approx(1.0066, abs=2e-3)


def test_thin_mountain_air_saves_energy() -> None:
    here = mean_speed_route(distance_km=50, mean_speed_km_h=90)
    high = mean_speed_route(distance_km=50, mean_speed_km_h=90, start_height_m=2000)

    assert drive_energy(PLAIN, high).battery_kwh < 0.95 * drive_energy(PLAIN, here).battery_kwh


def test_a_heat_pump_halves_heating_until_deep_frost() -> None:
    pumped = replace(PLAIN, has_heat_pump=True)
    cold = np.array([0.0, -20.0, -30.0])

    share = climate.climate_power_kw(pumped, cold) / climate.climate_power_kw(PLAIN, cold)

    np.testing.assert_allclose(share, [0.5, 1.0, 1.0])


def test_heating_has_its_limit() -> None:
    assert climate.climate_power_kw(PLAIN, np.array([-60.0])) == pytest.approx([5.0])


def test_preconditioning_spares_the_warm_up_and_nothing_else() -> None:
    route = mean_speed_route(distance_km=20, mean_speed_km_h=50)
    frost = Weather(-7.0)

    cold = drive_energy(PLAIN, route, frost)
    warm = drive_energy(PLAIN, route, frost, is_preconditioned=True)

    assert cold.climate_kwh - warm.climate_kwh == pytest.approx(20 * 0.01)
    assert cold.traction_kwh == warm.traction_kwh


def test_a_cold_battery_takes_back_less() -> None:
    descent = steady(20.0, 60, rise_m=-120.0)
    weak = replace(PLAIN, max_recuperation_kw=5)

    warm, cold = (drive_energy(weak, descent, Weather(c)).recuperated_kwh for c in (20.0, -10.0))

    assert warm == pytest.approx(5 * 60 / 3600 * 0.8)
    assert cold == pytest.approx(0.3 * warm / (1 + 25 * climate.DRIVE_LOSS_PER_K))


def test_a_full_battery_takes_nothing_back_before_it_has_given() -> None:
    down_first = steady(10.0, 100, rise_m=-100.0).then(steady(10.0, 100, rise_m=100.0))
    up_first = steady(10.0, 100, rise_m=100.0).then(steady(10.0, 100, rise_m=-100.0))

    dark = replace(PLAIN, auxiliary_kw=0.0)
    downs = [drive_energy(dark, down_first, CALM, free_battery_kwh=room) for room in (0.0, None)]
    ups = [drive_energy(dark, up_first, CALM, free_battery_kwh=room) for room in (0.0, None)]

    assert downs[0].recuperated_kwh == pytest.approx(0.0)
    assert downs[1].recuperated_kwh > 0
    assert ups[0].recuperated_kwh == ups[1].recuperated_kwh


def test_room_in_the_battery_is_filled_and_no_more() -> None:
    descent = steady(10.0, 100, rise_m=-100.0)

    energy = drive_energy(PLAIN, descent, CALM, free_battery_kwh=0.02)

    assert energy.battery_kwh == pytest.approx(-0.02)


def test_weather_may_change_along_the_way() -> None:
    route = steady(20.0, 2)
    mild, frosty = (drive_energy(PLAIN, steady(20.0, 1), Weather(c)) for c in (20.0, -5.0))

    both = drive_energy(PLAIN, route, Weather(np.array([20.0, -5.0])))

    assert both.traction_kwh == pytest.approx(mild.traction_kwh + frosty.traction_kwh)


def test_a_steady_wind_from_behind_helps_but_never_pushes() -> None:
    route = steady(10.0, 100)

    calm, breeze, gale, storm = (
        drive_energy(PLAIN, route, Weather(headwind_m_s=wind)).traction_kwh
        for wind in (0.0, -5.0, -10.0, -30.0)
    )

    assert calm > breeze > gale
    assert storm == gale


@given(class_names, routes(), temperatures, st.floats(0, 1500), st.floats(1, 1500))
def test_more_mass_costs_more(
    name: ClassName, route: Route, temperature_c: float, payload_kg: float, more_kg: float
) -> None:
    vehicle, weather = CLASSES[name], Weather(temperature_c)

    light, heavy = (
        drive_energy(vehicle, route, weather, payload_kg=kg).battery_kwh
        for kg in (payload_kg, payload_kg + more_kg)
    )

    assert heavy > light


@given(class_names, routes(), temperatures, st.floats(-15, 20), st.floats(0.01, 15))
def test_more_headwind_never_costs_less(
    name: ClassName, route: Route, temperature_c: float, wind_m_s: float, more_m_s: float
) -> None:
    mild, strong = (
        drive_energy(CLASSES[name], route, Weather(temperature_c, wind)).battery_kwh
        for wind in (wind_m_s, wind_m_s + more_m_s)
    )

    assert strong >= mild - 1e-9
    if wind_m_s >= 0:
        assert strong > mild


@given(
    class_names,
    routes(),
    st.sampled_from([-1, 1]),
    st.floats(0, 50),
    st.floats(0.1, 20),
    st.booleans(),
    st.floats(-5, 15),
)
def test_further_from_21_degrees_never_costs_less(  # noqa: PLR0917 - drawn by hypothesis
    name: ClassName,
    route: Route,
    side: int,
    away_k: float,
    further_k: float,
    has_heat_pump: bool,  # noqa: FBT001 - drawn by hypothesis
    wind_m_s: float,
) -> None:
    vehicle = replace(CLASSES[name], has_heat_pump=has_heat_pump)

    near, far = (
        drive_energy(vehicle, route, Weather(21 + side * k, wind_m_s)).battery_kwh
        for k in (away_k, away_k + further_k)
    )

    assert far >= near - 1e-9


@given(class_names, st.floats(1, 100), st.floats(10, 130), st.floats(1, 60), temperatures)
def test_closed_hills_cost_more_than_level_ground(
    name: ClassName, distance_km: float, speed_km_h: float, climb_m_per_km: float, c: float
) -> None:
    climb_m = climb_m_per_km * distance_km
    level = mean_speed_route(distance_km=distance_km, mean_speed_km_h=speed_km_h)
    hills = mean_speed_route(
        distance_km=distance_km, mean_speed_km_h=speed_km_h, climb_m=climb_m, descent_m=climb_m
    )

    hilly_kwh, level_kwh = (
        drive_energy(CLASSES[name], way, Weather(c)).battery_kwh for way in (hills, level)
    )

    assert hilly_kwh > level_kwh


@given(class_names, st.floats(5, 60), st.floats(5, 120))
def test_there_is_no_perpetual_motion(name: ClassName, speed_m_s: float, slope_m: float) -> None:
    """Even without friction, up and down again never fills the battery."""
    free = replace(
        CLASSES[name], drag_area_m2=0, rolling_coefficient=0, auxiliary_kw=0, drive_efficiency=1.0
    )
    up_and_down = steady(speed_m_s, 100, slope_m).then(steady(speed_m_s, 100, -slope_m))

    energy = drive_energy(free, up_and_down, CALM)

    assert energy.battery_kwh > 0
    assert energy.recuperated_kwh < energy.traction_kwh


@given(class_names, routes(), temperatures, st.floats(0, 100))
def test_what_goes_out_is_finite_and_spread(
    name: ClassName, route: Route, temperature_c: float, room_kwh: float
) -> None:
    energy = drive_energy(CLASSES[name], route, Weather(temperature_c), free_battery_kwh=room_kwh)

    assert energy.traction_kwh >= 0
    assert 0 <= energy.recuperated_kwh <= energy.traction_kwh + 1e-9
    assert energy.battery_kwh >= -room_kwh - 1e-9
    assert 0 < energy.std_kwh < math.inf


def test_the_spread_is_what_the_hand_works_out_in_certain_weather() -> None:
    sure = Weather(0.0, temperature_std_k=0.0, headwind_std_m_s=0.0)

    energy = drive_energy(PLAIN, steady(20.0, 3600), sure)

    assert energy.std_kwh == pytest.approx(
        math.hypot(0.1 * energy.traction_kwh, 0.25 * energy.climate_kwh, 0.2 * 0.5)
    )


def test_quantiles_are_those_of_a_normal_distribution() -> None:
    energy = replace(drive_energy(PLAIN, steady(20.0, 3600), CALM), std_kwh=1.0)

    assert energy.quantile_kwh(0.5) == pytest.approx(energy.battery_kwh)
    assert energy.quantile_kwh(0.9) == pytest.approx(energy.battery_kwh + 1.2816, abs=1e-4)
    with pytest.raises(ValueError, match="quantile"):
        energy.quantile_kwh(1.0)


def test_unsure_weather_widens_the_spread() -> None:
    route = mean_speed_route(distance_km=100, mean_speed_km_h=90)

    sure, unsure = (
        drive_energy(PLAIN, route, Weather(0.0, headwind_std_m_s=std)) for std in (0.0, 5.0)
    )

    assert unsure.std_kwh > 1.2 * sure.std_kwh
    assert unsure.battery_kwh == sure.battery_kwh


@pytest.mark.parametrize("consumption_wh_per_km", [130.0, 180.0, 220.0])
def test_a_stated_consumption_is_met_on_the_test_cycle(consumption_wh_per_km: float) -> None:
    vehicle = class_near(consumption_wh_per_km)

    energy = drive_energy(vehicle, wltc_route(), Weather(23.0))

    assert 1000 * energy.battery_kwh / energy.distance_km == pytest.approx(consumption_wh_per_km)


def test_an_incredible_consumption_is_followed_to_its_limits_only() -> None:
    assert calibrated(CLASSES["sedan"], 5.0).consumption_scale == SCALE_LIMITS[0]
    assert calibrated(CLASSES["sedan"], 2000.0).consumption_scale == SCALE_LIMITS[1]
    assert calibrated(CLASSES["sedan"], 0.0) is CLASSES["sedan"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"payload_kg": -1.0}, "payload_kg"),
        ({"payload_kg": math.nan}, "payload_kg"),
        ({"free_battery_kwh": -0.1}, "free_battery_kwh"),
        ({"free_battery_kwh": math.nan}, "free_battery_kwh"),
    ],
)
def test_impossible_loads_are_refused(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        drive_energy(PLAIN, steady(20.0, 10), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"temperature_c": math.nan}, {"temperature_c": -80.0}, {"headwind_m_s": math.inf}]
)
def test_impossible_weather_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Weather(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("drive_efficiency", 1.1),
        ("mass_kg", 0.0),
        ("auxiliary_kw", -1.0),
        ("drag_area_m2", math.nan),
    ],
)
def test_impossible_vehicles_are_refused(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}

    with pytest.raises(ValueError, match=name):
        replace(PLAIN, **wrong)
