"""What noise is worth, what a ledger remembers and when it says no."""

import math
from dataclasses import replace

import pytest

from backend.federation.privacy import (
    BudgetExhausted,
    LedgerUnreadable,
    PrivacyLedger,
    Spend,
    cost_of,
    epsilon,
    usual_delta,
)
from backend.federation.tasks import TrainSettings

SETTINGS = TrainSettings(local_epochs=1, batch_size=128, clip_norm=1.0, noise_multiplier=1.0)
EXAMPLES = 6_000
EMPTY = PrivacyLedger("site_a", "mlp", 7e-5, max_epsilon=3.0)


def test_epsilon_is_that_of_the_gaussian_mechanism_without_sampling() -> None:
    # One release with everybody in it: the smallest over orders a of a/(2z²) + log(1/δ)/(a-1),
    # improved by Theorem 21 of Balle et al., AISTATS 2020.
    z, delta = 2.0, 1e-5
    orders = [1 + step / 100 for step in range(1, 10_000)]
    expected = min(
        a / (2 * z**2) + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1)
        for a in orders
    )

    assert epsilon((Spend(1.0, z, 1),), delta) == pytest.approx(expected, rel=0.01)


def test_epsilon_of_eight_rounds_is_the_published_one() -> None:
    ledger = EMPTY
    for _ in range(8):
        ledger = ledger.spend(SETTINGS, examples=EXAMPLES)

    assert ledger.epsilon == pytest.approx(2.58, abs=0.01)
    assert ledger.remaining == pytest.approx(3.0 - ledger.epsilon)
    assert ledger.spends == (Spend(128 / 6_000, 1.0, 8 * 47),)
    assert ledger.privacy_unit == "example: one hour of one site's history"


def test_a_budget_ends_training_and_is_not_overdrawn() -> None:
    ledger = replace(EMPTY, max_epsilon=1.5)
    ledger = ledger.spend(SETTINGS, examples=EXAMPLES)
    before = ledger.epsilon

    with pytest.raises(BudgetExhausted, match="is allowed for mlp"):
        ledger.spend(replace(SETTINGS, local_epochs=7), examples=EXAMPLES)

    assert 0 < ledger.epsilon == before <= 1.5


def test_training_without_noise_has_no_bound() -> None:
    with pytest.raises(BudgetExhausted, match="inf"):
        EMPTY.spend(TrainSettings(), examples=EXAMPLES)
    with pytest.raises(BudgetExhausted, match="inf"):
        EMPTY.spend(replace(SETTINGS, noise_multiplier=0.0), examples=EXAMPLES)


def test_more_noise_costs_less_and_more_steps_cost_more() -> None:
    def cost(z: float, steps: int) -> float:
        return epsilon((Spend(0.02, z, steps),), 1e-5)

    assert cost(2.0, 100) < cost(1.0, 100) < cost(1.0, 200)
    assert cost_of(SETTINGS, examples=50).sample_share == 1.0
    assert EMPTY.epsilon == 0.0


def test_a_ledger_comes_back_from_json_as_it_was() -> None:
    ledger = EMPTY.spend(SETTINGS, examples=EXAMPLES).spend(
        replace(SETTINGS, noise_multiplier=1.5), examples=EXAMPLES
    )

    again = PrivacyLedger.from_json(ledger.to_json())

    assert again == ledger
    assert again.to_json() == ledger.to_json()
    assert again.epsilon == ledger.epsilon


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", EMPTY.to_json().replace("7e-05", "2"), EMPTY.to_json().replace("[]", "[[1]]")],
)
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(LedgerUnreadable):
        PrivacyLedger.from_json(text)


def test_the_usual_delta_lies_well_below_one_over_the_examples() -> None:
    assert usual_delta(6_000) == pytest.approx(6_000**-1.1)
    assert 0 < usual_delta(0) < 1
