import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.charging_losses import loss_share
from backend.planning.journeys import Journey, Leg, journey_need, journey_needs, leg_of
from backend.planning.road import DriveEnergy


def costing(kwh: float, std_kwh: float = 0.0) -> DriveEnergy:
    """A leg's energy, all of it traction or, if negative, recuperation."""
    return DriveEnergy(max(0.0, kwh), max(0.0, -kwh), 0.0, 0.0, std_kwh, 50.0, 1.0)


def test_out_and_back_without_charging_needs_both_and_the_reserve() -> None:
    journey = Journey([Leg(costing(12.0)), Leg(costing(14.0))], capacity_kwh=60, reserve_kwh=6)

    need = journey_need(journey)

    assert need.before_leg_kwh == (32.0, 20.0)
    assert need.departure_kwh == 32.0
    assert need.is_possible


def test_charging_at_the_stop_spares_what_it_brings() -> None:
    kept = 1 - loss_share(11.0)
    out = Leg(costing(12.0), charge_power_kw=11.0, charge_h=1.0)

    need = journey_need(Journey([out, Leg(costing(14.0))], capacity_kwh=60, reserve_kwh=6))

    assert need.departure_kwh == pytest.approx(32.0 - 11 * kept)
    assert need.before_leg_kwh[1] == pytest.approx(20.0)


def test_a_long_stop_still_needs_the_way_there_and_the_reserve() -> None:
    out = Leg(costing(12.0), charge_power_kw=11.0, charge_h=20.0)

    need = journey_need(Journey([out, Leg(costing(14.0))], capacity_kwh=60, reserve_kwh=6))

    assert need.departure_kwh == pytest.approx(18.0)


def test_a_stop_brings_no_more_than_is_wanted_there() -> None:
    at_will = leg_of(12.0, distance_km=50, charge_power_kw=11.0, charge_h=1.0)
    limited = leg_of(12.0, distance_km=50, charge_power_kw=11.0, charge_h=1.0, charge_kwh=3.0)
    too_short = leg_of(12.0, distance_km=50, charge_power_kw=11.0, charge_h=0.1, charge_kwh=3.0)
    stated = leg_of(12.0, distance_km=50, charge_kwh=3.0)

    assert at_will.chargeable_kwh == pytest.approx(11 * (1 - loss_share(11.0)))
    assert (limited.chargeable_kwh, stated.chargeable_kwh) == (3.0, 3.0)
    assert too_short.chargeable_kwh == pytest.approx(at_will.chargeable_kwh / 10)
    assert stated.energy.quantile_kwh(0.99) == pytest.approx(12.0)


def test_charging_after_the_last_leg_helps_nobody() -> None:
    last = Leg(costing(14.0), charge_power_kw=150.0, charge_h=8.0)

    assert journey_need(Journey([last], capacity_kwh=60)).departure_kwh == pytest.approx(14.0)


def test_a_leg_beyond_the_battery_says_by_how_much() -> None:
    journey = Journey([Leg(costing(10.0)), Leg(costing(70.0))], capacity_kwh=60, reserve_kwh=5)

    need = journey_need(journey)

    assert need.short_by_kwh == pytest.approx((10.0, 15.0))
    assert need.departure_kwh == 60.0
    assert need.beyond_battery_kwh == pytest.approx(25.0)
    assert not need.is_possible


def test_bad_days_are_bad_on_every_leg() -> None:
    journey = Journey([Leg(costing(12.0, 1.0)), Leg(costing(14.0, 2.0))], capacity_kwh=60)

    assert journey_need(journey, quantile=0.9).departure_kwh == pytest.approx(
        26.0 + 1.2816 * 3.0, abs=1e-3
    )


def test_a_descent_home_cannot_be_driven_from_below_the_reserve() -> None:
    journey = Journey([Leg(costing(8.0)), Leg(costing(-3.0))], capacity_kwh=60, reserve_kwh=6)

    assert journey_need(journey).before_leg_kwh == (14.0, 6.0)


def test_several_vehicles_are_answered_in_their_order() -> None:
    journeys = [Journey([Leg(costing(kwh))], capacity_kwh=60) for kwh in (5.0, 9.0, 7.0)]

    needs = journey_needs(journeys, quantile=0.5)

    assert [need.departure_kwh for need in needs] == pytest.approx([5.0, 9.0, 7.0])


@given(
    legs=st.lists(
        st.builds(
            Leg,
            energy=st.builds(costing, st.floats(-5, 40), st.floats(0, 4)),
            charge_power_kw=st.sampled_from([0.0, 0.2, 2.3, 11.0, 50.0]),
            charge_h=st.floats(0, 10),
        ),
        min_size=1,
        max_size=6,
    ),
    reserve_kwh=st.floats(0, 10),
    quantile=st.floats(0.5, 0.99),
)
def test_who_leaves_with_what_is_needed_never_touches_the_reserve(
    legs: list[Leg], reserve_kwh: float, quantile: float
) -> None:
    journey = Journey(legs, capacity_kwh=70.0, reserve_kwh=reserve_kwh)

    need = journey_need(journey, quantile=quantile)

    held_kwh = need.departure_kwh
    for leg, wanted_kwh, short_kwh in zip(
        legs, need.before_leg_kwh, need.short_by_kwh, strict=True
    ):
        assert held_kwh >= wanted_kwh - 1e-9
        held_kwh = wanted_kwh + short_kwh - leg.energy.quantile_kwh(quantile)
        assert held_kwh >= reserve_kwh - 1e-9
        held_kwh = min(journey.capacity_kwh, held_kwh + leg.chargeable_kwh)


@pytest.mark.parametrize("legs", [[], [Leg(costing(1.0))]])
def test_impossible_journeys_are_refused(legs: list[Leg]) -> None:
    with pytest.raises(ValueError, match="leg" if not legs else "reserve_kwh"):
        Journey(legs, capacity_kwh=10.0, reserve_kwh=11.0)


@pytest.mark.parametrize("hours", [-1.0, math.inf])
def test_impossible_stops_are_refused(hours: float) -> None:
    with pytest.raises(ValueError, match="charge_h"):
        Leg(costing(1.0), charge_h=hours)
