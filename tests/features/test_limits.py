"""Timed limits and what else flows through a connection, over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from httpx2 import Response

from backend.planning.problem import STEP, step_edges
from tests.conftest import NOON, House
from tests.features.test_changes import events_of
from tests.features.test_sessions import refused, when
from tests.tables import rows_of

Limit = tuple[datetime | None, datetime | None, float]


def limit(house: House, limit_kw: float, *, site_id: str = "site_hq", **window: str) -> Response:
    body = {"limit_kw": limit_kw, "reason": "Grid operator", **window}
    answer: Response = house.post(f"/sites/{site_id}/limits", body)
    return answer


def limited(house: House, limit_kw: float, **window: str) -> str:
    answer = limit(house, limit_kw, **window)
    assert answer.status_code == 201, answer.text
    limit_id: str = answer.json()["limit_id"]
    return limit_id


def busy_site(house: House, vehicles: int = 6, *, hours: float = 8, **values: Any) -> None:
    """A site whose vehicles together could draw far over any limit of these tests."""
    house.site(chargers=vehicles, **values)
    for number in range(1, vehicles + 1):
        house.start(
            number=number,
            charger=number,
            soc_percent=10,
            distance_km=200,
            hours=hours - number % 3,
            preferences={"priority": ("speed", "cost")[number % 2]},
        )


def loads_kw(house: House) -> dict[datetime, float]:
    """The stored setpoints of the newest plan, added up for every minute of the plan."""
    rows = rows_of(house.parts.database, "session_plans")
    newest = max(row["version"] for row in rows)
    load: dict[datetime, float] = {}
    for row in (one for one in rows if one["version"] == newest):
        edges = step_edges(row["planned_at"], row["planned_at"] + STEP * len(row["setpoint_kw"]))
        for minute in range(60 * 24):
            moment = row["planned_at"] + timedelta(minutes=minute)
            held = [
                step for step, edge in enumerate(edges[:-1]) if edge <= moment < edges[step + 1]
            ]
            if held and held[0] < len(row["setpoint_kw"]) and moment < row["departure_at"]:
                load[moment] = load.get(moment, 0.0) + row["setpoint_kw"][held[0]]
    return load


def highest_kw(house: House, since: datetime, until: datetime) -> float:
    held = [load for moment, load in loads_kw(house).items() if since <= moment < until]
    return max(held, default=0.0)


def test_a_limit_that_is_lifted_leaves_nothing_of_its_plan(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=200, hours=8)["session_id"]
    limit_id = limited(house, 0.5)
    house.settle()

    house.client.delete(f"/api/v1/sites/site_hq/limits/{limit_id}")
    house.settle()

    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert plan["slots"][0]["power_kw"] == pytest.approx(plan["effective_charge_power_kw"])


def test_a_limit_from_now_on_is_kept_by_the_next_plan(house: House) -> None:
    busy_site(house)
    before = house.get("/sites/site_hq/schedule").json()["version"]
    assert highest_kw(house, NOON, NOON + timedelta(hours=12)) > 200

    limited(house, 60)
    house.settle()

    schedule = house.get("/sites/site_hq/schedule").json()
    assert schedule["version"] > before
    assert schedule["cause"] == "site.limited"
    assert 59 < highest_kw(house, NOON, NOON + timedelta(hours=12)) <= 60 + 1e-6
    assert {step["limit_kw"] for step in schedule["steps"]} == {60}
    assert all(step["planned_kw"] <= 60 + 1e-6 for step in schedule["steps"])


@pytest.mark.parametrize("limit_kw", [0.0, 60.0])
def test_a_limit_for_a_window_is_kept_within_it_alone(house: House, limit_kw: float) -> None:
    busy_site(house, grid_limit_kw=150)
    window = {"from": "2026-03-10T10:37:00Z", "to": "2026-03-10T12:08:00Z"}
    start, end = when(window["from"]), when(window["to"])

    limited(house, limit_kw, **window)
    house.settle()

    assert highest_kw(house, start, end) <= limit_kw + 1e-6
    assert highest_kw(house, NOON, start) > 140
    assert highest_kw(house, end + STEP, end + timedelta(hours=6)) > 100


def test_of_two_limits_the_least_holds(house: House) -> None:
    busy_site(house)

    limited(house, 120, to="2026-03-10T12:00:00Z")
    limited(house, 50, **{"from": "2026-03-10T11:00:00Z", "to": "2026-03-10T13:00:00Z"})
    house.settle()

    assert 100 < highest_kw(house, NOON, NOON + timedelta(hours=1)) <= 120 + 1e-6
    assert 40 < highest_kw(house, NOON + timedelta(hours=1), NOON + timedelta(hours=3)) <= 50 + 1e-6


def test_a_limit_above_that_of_the_connection_changes_nothing(house: House) -> None:
    busy_site(house, grid_limit_kw=100)

    limited(house, 500)
    house.settle()

    assert highest_kw(house, NOON, NOON + timedelta(hours=12)) <= 100 + 1e-6


def test_a_lifted_limit_holds_no_longer(house: House) -> None:
    busy_site(house)
    limit_id = limited(house, 20)
    house.settle()
    assert highest_kw(house, NOON, NOON + timedelta(hours=12)) <= 20 + 1e-6

    lifted = house.client.delete(f"/api/v1/sites/site_hq/limits/{limit_id}")
    house.settle()

    assert lifted.status_code == 200
    assert lifted.json()["to"] == "2026-03-10T10:00:00Z"
    assert highest_kw(house, NOON, NOON + timedelta(hours=12)) > 200
    assert house.get("/sites/site_hq/limits").json()["limits"] == []
    again = house.client.delete(f"/api/v1/sites/site_hq/limits/{limit_id}")
    refused(again, 404, "limit_not_found")


def test_sessions_are_told_the_cause_and_the_reason(house: House) -> None:
    busy_site(house, vehicles=2)
    house.settle()
    seen = len(events_of(house))

    limited(house, 20)
    house.settle()

    told = events_of(house)[seen:]
    assert [name for name, _ in told] == [
        "site.limited",
        "site.replanned",
        "session.replanned",
        "session.replanned",
    ]
    assert told[0][1]["reason"] == "Grid operator"
    for _, facts in told[1:]:
        assert (facts["cause"], facts["reason"]) == ("site.limited", "Grid operator")
    assert all(
        facts["planned_finish_time"] > facts["previous_planned_finish_time"]
        for _, facts in told[2:]
    )


def test_a_session_that_starts_under_a_limit_is_planned_under_it(house: House) -> None:
    house.site()
    limited(house, 10, to="2026-03-10T11:00:00Z")

    plan = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})["plan"]

    assert plan["slots"][0]["power_kw"] == pytest.approx(10)
    assert plan["is_feasible"] is True


def test_who_falls_short_by_a_limit_is_told_by_how_much(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=2)["session_id"]

    limited(house, 10)
    house.settle()

    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert plan["is_feasible"] is False
    assert plan["short_by_kwh"] == pytest.approx(57.3 - 20, abs=0.01)
    assert "site_limit" in [one["code"] for one in plan["reasons"]]


def test_limits_are_listed_while_they_hold_or_lie_ahead(house: House) -> None:
    house.site()
    later = limited(house, 60, **{"from": "2026-03-10T16:00:00Z", "to": "2026-03-10T18:00:00Z"})
    limited(house, 80, to="2026-03-10T11:00:00Z")
    house.clock.advance(hours=2)

    listed = house.get("/sites/site_hq/limits").json()

    assert listed == {
        "site_id": "site_hq",
        "limits": [
            {
                "limit_id": later,
                "site_id": "site_hq",
                "limit_kw": 60,
                "from": "2026-03-10T16:00:00Z",
                "to": "2026-03-10T18:00:00Z",
                "node": None,
                "reason": "Grid operator",
            }
        ],
    }


@pytest.mark.parametrize(
    "window",
    [
        {"from": "2026-03-10T12:00:00Z", "to": "2026-03-10T12:00:00Z"},
        {"from": "2026-03-10T12:00:00Z", "to": "2026-03-10T11:00:00Z"},
        {"to": "2026-03-10T10:00:00Z"},
        {"from": "2026-03-09T10:00:00Z", "to": "2026-03-10T09:00:00Z"},
        {"from": "2026-03-11T10:00:00Z", "to": "2027-03-13T10:00:00Z"},
    ],
)
def test_a_window_that_cannot_be_is_refused(sqlite_house: House, window: dict[str, str]) -> None:
    sqlite_house.site()

    refused(limit(sqlite_house, 60, **window), 409, "limit_window_impossible")

    assert rows_of(sqlite_house.parts.database, "site_limits") == []


@pytest.mark.parametrize("limit_kw", [-1, 1e9])
def test_a_malformed_limit_is_refused(sqlite_house: House, limit_kw: float) -> None:
    sqlite_house.site()

    refused(limit(sqlite_house, limit_kw), 422, "malformed_request")


def test_the_limit_of_another_site_is_not_found(house: House) -> None:
    house.site("site_hq")
    house.site("site_mall")
    limit_id = limited(house, 60)

    other = house.client.delete(f"/api/v1/sites/site_mall/limits/{limit_id}")

    refused(other, 404, "limit_not_found")
    assert len(house.get("/sites/site_hq/limits").json()["limits"]) == 1
    refused(limit(house, 60, site_id="site_nowhere"), 404, "site_not_found")
    refused(house.get("/sites/site_nowhere/limits"), 404, "site_not_found")


def test_charging_base_load_and_sun_stay_within_the_connection(house: House) -> None:
    house.site(grid_limit_kw=150, chargers=4)
    base_kw = [20.0] * 12 + [90.0] * 4 + [160.0] * 2 + [20.0] * 6
    change = {"base_load_kw_by_hour": base_kw, "pv_peak_kw": 200, "export_eur_per_kwh": 0.02}
    answer = house.client.patch("/api/v1/sites/site_hq", json=change)
    assert answer.status_code == 200
    assert change.items() <= answer.json().items()
    price = {
        "kind": "purchase",
        "eur_per_kwh_by_hour": [0.2] * 24,
        "demand_charge_eur_per_kw": 5.0,
    }
    house.post("/sites/site_hq/tariffs", price)

    for number in range(1, 5):
        house.start(number=number, charger=number, soc_percent=10, distance_km=250, hours=9)

    steps = house.get("/sites/site_hq/schedule").json()["steps"]
    assert sum(step["planned_kw"] for step in steps) > 0
    assert max(step["pv_kw"] for step in steps) > 0
    for step in steps:
        local_hour = (when(step["start"]) + timedelta(hours=2)).hour
        assert step["base_load_kw"] == base_kw[local_hour]
        # Sun that does not come must not carry the site over its limit.
        assert step["planned_kw"] <= max(0.0, 150 - step["base_load_kw"]) + 1e-6
    short_kwh = sum(
        house.get(f"/sessions/{one['session_id']}/plan").json()["short_by_kwh"]
        for one in house.get("/sessions").json()["data"]
    )
    assert short_kwh == 0


def test_a_demand_charge_flattens_what_nothing_else_spreads(house: House) -> None:
    house.site(grid_limit_kw=600)
    flat = {"kind": "purchase", "eur_per_kwh_by_hour": [0.2] * 24}
    house.post("/sites/site_hq/tariffs", flat)
    free = house.start(soc_percent=10, distance_km=300, hours=6)
    assert free["plan"]["slots"][0]["power_kw"] == pytest.approx(127.5)

    house.post("/sites/site_hq/tariffs", {**flat, "demand_charge_eur_per_kw": 10.0})
    house.settle()

    schedule = house.get("/sites/site_hq/schedule").json()
    assert schedule["planned_peak_kw"] == pytest.approx(57.3 / 6, rel=0.01)
    assert schedule["uncontrolled_peak_kw"] == pytest.approx(127.5)


def test_a_base_load_that_is_paid_for_anyway_leaves_room_below_its_peak(house: House) -> None:
    house.site(grid_limit_kw=600)
    base_kw = [10.0] * 10 + [100.0] * 2 + [10.0] * 12  # the peak of the morning is over
    house.client.patch("/api/v1/sites/site_hq", json={"base_load_kw_by_hour": base_kw})
    price = {
        "kind": "purchase",
        "eur_per_kwh_by_hour": [0.2] * 24,
        "demand_charge_eur_per_kw": 10.0,
    }
    house.post("/sites/site_hq/tariffs", price)

    plan = house.start(soc_percent=10, distance_km=300, hours=6)["plan"]

    assert plan["slots"][0]["power_kw"] == pytest.approx(90, rel=0.01)
