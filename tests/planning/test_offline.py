import numpy as np
import pytest
from hypothesis import given, settings

from backend.planning import policies
from backend.planning.offline import SHORTFALL_PRICE_EUR_PER_KWH, perfect_foresight
from backend.planning.replay import Array, Outcome, Site, Visits, outcome, replay
from tests.planning.visits import any_days, flat_site, visits


def test_a_peak_that_costs_is_spread_over_the_stay() -> None:
    power_kw = perfect_foresight(flat_site(100, steps=4, charge=1.0), visits((0, 4, 8, 8)))

    np.testing.assert_allclose(power_kw, [[2.0, 2.0, 2.0, 2.0]], atol=1e-9)


def test_the_cheapest_step_is_used_and_the_earlier_of_equals() -> None:
    site = Site(1.0, np.array([0.3, 0.1, 0.1, 0.2]), np.full(4, np.inf))

    power_kw = perfect_foresight(site, visits((0, 4, 3, 2)))

    np.testing.assert_allclose(power_kw, [[0, 2, 1, 0]], atol=1e-9)


def test_nobody_is_a_day_too() -> None:
    assert perfect_foresight(flat_site(5), visits()).shape == (0, 8)


def worth(site: Site, result: Outcome) -> float:
    """What perfect foresight minimises."""
    missing_kwh = result.demand_kwh - result.delivered_kwh
    assert site.steps > 0
    return result.bill_eur + SHORTFALL_PRICE_EUR_PER_KWH * missing_kwh


@settings(max_examples=40, deadline=None)
@given(any_days())
def test_perfect_foresight_keeps_every_limit_and_no_rule_does_better(
    case: tuple[Site, Visits],
) -> None:
    site, day = case

    power_kw = perfect_foresight(site, day)

    times = np.arange(site.steps)
    is_there = (day.arrival[:, None] <= times) & (times < day.departure[:, None])
    assert np.all(power_kw <= np.where(is_there, day.max_kw[:, None], 0.0) + 1e-7)
    assert np.all(power_kw.sum(axis=0) <= site.limit_kw + 1e-7)
    assert np.all(power_kw.sum(axis=1) * site.step_h <= day.demand_kwh + 1e-7)
    best = worth(site, outcome(site, day, power_kw))
    for rule in (policies.earliest_deadline, policies.least_laxity):
        lived: Array = replay(site, day, rule).power_kw
        assert best <= worth(site, outcome(site, day, lived)) + 1e-4


def test_a_site_without_room_delivers_what_the_limit_allows() -> None:
    site = flat_site(2, steps=3)

    power_kw = perfect_foresight(site, visits((0, 3, 9, 5), (1, 2, 4, 5)))

    assert power_kw.sum() == pytest.approx(6)
