"""What a fleet's energy costs, worked out by hand and on a drawn fleet."""

from dataclasses import replace

import numpy as np
import pytest

from backend.federation.fleet import FleetSettings, advance, lessons_of, untrained, weights_of
from backend.federation.fleet_costs import cost_eur, costs_of, live_at_once, live_by, stranded_kwh
from backend.federation.fleet_world import FleetWorld, live_by_rule, make_world

DAY = FleetWorld(
    capacity_kwh=np.array([50.0]),
    power_kw=np.array([10.0]),
    start_soc=np.array([0.5]),
    is_plugged_in=np.array([[True, True, False, True]]),
    drive_kwh=np.array([[0.0, 0.0, 30.0, 0.0]]),
    cycle_start_h=np.array([12]),
    price_eur_per_kwh=np.array([0.1, 0.4, 0.2, 0.3]),
)


def test_charging_at_once_costs_its_flows_and_what_is_missing_at_the_end() -> None:
    life = live_at_once(DAY)

    # 10 kWh at 0.10, at 0.40 and at 0.30; 25 kWh at the start, 25 left at the end.
    assert life.energy_kwh.tolist() == [[10.0, 10.0, 0.0, 10.0]]
    assert cost_eur(DAY, life) == pytest.approx(8.0)
    assert stranded_kwh(DAY, life) == 0.0


def test_what_a_battery_did_not_hold_is_bought_on_the_road_at_the_dearest_price() -> None:
    far = replace(DAY, drive_kwh=np.array([[0.0, 0.0, 50.0, 0.0]]))

    life = live_at_once(far)

    # 45 kWh when it leaves: 5 are bought on the way at 0.40; 15 less at the end, at 0.25.
    assert stranded_kwh(far, life) == pytest.approx(5.0)
    assert cost_eur(far, life) == pytest.approx(8.0 + 5 * 0.4 + 15 * 0.25)


def test_a_learned_model_comes_nearer_to_its_teacher_than_charging_at_once() -> None:
    world = make_world(40, 120, seed=7)
    taught, state = live_by_rule(world), untrained(40)
    for _ in range(12):
        state = advance(lessons_of(world, taught), state, FleetSettings())

    costs = costs_of(world, taught, weights_of(state))

    assert costs.cost_saved_eur == pytest.approx(costs.at_once_eur - costs.model_eur, abs=0.011)
    assert costs.stranded_at_once_kwh == 0.0
    agrees = live_by(weights_of(state), world).action == taught.action
    assert agrees.mean() > (live_at_once(world).action == taught.action).mean()
