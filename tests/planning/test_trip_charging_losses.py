import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.charging_losses import (
    MOTOR_CHARGER,
    USUAL_CHARGER,
    OnboardCharger,
    battery_kwh,
    loss_share,
    metered_kwh,
)


def test_losses_are_worked_out_by_hand() -> None:
    charger = OnboardCharger(conversion_loss=0.06, standby_kw=0.2)

    assert loss_share(10.0, charger) == pytest.approx(0.08)
    assert battery_kwh(50.0, 10.0, charger) == pytest.approx(46.0)
    assert metered_kwh(46.0, 10.0, charger) == pytest.approx(50.0)


@given(st.floats(1.4, 350), st.floats(0.1, 100), st.sampled_from([USUAL_CHARGER, MOTOR_CHARGER]))
def test_more_power_loses_less(power_kw: float, more_kw: float, charger: OnboardCharger) -> None:
    assert 0 < loss_share(power_kw + more_kw, charger) < loss_share(power_kw, charger) < 0.4


@given(st.floats(0, 200), st.floats(1.4, 350))
def test_what_is_metered_for_a_battery_reaches_it(energy_kwh: float, power_kw: float) -> None:
    assert battery_kwh(metered_kwh(energy_kwh, power_kw), power_kw) == pytest.approx(energy_kwh)


def test_a_power_the_electronics_eat_up_never_charges() -> None:
    assert loss_share(0.1) == 1.0
    assert battery_kwh(5.0, 0.1) == 0.0
    assert metered_kwh(5.0, 0.1) == math.inf
    assert metered_kwh(0.0, 0.1) == 0.0


@pytest.mark.parametrize("power_kw", [0.0, -1.0, math.nan])
def test_impossible_powers_are_refused(power_kw: float) -> None:
    with pytest.raises(ValueError, match="power_kw"):
        loss_share(power_kw)


@pytest.mark.parametrize(("share", "standby_kw"), [(1.0, 0.1), (-0.1, 0.1), (0.1, -0.1)])
def test_impossible_chargers_are_refused(share: float, standby_kw: float) -> None:
    with pytest.raises(ValueError, match="conversion_loss"):
        OnboardCharger(share, standby_kw)
