"""Who hears of a new plan: those whose plan it changed, and nobody else."""

from collections.abc import Sequence
from typing import Any

import pytest

from backend.features.sessions.desk import open_desk
from backend.features.sessions.replanning import replan_all
from tests.conftest import House
from tests.tables import rows_of

FAST = {"priority": "speed"}


def told(house: House, kind: str = "session.replanned") -> list[dict[str, Any]]:
    rows = sorted(rows_of(house.parts.database, "outbox"), key=lambda row: row["id"])
    return [row["data"] for row in rows if row["type"] == kind]


def plan_of(house: House, session_id: str) -> dict[str, Any]:
    plan: dict[str, Any] = house.get(f"/sessions/{session_id}/plan").json()
    return plan


def same_moment(first: str, second: str) -> bool:
    return first.replace("+00:00", "Z") == second


def tight_start(house: House, number: int, **values: Any) -> dict[str, Any]:
    wishes = {"soc_percent": 10, "distance_km": 200, "preferences": FAST, **values}
    return house.start(number=number, charger=number, **wishes)


def test_a_start_tells_whose_plan_it_changes(house: House) -> None:
    house.site(grid_limit_kw=100)
    first = tight_start(house, 1)

    second = tight_start(house, 2, hours=0.5)

    [facts] = told(house)
    before, after = first["plan"], plan_of(house, first["session_id"])
    assert facts["session_id"] == first["session_id"]
    assert (facts["cause"], facts["reason"]) == ("session.started", "Another vehicle plugged in.")
    assert facts["plan_version"] == second["plan"]["version"] == after["version"]
    assert before["planned_finish_time"] < after["planned_finish_time"]
    assert same_moment(facts["previous_planned_finish_time"], before["planned_finish_time"])
    assert same_moment(facts["planned_finish_time"], after["planned_finish_time"])
    assert facts["was_feasible"] is facts["is_feasible"] is True
    assert facts["short_by_kwh"] == 0


def test_who_no_longer_gets_all_is_told_so(house: House) -> None:
    house.site(grid_limit_kw=30)
    first = tight_start(house, 1, hours=2)

    body = house.start_body(number=2, charger=2, soc_percent=10, distance_km=200, hours=2)
    body["driver"]["credentials"] = ["PrioritySlot:gold"]
    assert house.post("/sessions/start", body).status_code == 200

    [facts] = told(house)
    plan = plan_of(house, first["session_id"])
    assert first["plan"]["is_feasible"] is True
    assert plan["is_feasible"] is False
    assert (facts["was_feasible"], facts["is_feasible"]) == (True, False)
    assert facts["short_by_kwh"] == pytest.approx(plan["short_by_kwh"])


def test_a_trip_beyond_the_battery_stays_infeasible_whatever_the_plan(house: House) -> None:
    house.site(grid_limit_kw=100)
    first = tight_start(house, 1, distance_km=500)

    tight_start(house, 2)

    [facts] = told(house)
    plan = plan_of(house, first["session_id"])
    assert facts["was_feasible"] is facts["is_feasible"] is plan["is_feasible"] is False
    assert facts["short_by_kwh"] == pytest.approx(plan["short_by_kwh"])


def test_where_there_is_room_for_all_starts_disturb_nobody(house: House) -> None:
    house.site(grid_limit_kw=600)

    for number in (1, 2, 3, 4):
        tight_start(house, number)

    assert told(house) == []
    assert len(told(house, "site.replanned")) == 4


@pytest.mark.parametrize("ending", ["complete", "cancel"])
def test_the_end_of_a_session_tells_who_gets_its_power(house: House, ending: str) -> None:
    house.site(grid_limit_kw=100)
    first, second = tight_start(house, 1), tight_start(house, 2)
    house.settle()
    seen = len(told(house))

    house.post(f"/sessions/{first['session_id']}/{ending}", {} if ending == "complete" else None)
    house.settle()

    [facts] = told(house)[seen:]
    assert facts["session_id"] == second["session_id"]
    assert facts["planned_finish_time"] < facts["previous_planned_finish_time"]
    assert facts["reason"] in ("Another vehicle left.", "Another vehicle's session was cancelled.")


def test_a_plan_that_goes_on_as_it_was_is_no_news(house: House) -> None:
    house.site(grid_limit_kw=100)
    for number in (1, 2, 3):
        tight_start(house, number)
    seen = len(told(house))

    for minutes in (5, 7, 20):
        house.clock.advance(minutes=minutes)
        replan_all(house.parts, open_desk(house.parts), cause="regular")

    assert told(house)[seen:] == []
    assert [one["cause"] for one in told(house, "site.replanned")][-3:] == ["regular"] * 3


def test_a_crowd_of_starts_tells_just_those_whose_stored_plan_changed(house: House) -> None:
    house.site(grid_limit_kw=150, chargers=10)
    house.post("/sites/site_hq/tariffs", _cheap_at_two())

    for number in range(1, 11):
        tight_start(house, number, preferences={"priority": ("cost", "speed")[number % 2]})

    heard = {(one["plan_version"], one["session_id"]) for one in told(house)}
    assert heard == _changed_rows(house)
    assert len(told(house)) == len(heard)


def _cheap_at_two() -> dict[str, Any]:
    return {"kind": "purchase", "eur_per_kwh_by_hour": [0.3] * 14 + [0.1] * 4 + [0.3] * 6}


def _changed_rows(house: House) -> set[tuple[int, str]]:
    """Versions and sessions whose stored setpoints or shortfall are not those before.

    The clock of the tests stands still, so that steps are the same in all versions.
    """
    rows = rows_of(house.parts.database, "session_plans")
    by_key = {(row["version"], row["session_id"]): row for row in rows}
    return {
        (version, session_id)
        for (version, session_id), row in by_key.items()
        if (before := by_key.get((version - 1, session_id))) is not None
        and (
            _differ(before["setpoint_kw"], row["setpoint_kw"])
            or (before["shortfall_kwh"] <= 0.01) != (row["shortfall_kwh"] <= 0.01)
        )
    }


def _differ(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) != len(other) or any(
        abs(a - b) / 4 > 0.01 for a, b in zip(one, other, strict=True)
    )
