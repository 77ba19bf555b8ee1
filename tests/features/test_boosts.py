"""Charging before everybody else, over HTTP."""

from typing import Any

import pytest

from tests.conftest import NOON, House
from tests.features.test_changes import CHEAP_LATE, events_of
from tests.features.test_sessions import power_at, refused, when
from tests.tables import rows_of

STORED = ("charging_sessions", "site_plans", "session_plans", "outbox", "audit_events")


def boost(house: House, session_id: str) -> dict[str, Any]:
    answer = house.post(f"/sessions/{session_id}/boost")
    assert answer.status_code == 200, answer.text
    plan: dict[str, Any] = answer.json()["plan"]
    return plan


def stored(house: House) -> dict[str, list[dict[str, Any]]]:
    return {table: rows_of(house.parts.database, table) for table in STORED}


def test_a_boosted_session_charges_at_once_at_full_power(house: House) -> None:
    house.site()
    house.post("/sites/site_hq/tariffs", CHEAP_LATE)
    started = house.start(soc_percent=10, distance_km=300, hours=8)
    assert when(started["plan"]["planned_start_time"]) > NOON

    plan = boost(house, started["session_id"])

    assert when(plan["planned_start_time"]) == NOON
    assert plan["slots"][0]["power_kw"] == pytest.approx(127.5)
    assert when(plan["planned_finish_time"]) == when("2026-03-10T10:30:00Z")
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)
    assert plan["plan_type"] == "FAST"
    assert plan["is_feasible"] is True
    assert plan["reasons"][0]["text"].startswith("You asked to charge now")
    assert [name for name, _ in events_of(house)][-2:] == ["session.boosted", "site.replanned"]


def test_a_boost_takes_the_room_of_those_who_have_time(house: House) -> None:
    house.site(grid_limit_kw=100)
    first = house.start(number=1, soc_percent=10, distance_km=300, hours=6)["session_id"]
    second = house.start(number=2, charger=2, soc_percent=10, distance_km=300, hours=6)

    plan = boost(house, second["session_id"])

    theirs = house.get(f"/sessions/{first}/plan").json()
    assert plan["slots"][0]["power_kw"] == pytest.approx(100)
    assert when(plan["planned_start_time"]) == NOON
    assert theirs["is_feasible"] is True
    slots = plan["slots"] + theirs["slots"]
    assert max(power_at(slots, when(one["start"])) for one in slots) <= 100 + 1e-6
    assert power_at(theirs["slots"], NOON) == 0


def test_a_boost_outlasts_the_next_plan(house: House) -> None:
    house.site(grid_limit_kw=100)
    house.post("/sites/site_hq/tariffs", CHEAP_LATE)
    session_id = house.start(soc_percent=10, distance_km=300, hours=8)["session_id"]
    boost(house, session_id)

    house.start(number=2, charger=2, soc_percent=10, distance_km=300, hours=8)

    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert when(plan["planned_start_time"]) == NOON
    assert plan["slots"][0]["power_kw"] == pytest.approx(100)


def test_a_boost_at_the_cost_of_another_trip_is_refused_and_changes_nothing(house: House) -> None:
    house.site(grid_limit_kw=60)
    # The first needs 57.3 kWh in an hour: nearly all there is.
    tight = house.start(number=1, soc_percent=10, distance_km=300, hours=1)
    patient = house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=8)
    assert tight["plan"]["is_feasible"]
    house.settle()
    before = stored(house)

    answer = house.post(f"/sessions/{patient['session_id']}/boost")

    problem = refused(answer, 409, "boost_refused")
    assert "The site's limit of 60 kW binds" in problem["detail"]
    assert "another driver's trip" in problem["detail"]
    assert stored(house) == before


def test_the_refusal_names_the_limit_that_somebody_set(house: House) -> None:
    house.site()
    house.start(number=1, soc_percent=10, distance_km=300, hours=1)
    patient = house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=8)
    limit = {"limit_kw": 60, "reason": "Grid operator"}
    assert house.post("/sites/site_hq/limits", limit).status_code == 201
    house.settle()

    answer = house.post(f"/sessions/{patient['session_id']}/boost")

    problem = refused(answer, 409, "boost_refused")
    assert "The limit of 60 kW (Grid operator) binds" in problem["detail"]


def test_a_boost_leaves_room_where_it_is_ready_no_later_for_that(house: House) -> None:
    house.site(grid_limit_kw=200)
    tight = house.start(number=1, soc_percent=10, distance_km=300, hours=0.5)
    patient = house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=8)
    assert tight["plan"]["is_feasible"]

    plan = boost(house, patient["session_id"])

    # Alone it would be ready in the second quarter, too.
    theirs = house.get(f"/sessions/{tight['session_id']}/plan").json()
    assert when(plan["planned_start_time"]) == NOON
    assert when(plan["planned_finish_time"]) == when("2026-03-10T10:30:00Z")
    assert plan["planned_energy_kwh"] == pytest.approx(35.7, abs=1e-3)
    assert theirs["is_feasible"] is True
    slots = plan["slots"] + theirs["slots"]
    assert max(power_at(slots, when(one["start"])) for one in slots) <= 200 + 1e-6


def test_who_was_to_have_left_is_not_boosted(house: House) -> None:
    house.site()
    session_id = house.start(hours=0.25)["session_id"]
    house.clock.advance(minutes=20)

    refused(house.post(f"/sessions/{session_id}/boost"), 409, "departure_in_past")


def test_ended_and_unknown_sessions_are_not_boosted(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.post(f"/sessions/{session_id}/cancel")

    refused(house.post(f"/sessions/{session_id}/boost"), 409, "session_ended")
    unknown = house.post("/sessions/ses_01KAF0000000000000000000/boost")
    refused(unknown, 404, "session_not_found")


def test_a_boost_with_a_key_is_made_once(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    headers = {"Idempotency-Key": "b1"}

    first = house.post(f"/sessions/{session_id}/boost", headers=headers)
    version = house.get(f"/sessions/{session_id}/plan").json()["version"]
    second = house.post(f"/sessions/{session_id}/boost", headers=headers)

    assert second.json() == first.json()
    assert house.get(f"/sessions/{session_id}/plan").json()["version"] == version
