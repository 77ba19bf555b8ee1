from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from backend.planning.checker import violations
from backend.planning.fallback import earliest_deadline, uncontrolled
from backend.planning.problem import ChargingProblem
from tests.planning.problems import any_problems, small_problem


def shared_site() -> ChargingProblem:
    """Two vehicles of 10 kW at a site of 10 kW; the second leaves after two hours of three."""
    return small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[15.0, 15.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1, 0.2, 0.3],
        available_h=np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
    )


def test_who_leaves_first_is_served_first() -> None:
    plan = earliest_deadline(shared_site())

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 5, 10], [10, 5, 0]])
    assert plan.method == "fallback"
    assert plan.cost_eur == pytest.approx(1.0 + 2.0 + 3.0)


def test_who_leaves_first_goes_before_the_more_urgent() -> None:
    problem = replace(shared_site(), urgency=np.array([5.0, 1.0]))

    np.testing.assert_allclose(earliest_deadline(problem).setpoint_kw, [[0, 5, 10], [10, 5, 0]])


def test_without_control_who_came_first_is_served_first() -> None:
    plan = uncontrolled(shared_site())

    np.testing.assert_allclose(plan.setpoint_kw, [[10, 5, 0], [0, 5, 0]])
    np.testing.assert_allclose(plan.shortfall_kwh, [0, 10])
    assert plan.method == "uncontrolled"


def test_a_later_arrival_is_served_later() -> None:
    problem = replace(shared_site(), available_h=np.array([[0, 1.0, 1.0], [1.0, 1.0, 1.0]]))

    plan = uncontrolled(problem)

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 5, 10], [10, 5, 0]])


def test_the_more_urgent_goes_first_when_both_leave_together() -> None:
    problem = replace(shared_site(), available_h=np.ones((2, 3)), urgency=np.array([1.0, 2.0]))

    plan = earliest_deadline(problem)

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 5, 10], [10, 5, 0]])


@settings(deadline=None, max_examples=100)
@given(problem=any_problems())
def test_plans_made_without_solving_keep_every_limit(problem: ChargingProblem) -> None:
    assert violations(problem, earliest_deadline(problem)) == ()
    assert violations(problem, uncontrolled(problem)) == ()
