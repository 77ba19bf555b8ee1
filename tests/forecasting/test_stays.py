import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.forecasting.stays import PastStays, StayDistribution, stay_distribution


def past(*rows: tuple[str, float, float, float]) -> PastStays:
    """Stays as (driver, hour of arrival, hours stayed, hours of charging)."""
    return PastStays(
        driver=[row[0] for row in rows],
        arrival_hour=np.array([row[1] for row in rows], dtype=np.float64),
        stay_h=np.array([row[2] for row in rows], dtype=np.float64),
        charging_h=np.array([row[3] for row in rows], dtype=np.float64),
    )


SITE = past(*[("", 8.0, 8.0, 2.0)] * 20, *[("", 8.0, 1.0, 2.0)] * 20)


def median_h(distribution: StayDistribution) -> float:
    return distribution.residual_quantile_h(0.0, 0.5)


def test_a_driver_with_history_is_expected_to_stay_as_before() -> None:
    known = past(*[("anna", 8.0, 4.0, 2.0)] * 3, *[("", 8.0, 9.0, 2.0)] * 50)

    distribution = stay_distribution(known, driver="anna", arrival_hour=8.0, charging_h=2.0)
    stranger = stay_distribution(known, driver="bert", arrival_hour=8.0, charging_h=2.0)

    assert median_h(distribution) == pytest.approx(4.0, rel=0.2)
    assert median_h(stranger) == pytest.approx(9.0, rel=0.2)


def test_one_visit_counts_more_than_the_site_but_does_not_rule_it_out() -> None:
    known = past(("anna", 8.0, 1.0, 2.0), *[("", 8.0, 9.0, 2.0)] * 50)

    distribution = stay_distribution(known, driver="anna", arrival_hour=8.0, charging_h=2.0)

    still_there = distribution.survival(0.0, np.array([2.0]))[0]
    assert 0.1 < still_there < 0.5


def test_visits_at_a_like_hour_and_of_a_like_energy_count_most() -> None:
    known = past(*[("", 8.0, 8.0, 4.0)] * 10, *[("", 17.0, 2.0, 1.0)] * 10)

    morning = stay_distribution(known, driver="", arrival_hour=8.5, charging_h=4.0)
    evening = stay_distribution(known, driver="", arrival_hour=16.5, charging_h=1.0)

    assert median_h(morning) > 6
    assert median_h(evening) < 3


def test_midnight_separates_no_hours() -> None:
    known = past(*[("", 23.9, 8.0, 1.0)] * 5, *[("", 12.0, 1.0, 1.0)] * 5)

    late = stay_distribution(known, driver="", arrival_hour=0.1, charging_h=1.0)

    assert median_h(late) > 6


def test_who_has_stayed_long_is_not_one_of_those_who_leave_soon() -> None:
    distribution = stay_distribution(SITE, driver="", arrival_hour=8.0, charging_h=2.0)

    at_once = distribution.survival(0.0, np.array([2.0]))[0]
    later = distribution.survival(1.5, np.array([2.0]))[0]

    assert at_once == pytest.approx(0.5, abs=0.01)
    assert later == pytest.approx(1.0)


def test_who_stays_longer_than_anybody_may_leave_at_any_moment() -> None:
    distribution = stay_distribution(SITE, driver="", arrival_hour=8.0, charging_h=2.0)

    assert distribution.survival(12.0, np.array([0.0, 0.25])).tolist() == [1.0, 0.0]
    assert distribution.residual_quantile_h(12.0, 0.2) == 0.0


def test_a_stated_time_caps_the_careful_departure() -> None:
    distribution = stay_distribution(SITE, driver="", arrival_hour=8.0, charging_h=2.0)

    assert distribution.residual_quantile_h(1.5, 0.5) == pytest.approx(6.5)
    assert distribution.residual_quantile_h(1.5, 0.5, cap_h=2.0) == 2.0


@given(
    stays_h=st.lists(st.floats(0.1, 24), min_size=1, max_size=20),
    elapsed_h=st.floats(0, 24),
    quantile=st.floats(0.01, 0.99),
)
def test_chances_fall_with_time_and_quantiles_agree_with_them(
    stays_h: list[float], elapsed_h: float, quantile: float
) -> None:
    distribution = StayDistribution.of(np.array(stays_h), np.ones(len(stays_h)))

    chances = distribution.survival(elapsed_h, np.linspace(0, 24, 50))
    careful_h = distribution.residual_quantile_h(elapsed_h, quantile)

    assert np.all((chances >= 0) & (chances <= 1))
    assert np.all(np.diff(chances) <= 1e-12)
    if max(stays_h) > elapsed_h:
        at_least = distribution.survival(elapsed_h, np.array([careful_h - 1e-6, careful_h + 1e-6]))
        assert at_least[0] >= 1 - quantile - 1e-6
        assert at_least[1] <= 1 - quantile + 1e-6


def test_without_a_past_nothing_is_learned() -> None:
    with pytest.raises(ValueError, match="no stay"):
        stay_distribution(past(), driver="anna", arrival_hour=8.0, charging_h=1.0)
