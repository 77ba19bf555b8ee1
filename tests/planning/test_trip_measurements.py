import pytest

from benchmarks import plan_trip


def test_range_in_cold_and_heat_is_within_five_points_of_what_was_measured() -> None:
    assert plan_trip.winter_figures()["trip_winter_error_points"] <= 5.0


def test_the_best_speeds_are_near_those_of_the_road() -> None:
    figures = plan_trip.best_speed_figures()

    for (name, temperature_c), measured_mph in plan_trip.GEOTAB_BEST_MPH.items():
        found_mph = figures[f"best_mph_{name}_{temperature_c:.0f}c"]
        assert found_mph == pytest.approx(measured_mph, abs=6.0)


def test_charging_losses_are_within_three_points_of_what_was_measured() -> None:
    assert plan_trip.losses_figures()["trip_losses_error_points"] <= 3.0


def test_us06_is_the_cycle_it_is_known_as() -> None:
    speed_m_s = plan_trip.us06_m_s()

    assert speed_m_s.size == 601
    assert speed_m_s.sum() / 1000 == pytest.approx(12.9, abs=0.05)
    assert speed_m_s.max() * 3.6 == pytest.approx(129.2, abs=0.1)


@pytest.mark.skipif(not plan_trip.has_fastsim(), reason="fastsim, an oracle, is not installed")
@pytest.mark.filterwarnings("ignore")  # its own
def test_cycles_cost_within_ten_percent_of_fastsim() -> None:
    assert plan_trip.fastsim_figures()["trip_fastsim_error_pct"] <= 10.0
