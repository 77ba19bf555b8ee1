"""Privacy of whole vehicles: what one of them can move, and what a run of rounds costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.fleet_privacy import FleetPrivacy, epsilon, private_mean


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), size=st.floats(0.01, 1e6))
def test_replacing_one_vehicle_moves_the_mean_by_twice_the_bound_at_most(
    seed: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    updates, privacy = rng.normal(0, size, (12, 9)), FleetPrivacy(clip_norm=0.5)
    others = updates.copy()
    others[4] = rng.normal(0, size, 9)

    means = [private_mean(one, privacy, np.random.default_rng(1)) for one in (updates, others)]

    assert np.linalg.norm(means[0] - means[1]) <= 2 * privacy.clip_norm / 12 + 1e-9


def test_the_noise_has_the_size_it_is_accounted_with() -> None:
    privacy = FleetPrivacy(clip_norm=2.0, noise_multiplier=3.0)

    noise = private_mean(np.zeros((10, 40_000)), privacy, np.random.default_rng(3))

    # 6 on the sum of ten; the deviation of 40,000 draws is known to 1.5 % at four sigma.
    assert float(noise.std()) == pytest.approx(0.6, rel=0.015)


def test_everybody_every_time_costs_what_the_gaussian_mechanism_does() -> None:
    # RDP of k Gaussians of multiplier z is a·k/(2z²); Balle et al. 2020 turn it into epsilon.
    rounds, delta = 10, 1e-5
    orders = np.linspace(1.5, 60, 4_000)
    rdp = orders * rounds / (2 * 4.0**2)
    bound = rdp + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)

    spent = epsilon(
        FleetPrivacy(noise_multiplier=8.0, delta=delta), vehicles=50, drawn=50, rounds=rounds
    )

    # Replacing a vehicle moves a sum by 2C, so multiplier 8 counts as 4.
    assert spent == pytest.approx(float(bound.min()), rel=0.02)


def test_drawing_half_costs_less_than_asking_all_and_more_noise_less_than_little() -> None:
    def spent(noise: float, drawn: int) -> float:
        privacy = FleetPrivacy(noise_multiplier=noise)
        return epsilon(privacy, vehicles=1_000, drawn=drawn, rounds=20)

    assert spent(8.0, 100) < spent(8.0, 1_000)
    assert spent(16.0, 500) < spent(8.0, 500)
    assert epsilon(FleetPrivacy(), vehicles=10, drawn=5, rounds=0) == 0.0
