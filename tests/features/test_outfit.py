"""Plans of sites with any equipment, judged by the documents that state it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.features.sessions.binding import binding_limits
from backend.features.sessions.outfit import CONNECTION
from backend.features.sessions.site_problem import edges_of, problem_of
from backend.features.sessions.situation import OpenSession, Situation, Surroundings
from backend.features.sessions.stay_terms import StayTerms, V2gTerms, abilities_of
from backend.features.sites.equipment import SiteEquipment, faults_of, members_of
from backend.features.sites.wiring import ChargerEquipment
from backend.features.vehicles.sheets import ChargingLosses, VehicleEquipment
from backend.planning.checker import violations
from backend.planning.fallback import earliest_deadline
from backend.planning.mpc import plan_charging

Floats = npt.NDArray[np.float64]
NOW = datetime(2026, 3, 10, 10, 7, tzinfo=UTC)
CAPACITY_KWH = 75.0
CHARGERS = [f"did:denso:charger:site_hq_chr{number:02d}" for number in range(1, 7)]


@st.composite
def equipments(draw: st.DrawFn) -> SiteEquipment:
    """A tree of limits over six chargers, perhaps with three lines, a battery, an export limit."""
    nodes = draw(st.integers(0, 4))
    placed = draw(st.lists(st.integers(-1, nodes - 1), min_size=6, max_size=6))
    limits: list[dict[str, Any]] = [
        {
            "name": f"node {node}",
            "parent": None if (above := draw(st.integers(-1, node - 1))) < 0 else f"node {above}",
            "limit_kw": draw(st.floats(0, 60)),
            "charger_dids": [CHARGERS[one] for one in range(6) if placed[one] == node],
        }
        for node in range(nodes)
    ]
    line_a = draw(st.lists(st.floats(20, 300), min_size=3, max_size=3))
    unbalance_a = draw(st.none() | st.floats(5, 100))
    phases = {"limit_a": line_a, "max_unbalance_a": unbalance_a}
    battery = {"capacity_kwh": 50, "max_power_kw": draw(st.floats(1, 40))}
    return SiteEquipment.model_validate(
        {
            "limits": limits,
            "phases": draw(st.sampled_from([None, phases])),
            "battery": draw(st.sampled_from([None, battery])),
        }
    )


@st.composite
def sessions(draw: st.DrawFn, number: int) -> OpenSession:
    """A vehicle at one of the chargers, wired and able to any degree."""
    charger = ChargerEquipment(
        connection=draw(st.sampled_from(["dc", "single_phase", "three_phase"])),
        first_line=draw(st.integers(1, 3)),
        max_discharge_power_kw=draw(st.sampled_from([0.0, 10.0])),
    )
    vehicle = VehicleEquipment(
        taper_knee_soc_percent=draw(st.sampled_from([None, 80.0])),
        charging_efficiency=draw(st.sampled_from([None, 0.9, ChargingLosses()])),
    )
    power_kw, held_kwh = draw(st.floats(2, 40)), draw(st.floats(5, 70))
    target_kwh = draw(st.floats(0, CAPACITY_KWH - held_kwh))
    v2g = V2gTerms(10.0, draw(st.floats(0, 70)), 0.0, 0.01, 0.3)
    terms = StayTerms(held_kwh, 0.0, target_kwh / 2, vehicle, draw(st.sampled_from([None, v2g])))
    return OpenSession(
        session_id=f"ses_{number}",
        started_at=NOW,
        departure_at=NOW + timedelta(minutes=draw(st.integers(5, 300))),
        not_before_at=None,
        effective_power_kw=power_kw,
        remaining_kwh=target_kwh,
        priority=None,
        has_priority_slot=False,
        abilities=abilities_of(
            terms,
            charger,
            charger_did=CHARGERS[number],
            capacity_kwh=CAPACITY_KWH,
            power_kw=power_kw,
            target_kwh=target_kwh,
            remaining_kwh=target_kwh,
        ),
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """A site with up to six vehicles and dear hours to come."""
    there = draw(st.integers(1, 6))
    return Situation(
        site_id="site_hq",
        timezone="Europe/Helsinki",
        grid_limit_kw=draw(st.floats(10, 150)),
        plan_version=0,
        price=None,
        surroundings=Surroundings(
            base_load_kw_by_hour=(5.0,) * 24, equipment=draw(equipments()), battery_kwh=25.0
        ),
        sessions=tuple(draw(sessions(number)) for number in range(there)),
    )


@settings(max_examples=20, deadline=None)
@given(situations())
def test_every_stated_limit_is_kept_by_plan_and_fallback(site: Situation) -> None:
    equipment = site.surroundings.equipment
    assert faults_of(equipment, set(CHARGERS)) == []
    problem = problem_of(site, edges_of(site, NOW, timedelta(0)))

    for plan in (plan_charging(problem, deadline_s=5), earliest_deadline(problem)):
        power_kw = plan.setpoint_kw
        assert violations(problem, plan) == ()
        for node in equipment.limits:
            below = members_of(equipment)[node.name]
            rows = [one.abilities.charger_did in below for one in site.sessions]
            assert np.all(power_kw[rows].sum(axis=0) <= (node.limit_kw or 0.0) + 1e-6)
        if equipment.phases is not None:
            currents = np.zeros((3, power_kw.shape[1]))
            for row, one in zip(power_kw, site.sessions, strict=True):
                lines = [one.abilities.phase] if one.abilities.phase >= 0 else [0, 1, 2]
                currents[lines] += row / len(lines) / 0.23
            assert np.all(currents <= np.array(equipment.phases.limit_a)[:, None] + 1e-3)
            unbalance_a = equipment.phases.max_unbalance_a or np.inf
            assert np.all(np.ptp(currents, axis=0) <= unbalance_a + 1e-3)
        assert np.all(power_kw.sum(axis=0) + 5.0 <= max(site.grid_limit_kw, 5.0) + 1e-6)


@settings(max_examples=15, deadline=None)
@given(situations())
def test_nothing_leaves_a_vehicle_below_its_floor_or_without_consent(site: Situation) -> None:
    problem = problem_of(site, edges_of(site, NOW, timedelta(0)))

    plan = plan_charging(problem, deadline_s=5)

    for place, one in enumerate(site.sessions):
        row = plan.setpoint_kw[place]
        if one.abilities.discharge_kw == 0:
            assert np.all(row >= 0)
            continue
        hours = problem.available_h[place]
        drawn_kwh = row * hours
        stored_kwh = np.where(drawn_kwh > 0, _stored_kw(one, row) * hours, drawn_kwh / 0.95)
        held_kwh = (one.abilities.held_kwh or 0.0) + stored_kwh.cumsum()
        if np.any(row < 0):
            lowest_kwh = min(one.abilities.floor_kwh, one.abilities.held_kwh or 0.0)
            assert held_kwh.min() >= lowest_kwh - 1e-3
            assert held_kwh[-1] >= (one.abilities.held_kwh or 0.0) - 0.01


def _stored_kw(session: OpenSession, drawn_kw: Floats) -> Floats:
    """What reaches the battery, proportional below the least power of a charger."""
    losses, highest_kw = session.abilities.losses, session.effective_power_kw
    least_kw = min(1.38, highest_kw / 2)
    kept_kw = (1 - losses.conversion_loss) * drawn_kw - losses.standby_kw
    least_share = max(0.05, 1 - losses.conversion_loss - losses.standby_kw / least_kw)
    return np.where(drawn_kw >= least_kw, kept_kw, least_share * drawn_kw)


def test_limits_that_nothing_reaches_are_not_named() -> None:
    lone = OpenSession(
        session_id="ses_1",
        started_at=NOW,
        departure_at=NOW + timedelta(hours=2),
        not_before_at=None,
        effective_power_kw=10.0,
        remaining_kwh=5.0,
        priority=None,
        has_priority_slot=False,
    )
    around = Surroundings(equipment=SiteEquipment())
    site = Situation("site_hq", "Europe/Helsinki", 100.0, 0, None, around, (lone,))
    full = Situation("site_hq", "Europe/Helsinki", 8.0, 0, None, around, (lone,))

    named = []
    for one in (site, full):
        problem = problem_of(one, edges_of(one, NOW, timedelta(0)))
        named.append(binding_limits(problem, plan_charging(problem))[0])

    assert named == [[], [CONNECTION]]
