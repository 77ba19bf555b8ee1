"""What a site adds for itself, what a new site gains, and who keeps failing."""

from dataclasses import replace

import numpy as np
import pytest

from backend.federation.aggregation import aggregate
from backend.federation.checking import Verdict
from backend.federation.demand import Examples, Rows
from backend.federation.newcomer import compare, r2_of
from backend.federation.participant import loss
from backend.federation.personal import personalise, trust_in
from backend.federation.reputation import Reputation
from tests.federation.updates import FAMILY, PARENT, filled, site, trained

SITES = {f"site{number}": site(number) for number in range(5)}


def shared_model() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    weights = dict(PARENT)
    for _ in range(8):
        weights = aggregate("fedavg", weights, trained(SITES, weights)).weights
    return weights


MODEL = shared_model()


def odd_site() -> Examples:
    """A site at which everything is upside down."""
    one = site(9)
    train, holdout = (Rows(part.x, -part.y, part.usual) for part in (one.train, one.holdout))
    return replace(one, train=train, holdout=holdout)


def test_own_corrections_never_do_worse_on_the_holdout() -> None:
    for one in (site(7), odd_site()):
        found = personalise(FAMILY, MODEL, one, seed=1)

        energy = one.holdout.y + one.holdout.usual
        error = float(np.mean((found.predict(one.holdout) - energy) ** 2))
        assert error <= 1.01 * loss(FAMILY, MODEL, one.holdout)


def test_trees_are_fitted_where_there_is_enough_to_learn_from() -> None:
    large, small = site(7, days=120), site(7, days=20)

    assert personalise(FAMILY, PARENT, large, seed=1).trees.startswith("tree")
    assert not personalise(FAMILY, PARENT, small, seed=1).trees


def test_personal_models_come_out_the_same_again() -> None:
    first, again = (personalise(FAMILY, MODEL, site(7), seed=1) for _ in range(2))

    assert first.trees == again.trees
    np.testing.assert_array_equal(first.predict(site(7).train), again.predict(site(7).train))


def test_a_site_believes_what_its_own_hours_confirm() -> None:
    assert trust_in(FAMILY, MODEL, site(7)) > 0.8
    assert trust_in(FAMILY, MODEL, odd_site()) == 0.0
    assert trust_in(FAMILY, PARENT, site(7)) == 1.0  # it says nothing that could be wrong


def test_energy_is_never_forecast_below_zero() -> None:
    found = personalise(FAMILY, filled(-5.0), site(7, days=20), seed=1)

    assert found.predict(site(7).holdout).min() >= 0


def test_a_new_site_does_better_with_the_federation_than_alone() -> None:
    young = site(11, days=30, test_share=0.6)

    found = compare(FAMILY, MODEL, young, seed=1)

    assert found.federated_r2 > found.alone_r2 + 0.02
    assert found.federated_r2 > found.usual_r2 + 0.1
    assert found.examples == len(young.train)


def test_r2_is_one_for_perfect_answers_and_zero_without_rows() -> None:
    rows = site(1).holdout

    assert r2_of(rows, rows.y) == 1.0
    assert r2_of(rows[:0], rows.y[:0]) == 0.0


def failed(reputation: Reputation, number: int) -> Reputation:
    verdict = Verdict.REJECTED_HARMFUL
    return reputation.after(verdict, round_number=number, committee=("b", "c", "d", "e"))


def test_harming_in_three_rounds_suspends() -> None:
    reputation = Reputation("a")
    for number in (1, 2, 3):
        assert not reputation.is_suspended
        reputation = failed(reputation, number)

    assert reputation.is_suspended
    assert reputation.failures[0].committee == frozenset("bcde")


@pytest.mark.parametrize(
    "verdict", [Verdict.ACCEPTED, Verdict.REJECTED_QUALITY, Verdict.REJECTED_COPY]
)
def test_other_verdicts_leave_a_reputation_as_it_is(verdict: Verdict) -> None:
    assert not Reputation("a").after(verdict, round_number=1, committee="bcd").failures


def test_what_arithmetic_shows_counts_every_time() -> None:
    reputation = Reputation("a")
    for number in (1, 2, 3):
        reputation = reputation.after(
            Verdict.REJECTED_NAN, round_number=number, committee=("b", "c")
        )

    assert reputation.is_suspended


def test_failures_long_ago_are_forgotten() -> None:
    reputation = failed(Reputation("a"), 1)

    later = reputation.after(Verdict.ACCEPTED, round_number=21, committee=())

    assert len(reputation.failures) == 1
    assert later == Reputation("a")
