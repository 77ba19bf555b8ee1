import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.trip import plain_formula

CAR: dict[str, Any] = {
    "capacity_kwh": 75.0,
    "consumption_wh_per_km": 180.0,
    "soc_percent": 35.0,
    "charger_max_power_kw": 150.0,
    "vehicle_max_power_kw": 150.0,
    "tariff_eur_per_kwh": 0.35,
    "hours_to_departure": 8.0,
}


def test_the_worked_example_needs_no_charging() -> None:
    formula = plain_formula(**CAR, distance_km=120.0)

    assert formula.needed_trip_energy_kwh == 25.92
    assert formula.current_energy_kwh == 26.25
    assert formula.extra_energy_needed_kwh == 0.0
    assert formula.target_soc_percent == 35.0
    assert formula.effective_charge_power_kw == 127.5
    assert formula.charging_time_h == 0.0
    assert formula.cost_eur == 0.0
    assert formula.is_feasible
    assert formula.exceeds_battery_kwh == 0.0


def test_a_long_trip_on_a_slow_charger_is_not_feasible() -> None:
    car = CAR | {"charger_max_power_kw": 22.0, "hours_to_departure": 1.0}

    formula = plain_formula(**car, distance_km=300.0)

    assert formula.needed_trip_energy_kwh == pytest.approx(64.8)
    assert formula.extra_energy_needed_kwh == pytest.approx(38.55)
    assert formula.effective_charge_power_kw == pytest.approx(18.7)
    assert formula.charging_time_h == pytest.approx(38.55 / 18.7)
    assert not formula.is_feasible


def test_the_derate_slows_charging_but_is_not_billed() -> None:
    formula = plain_formula(**CAR, energy_kwh=36.25)

    assert formula.extra_energy_needed_kwh == pytest.approx(10.0)
    assert formula.charging_time_h == pytest.approx(10.0 / 127.5)
    assert formula.cost_eur == pytest.approx(3.5)


def test_energy_and_target_forms_get_no_reserve() -> None:
    by_energy = plain_formula(**CAR, energy_kwh=60.0)
    by_target = plain_formula(**CAR, trip_target_soc_percent=80.0)

    assert by_energy.needed_trip_energy_kwh == by_target.needed_trip_energy_kwh == 60.0
    assert by_target.target_soc_percent == pytest.approx(80.0)


def test_comfort_raises_the_target_but_not_what_the_trip_needs() -> None:
    formula = plain_formula(**CAR, distance_km=120.0, comfort_soc_percent=60.0)

    assert formula.needed_trip_energy_kwh == 25.92
    assert formula.extra_energy_needed_kwh == pytest.approx(45.0 - 26.25)
    assert formula.target_soc_percent == pytest.approx(60.0)


def test_comfort_below_the_trip_changes_nothing() -> None:
    with_comfort = plain_formula(**CAR, distance_km=300.0, comfort_soc_percent=50.0)

    assert with_comfort == plain_formula(**CAR, distance_km=300.0)


def test_the_c_rate_cap_limits_the_power() -> None:
    capped = plain_formula(**CAR, distance_km=300.0, c_rate_cap=0.7)
    loose = plain_formula(**CAR, distance_km=300.0, c_rate_cap=3.0)

    assert capped.effective_charge_power_kw == pytest.approx(52.5)
    assert loose.effective_charge_power_kw == 127.5


def test_a_trip_beyond_the_battery_says_by_how_much() -> None:
    formula = plain_formula(**CAR, distance_km=500.0)

    assert formula.needed_trip_energy_kwh == pytest.approx(108.0)
    assert formula.target_soc_percent == 100.0
    assert formula.exceeds_battery_kwh == pytest.approx(33.0)


def test_a_missed_departure_leaves_no_time_to_charge() -> None:
    car = CAR | {"hours_to_departure": -1.0}

    assert not plain_formula(**car, distance_km=300.0).is_feasible
    assert plain_formula(**car, distance_km=120.0).is_feasible


@pytest.mark.parametrize("trip", [{}, {"distance_km": 1.0, "energy_kwh": 1.0}])
def test_a_trip_has_exactly_one_form(trip: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        plain_formula(**CAR, **trip)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("capacity_kwh", 0.0),
        ("capacity_kwh", math.nan),
        ("vehicle_max_power_kw", 0.0),
        ("tariff_eur_per_kwh", -0.1),
        ("soc_percent", 100.1),
        ("soc_percent", -1.0),
        ("comfort_soc_percent", 101.0),
        ("c_rate_cap", 0.0),
        ("distance_km", math.inf),
    ],
)
def test_impossible_values_are_refused_by_name(name: str, value: float) -> None:
    arguments = CAR | {"distance_km": 100.0} | {name: value}

    with pytest.raises(ValueError, match=name):
        plain_formula(**arguments)


@given(
    soc_percent=st.floats(0, 100),
    distance_km=st.floats(0, 2000),
    power_kw=st.floats(1, 400),
    hours=st.floats(0, 48),
)
def test_what_is_charged_covers_the_trip_in_the_stated_time(
    soc_percent: float, distance_km: float, power_kw: float, hours: float
) -> None:
    car = CAR | {
        "soc_percent": soc_percent,
        "charger_max_power_kw": power_kw,
        "hours_to_departure": hours,
    }

    formula = plain_formula(**car, distance_km=distance_km)

    held_kwh = formula.current_energy_kwh + formula.extra_energy_needed_kwh
    charged_kwh = formula.charging_time_h * formula.effective_charge_power_kw
    assert held_kwh >= formula.needed_trip_energy_kwh - 1e-9
    assert charged_kwh == pytest.approx(formula.extra_energy_needed_kwh)
    assert formula.is_feasible == (formula.charging_time_h <= hours)
    assert 0 <= formula.target_soc_percent <= 100
