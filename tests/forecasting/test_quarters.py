import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.forecasting.quarters import shares_by_hour, split_hours, widening


@settings(deadline=None)
@given(seed=st.integers(min_value=0, max_value=500), days=st.integers(min_value=0, max_value=20))
def test_four_quarters_sum_up_to_their_hour_and_bounds_contain_the_mean(
    seed: int, days: int
) -> None:
    rng = np.random.default_rng(seed)
    past = rng.gamma(0.5, 4.0, (24 * days, 4))
    hour = np.arange(24 * days) % 24
    mean = rng.gamma(1, 10, 48)
    low, high = mean * rng.uniform(0, 1, 48), mean * rng.uniform(1, 3, 48)
    shares = shares_by_hour(past, hour)

    quarters = split_hours(
        mean_kwh=mean,
        p10_kwh=low,
        p90_kwh=high,
        occupancy=mean / 10,
        shares=np.tile(shares, (2, 1)),
        wider=widening(past, hour, shares),
    )

    np.testing.assert_allclose(quarters.mean_kwh.reshape(48, 4).sum(axis=1), mean)
    assert np.all(quarters.p10_kwh >= 0)
    assert np.all(quarters.p10_kwh <= quarters.mean_kwh + 1e-12)
    assert np.all(quarters.mean_kwh <= quarters.p90_kwh + 1e-12)
    assert quarters.occupancy.shape == (192,)


def test_the_shape_of_an_hour_is_learned() -> None:
    past = np.tile([0.0, 0.0, 10.0, 30.0], (50, 1))

    shares = shares_by_hour(past, np.full(50, 8))

    assert shares[8] == pytest.approx([0.0, 0.0, 0.25, 0.75], abs=1e-3)
    assert shares[9].tolist() == [0.25] * 4


def test_quarters_that_move_together_need_no_wider_band() -> None:
    hour = np.tile(np.arange(24), 60)
    together = np.repeat(np.random.default_rng(1).gamma(2, 5, (hour.size, 1)), 4, axis=1)
    apart = np.random.default_rng(1).gamma(2, 5, (hour.size, 4))

    wide = [widening(one, hour, shares_by_hour(one, hour)) for one in (together, apart)]

    assert wide[0] == pytest.approx(1.0, abs=0.05)
    assert wide[1] > 1.5
