import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.trip import DrivingConditions, plain_formula, trip_need

CAR: dict[str, Any] = {"distance_km": 120.0, "consumption_wh_per_km": 180.0}
FROST = DrivingConditions(temperature_c=-15.0)


def test_a_trip_nothing_more_is_known_of_needs_what_the_formula_says() -> None:
    need = trip_need(**CAR)

    assert need.needed_trip_energy_kwh == need.formula_kwh == 25.92
    assert need.trip_model == "formula"
    assert need.expected_kwh is None
    assert trip_need(**CAR, conditions=DrivingConditions()) == need


def test_the_floor_is_the_same_as_the_plain_formula() -> None:
    formula = plain_formula(
        **CAR,
        capacity_kwh=75.0,
        soc_percent=35.0,
        charger_max_power_kw=150.0,
        vehicle_max_power_kw=150.0,
        tariff_eur_per_kwh=0.35,
        hours_to_departure=8.0,
    )

    assert trip_need(**CAR, conditions=FROST).formula_kwh == formula.needed_trip_energy_kwh


def test_frost_asks_for_more_than_the_formula() -> None:
    need = trip_need(**CAR, conditions=FROST)

    assert need.trip_model == "physical"
    assert need.needed_trip_energy_kwh > 1.2 * need.formula_kwh


def test_a_mild_slow_trip_stays_on_the_floor() -> None:
    mild = DrivingConditions(temperature_c=21.0, mean_speed_km_h=45.0, headwind_m_s=0.0)

    need = trip_need(**CAR, conditions=mild)

    assert need.trip_model == "physical"
    assert need.needed_trip_energy_kwh == need.formula_kwh
    assert need.expected_kwh is not None
    assert need.expected_kwh < need.formula_kwh


def test_the_need_is_the_chosen_quantile_and_the_reserve() -> None:
    half = trip_need(**CAR, conditions=FROST, quantile=0.5, reserve_kwh=4.0)
    sure = trip_need(**CAR, conditions=FROST, quantile=0.95, reserve_kwh=4.0)

    assert half.expected_kwh is not None
    assert sure.std_kwh is not None
    assert half.needed_trip_energy_kwh == pytest.approx(half.expected_kwh + 4.0)
    assert sure.needed_trip_energy_kwh - half.needed_trip_energy_kwh == pytest.approx(
        1.6449 * sure.std_kwh, rel=1e-4
    )


@pytest.mark.parametrize(
    "harder",
    [
        {"payload_kg": 500.0},
        {"headwind_m_s": 8.0},
        {"climb_m": 1500.0},
        {"climb_m": 1500.0, "descent_m": 1500.0},
        {"mean_speed_km_h": 110.0},
        {"stops": 400.0},
        {"temperature_c": -25.0},
    ],
)
def test_every_hardship_raises_the_expected_energy(harder: dict[str, Any]) -> None:
    easy = trip_need(**CAR, conditions=FROST).expected_kwh
    hard = trip_need(**CAR, conditions=replace(FROST, **harder)).expected_kwh

    assert easy is not None
    assert hard is not None
    assert hard > easy


def test_a_heat_pump_and_a_warm_start_spare_energy() -> None:
    cold = trip_need(**CAR, conditions=DrivingConditions(temperature_c=0.0))
    pumped = trip_need(**CAR, conditions=DrivingConditions(temperature_c=0.0), has_heat_pump=True)
    warmed = trip_need(
        **CAR, conditions=DrivingConditions(temperature_c=0.0, is_preconditioned=True)
    )

    assert cold.expected_kwh is not None
    assert pumped.expected_kwh is not None
    assert warmed.expected_kwh is not None
    assert pumped.expected_kwh < cold.expected_kwh
    assert warmed.expected_kwh < cold.expected_kwh


def test_weather_that_is_not_stated_is_less_sure() -> None:
    stated = trip_need(
        **CAR, conditions=DrivingConditions(temperature_c=20.0, headwind_m_s=0.0, payload_kg=0.0)
    )
    silent = trip_need(**CAR, conditions=DrivingConditions(payload_kg=0.0))

    assert stated.std_kwh is not None
    assert silent.std_kwh is not None
    assert silent.expected_kwh == stated.expected_kwh
    assert silent.std_kwh > stated.std_kwh


def test_a_speed_profile_with_heights_is_driven_over_the_distance() -> None:
    speeds = np.concatenate([np.linspace(0, 90, 30), np.full(600, 90.0), np.linspace(90, 0, 30)])
    level = DrivingConditions(speed_km_h=speeds)
    uphill = DrivingConditions(speed_km_h=speeds, height_m=np.linspace(0, 200, speeds.size))

    flat, steep = (trip_need(**CAR, conditions=way, vehicle_class="van") for way in (level, uphill))

    assert flat.expected_kwh is not None
    assert steep.expected_kwh is not None
    assert steep.expected_kwh > flat.expected_kwh


def test_heights_without_speeds_are_refused() -> None:
    with pytest.raises(ValueError, match="height_m needs speed_km_h"):
        trip_need(**CAR, conditions=DrivingConditions(height_m=np.array([0.0, 1.0])))


@pytest.mark.parametrize("name", ["distance_km", "consumption_wh_per_km", "reserve_kwh"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_impossible_needs_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        trip_need(**(CAR | {name: value}), conditions=FROST)


@given(
    distance_km=st.floats(0, 800),
    consumption_wh_per_km=st.floats(0, 900),
    temperature_c=st.floats(-40, 50),
    speed_km_h=st.floats(1, 200),
    payload_kg=st.floats(0, 3000),
    headwind_m_s=st.floats(-30, 30),
    quantile=st.floats(0.01, 0.99),
)
def test_no_plan_is_ever_below_the_formula(  # noqa: PLR0917 - drawn by hypothesis
    distance_km: float,
    consumption_wh_per_km: float,
    temperature_c: float,
    speed_km_h: float,
    payload_kg: float,
    headwind_m_s: float,
    quantile: float,
) -> None:
    conditions = DrivingConditions(
        temperature_c=temperature_c,
        mean_speed_km_h=speed_km_h,
        payload_kg=payload_kg,
        headwind_m_s=headwind_m_s,
    )

    need = trip_need(
        distance_km=distance_km,
        consumption_wh_per_km=consumption_wh_per_km,
        conditions=conditions,
        quantile=quantile,
    )

    assert math.isfinite(need.needed_trip_energy_kwh)
    assert need.needed_trip_energy_kwh >= need.formula_kwh
