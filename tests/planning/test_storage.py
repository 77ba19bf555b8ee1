from dataclasses import replace

import numpy as np
import pytest

from backend.planning.equipment import Battery, Grid
from backend.planning.problem import Array, ChargingProblem
from backend.planning.storage import settled
from tests.planning.problems import small_problem


def site(export_limit_kw: float = 0.0) -> ChargingProblem:
    """A vehicle of 10 kW for two hours beside a battery that holds 3 of 6 kWh."""
    plain = small_problem(
        limit_kw=[10.0], demand_kwh=[8.0], site_limit_kw=20.0, price_eur_per_kwh=[0.3, 0.1]
    )
    battery = Battery(power_kw=5.0, capacity_kwh=6.0, energy_kwh=3.0, efficiency=0.81)
    return replace(plain, battery=battery, grid=Grid(export_limit_kw=export_limit_kw))


def battery_kw(problem: ChargingProblem, vehicle_kw: list[float], wanted_kw: list[float]) -> Array:
    found = settled(problem, np.array([vehicle_kw]), np.array(wanted_kw))
    assert found is not None
    return found


def test_what_can_be_done_stays() -> None:
    np.testing.assert_allclose(battery_kw(site(), [4.0, 4.0], [-2.0, 3.0]), [-2.0, 3.0])


def test_the_battery_gives_no_more_than_the_load_and_what_may_be_exported() -> None:
    np.testing.assert_allclose(battery_kw(site(), [1.0, 4.0], [-2.0, 0.0]), [-1.0, 0.0])
    np.testing.assert_allclose(battery_kw(site(0.5), [1.0, 4.0], [-2.0, 0.0]), [-1.5, 0.0])


def test_the_battery_gives_no_more_than_it_holds_after_losses() -> None:
    np.testing.assert_allclose(battery_kw(site(), [9.0, 9.0], [-4.0, -1.0]), [-2.7, 0.0])


def test_the_battery_takes_no_more_than_it_has_room_for_after_losses() -> None:
    found_kw = battery_kw(site(), [0.0, 0.0], [3.0, 3.0])

    np.testing.assert_allclose(found_kw, [3.0, (3.0 - 2.7) / 0.9])


@pytest.mark.parametrize("wanted_kw", [[9.0, 0.0], [0.0, 9.0]])
def test_the_power_of_the_battery_is_kept(wanted_kw: list[float]) -> None:
    assert battery_kw(site(), [9.0, 9.0], wanted_kw).max() <= 5.0


def test_without_a_battery_there_is_nothing_to_settle() -> None:
    assert settled(replace(site(), battery=None), np.zeros((1, 2)), np.zeros(2)) is None
