from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from backend.planning import policies
from backend.planning.replay import Array, Policy, Site, State, Visits, outcome, replay
from tests.planning.visits import any_days, flat_site, visits


def fading(state: State) -> Array:
    """Vehicles leave in each step with a chance of a fifth."""
    ahead = np.arange(state.site.steps - state.step)
    return np.tile(0.8**ahead, (len(state.vehicles), 1))


POLICIES: dict[str, Policy] = {
    "round-robin": policies.round_robin,
    "fcfs": policies.first_come,
    "edf": policies.earliest_deadline,
    "llf": policies.least_laxity,
    "mpc-naive": policies.mpc(),
    "mpc": policies.mpc(policies.Expectation(peak_kw=5.0)),
    "mpc-short": policies.mpc(policies.Expectation(is_short=True)),
    "mpc-stays": policies.mpc(survival=fading),
}
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


@every_policy
@settings(max_examples=25, deadline=None)
@given(case=any_days())
def test_no_executed_step_breaks_a_limit(policy: Policy, case: tuple[Site, Visits]) -> None:
    site, day = case

    lived = replay(site, day, policy)

    assert lived.violations == ()
    assert np.all(lived.power_kw.sum(axis=0) <= site.limit_kw + 1e-6)
    assert np.all(lived.power_kw.sum(axis=1) * site.step_h <= day.demand_kwh + 1e-6)


@every_policy
def test_with_room_and_time_everybody_is_served(policy: Policy) -> None:
    site, day = flat_site(100, charge=0.1), visits((0, 8, 6, 3), (2, 8, 4, 3), (3, 5, 4, 3))

    result = outcome(site, day, replay(site, day, policy).power_kw)

    assert result.met == 3


@every_policy
def test_a_policy_decides_the_same_twice(policy: Policy) -> None:
    site, day = flat_site(4, charge=0.3), visits((0, 8, 9, 3), (1, 6, 7, 3), (2, 7, 8, 3))

    first, second = (replay(site, day, policy).power_kw for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("rule", "served"),
    [
        (policies.first_come, 0),
        (policies.earliest_deadline, 1),
        (policies.least_laxity, 2),
    ],
)
def test_a_full_site_serves_the_one_its_rule_names(
    rule: Callable[[State], Array], served: int
) -> None:
    site, day = flat_site(2), visits((0, 8, 2, 2), (0, 3, 2, 2), (0, 7, 14, 2))

    lived = replay(site, day, rule)

    assert np.argmax(lived.power_kw[:, 0]) == served


def test_round_robin_shares_alike_and_gives_on_what_one_cannot_use() -> None:
    lived = replay(
        flat_site(6), visits((0, 8, 9, 9), (0, 8, 1, 9), (0, 8, 9, 9)), policies.round_robin
    )

    np.testing.assert_allclose(lived.power_kw[:, 0], [2.5, 1.0, 2.5])


def test_round_robin_takes_turns_when_a_share_is_below_the_minimum() -> None:
    day = replace(visits((0, 8, 9, 2), (0, 8, 9, 2)), min_kw=np.full(2, 1.5))

    lived = replay(flat_site(2), day, policies.round_robin)

    assert lived.power_kw[:, 0].tolist() == [2.0, 0.0]
    assert lived.power_kw[:, 1].tolist() == [0.0, 2.0]


def test_the_uncontrolled_site_takes_no_notice_of_its_limit() -> None:
    lived = replay(flat_site(3), visits((0, 8, 9, 2), (0, 8, 9, 2)), policies.uncontrolled)

    assert {violation.code for violation in lived.violations} == {"site_limit"}


def test_an_expected_peak_is_used_from_the_start_and_not_exceeded_in_vain() -> None:
    site, day = flat_site(100, charge=1.0), visits((0, 8, 16, 8))

    powers = [
        replay(site, day, policies.mpc(policies.Expectation(peak_kw=peak_kw))).power_kw
        for peak_kw in (0.0, 4.0)
    ]

    np.testing.assert_allclose(powers[0], np.full((1, 8), 2.0), atol=1e-3)
    assert powers[1].max() == pytest.approx(4.0, abs=1e-3)


def test_expectations_come_from_like_days() -> None:
    site = flat_site(10, charge=1.0)
    calm, busy = visits((0, 8, 32, 4)), visits(*[(0, 8, 32, 4)] * 3)

    expected = policies.expectation(site, [calm, calm, busy, visits()])
    crowded = policies.expectation(site, [busy, busy])

    assert expected.peak_kw == pytest.approx(max(0.95 * 4.0, 4.0))
    assert crowded.peak_kw == pytest.approx(0.95 * 10.0)
    assert crowded.is_short
    assert not policies.expectation(site, [calm]).is_short
    assert policies.expectation(site, []) == policies.NOTHING_EXPECTED


def test_a_short_site_runs_at_its_limit_and_leaves_one_vehicle_short() -> None:
    site = flat_site(4, steps=4)
    day = visits((0, 4, 6, 3), (0, 4, 5, 3), (0, 4, 8, 3))

    power_kw = replay(site, day, policies.mpc()).power_kw

    np.testing.assert_allclose(power_kw.sum(axis=0), 4.0, atol=1e-6)
    assert outcome(site, day, power_kw).met == 2


def test_where_departure_is_likely_energy_comes_before_the_cheap_hour() -> None:
    price = np.array([0.3, 0.3, 0.1, 0.1])
    site, day = Site(1.0, price, np.full(4, 10.0)), visits((0, 4, 2, 2))

    def leaves_early(state: State) -> Array:
        return np.array([[1.0, 0.2, 0.2, 0.2]])[:, : site.steps - state.step]

    trusting = replay(site, day, policies.mpc()).power_kw
    careful = replay(site, day, policies.mpc(survival=leaves_early)).power_kw

    np.testing.assert_allclose(trusting, [[0, 0, 2, 0]], atol=1e-6)
    np.testing.assert_allclose(careful, [[2, 0, 0, 0]], atol=1e-6)


def test_what_is_surely_safe_waits_for_the_cheap_hour() -> None:
    price = np.array([0.3, 0.1])
    site, day = Site(1.0, price, np.full(2, 10.0)), visits((0, 2, 2, 2))

    lived = replay(
        site, day, policies.mpc(survival=lambda state: np.ones((1, site.steps - state.step)))
    )

    np.testing.assert_allclose(lived.power_kw, [[0, 2]], atol=1e-6)


def tapering_day(seed: int) -> Visits:
    """A day of fourteen vehicles whose last 3 kWh charge slowly."""
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.integers(0, 16, 14))
    return Visits(
        arrival=arrival,
        departure=np.minimum(arrival + rng.integers(10, 28, 14), 40),
        demand_kwh=rng.uniform(4, 9, 14),
        max_kw=np.full(14, 6.6),
        min_kw=np.full(14, 1.38),
        taper_kwh=np.full(14, 3.0),
    )


def test_where_it_is_short_more_tapering_batteries_are_filled_than_by_earliest_deadline() -> None:
    site, days = flat_site(8.0, steps=40, step_h=0.25), [tapering_day(seed) for seed in (0, 1)]
    ours = policies.mpc(policies.Expectation(is_short=True))

    of_ours = [outcome(site, day, replay(site, day, ours).power_kw) for day in days]
    rule = policies.earliest_deadline
    of_rule = [outcome(site, day, replay(site, day, rule).power_kw) for day in days]

    assert sum(one.met for one in of_ours) > sum(one.met for one in of_rule)
    delivered = [sum(one.delivered_kwh for one in every) for every in (of_ours, of_rule)]
    assert delivered[0] > 0.97 * delivered[1]
