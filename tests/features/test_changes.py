"""Another trip, departure or priority for a running session, over HTTP."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select

from backend.adapters.events.outbox import OutboxEvent
from backend.features.credentials.holder import Holder
from backend.features.sessions import changing
from backend.features.sessions.completion import open_for_change
from backend.features.sessions.desk import open_desk
from backend.features.sessions.models import ChargingSession
from backend.features.sessions.problems import DepartureInPast
from backend.features.sessions.schemas import SessionChange, TripIn
from backend.problems import Problem
from tests.conftest import NOON, House
from tests.features.test_sessions import power_at, refused, when
from tests.tables import row_counts, rows_of

CHEAP_LATE = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 16 + [0.05] * 8}  # from 14:00 UTC


def change(house: House, session_id: str, body: dict[str, Any], **headers: str) -> Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: Response = house.client.patch(f"/api/v1/sessions/{session_id}", json=body, headers=sent)
    return answer


def changed(house: House, session_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = change(house, session_id, body)
    assert answer.status_code == 200, answer.text
    plan: dict[str, Any] = answer.json()["plan"]
    return plan


def events_of(house: House) -> list[tuple[str, dict[str, Any]]]:
    with house.parts.database.reading() as db:
        rows = db.scalars(select(OutboxEvent).order_by(OutboxEvent.id)).all()
        return [(row.type, row.data) for row in rows]


def test_an_earlier_departure_moves_the_charging(house: House) -> None:
    house.site()
    house.post("/sites/site_hq/tariffs", CHEAP_LATE)
    started = house.start(soc_percent=10, distance_km=300, hours=8)
    assert when(started["plan"]["planned_start_time"]) == when("2026-03-10T14:00:00Z")
    trip = {"distance_km": 300, "departure_time": "2026-03-10T13:00:00Z"}

    answer = change(house, started["session_id"], {"trip": trip})

    plan = answer.json()["plan"]
    assert plan["departure_time"] == "2026-03-10T13:00:00Z"
    assert when(plan["planned_finish_time"]) <= when("2026-03-10T13:00:00Z")
    assert plan["is_feasible"] is True
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)
    assert plan["version"] > started["plan"]["version"]
    assert answer.json()["message"].startswith("Planned again: ready at 2026-03-10 10:")
    view = house.get(f"/sessions/{started['session_id']}").json()
    assert view["plan"] == plan
    assert view["departure_time"] == "2026-03-10T13:00:00Z"


@pytest.mark.parametrize(
    ("trip", "needed_kwh"),
    [
        ({"distance_km": 200}, 43.2),
        ({"energy_kwh": 40}, 40.0),
        ({"target_soc_percent": 80}, 60.0),
    ],
)
def test_another_trip_replaces_the_first_in_every_form(
    house: House, trip: dict[str, float], needed_kwh: float
) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]

    plan = changed(house, session_id, {"trip": trip})

    assert plan["needed_trip_energy_kwh"] == pytest.approx(needed_kwh)
    assert plan["formula"]["needed_trip_energy_kwh"] == pytest.approx(needed_kwh)
    assert plan["planned_energy_kwh"] == pytest.approx(needed_kwh - 7.5, abs=1e-3)
    assert plan["planned_cost_eur"] == pytest.approx((needed_kwh - 7.5) * 0.3, abs=0.01)
    assert plan["cost_if_charged_now_eur"] == pytest.approx(plan["planned_cost_eur"], abs=0.01)
    (row,) = rows_of(house.parts.database, "trips")
    forms = ("distance_km", "energy_kwh", "target_soc_percent")
    assert {form: row[form] for form in forms} == {**dict.fromkeys(forms), **trip}
    assert row["departure_at"] == NOON + timedelta(hours=6)  # none was sent, so it stays
    assert row["departure_source"] == plan["departure_source"] == "request"


def test_what_has_been_charged_counts(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=200, preferences={"priority": "speed"})[
        "session_id"
    ]
    house.clock.advance(minutes=12)
    reading = {"at": "2026-03-10T10:12:00Z", "energy_delivered_kwh": 25.0}
    house.post(f"/sessions/{session_id}/meter-values", {"values": [reading]})

    plan = changed(house, session_id, {"trip": {"distance_km": 300}})

    assert plan["current_energy_kwh"] == pytest.approx(7.5 + 25)
    assert plan["extra_energy_needed_kwh"] == pytest.approx(64.8 - 32.5)
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)  # of the whole session
    assert sum(slot["energy_kwh"] for slot in plan["slots"]) == pytest.approx(32.3, abs=1e-3)
    assert plan["cost_if_charged_now_eur"] == pytest.approx(57.3 * 0.3, abs=0.01)


def test_what_no_meter_has_told_counts_as_planned(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=200, preferences={"priority": "speed"})[
        "session_id"
    ]
    house.clock.advance(minutes=12)

    plan = changed(house, session_id, {"trip": {"distance_km": 300}})
    again = changed(house, session_id, {"trip": {"distance_km": 300}})

    assert plan["current_energy_kwh"] == pytest.approx(7.5 + 127.5 / 5, abs=1e-3)
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)
    assert again["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)


def test_a_larger_trip_is_charged_for_at_once_whatever_the_last_plan_had(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=50, distance_km=10)["session_id"]  # nothing to charge

    plan = changed(house, session_id, {"trip": {"target_soc_percent": 100}})

    assert plan["slots"][0]["power_kw"] == pytest.approx(plan["effective_charge_power_kw"])


def test_a_smaller_trip_than_what_is_charged_needs_no_more(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=200, preferences={"priority": "speed"})[
        "session_id"
    ]
    house.clock.advance(minutes=12)

    plan = changed(house, session_id, {"trip": {"distance_km": 50}})

    assert plan["extra_energy_needed_kwh"] == 0
    assert plan["slots"] == []
    assert plan["planned_energy_kwh"] == pytest.approx(25.5, abs=1e-3)
    assert plan["is_feasible"] is True


def test_comfort_stays_wanted_with_another_trip(house: House) -> None:
    house.site()
    wishes = {"priority": "cost", "comfort_soc_percent": 80}
    session_id = house.start(soc_percent=35, distance_km=10, preferences=wishes)["session_id"]

    plan = changed(house, session_id, {"trip": {"distance_km": 20}})

    assert plan["target_soc_percent"] == pytest.approx(80)
    assert plan["planned_energy_kwh"] == pytest.approx(33.75, abs=1e-3)


def test_a_priority_alone_keeps_the_trip(house: House) -> None:
    house.site()
    house.post("/sites/site_hq/tariffs", CHEAP_LATE)
    started = house.start(soc_percent=10, distance_km=300, hours=8)

    plan = changed(house, started["session_id"], {"priority": "speed"})

    assert when(plan["planned_start_time"]) == NOON
    assert plan["plan_type"] == "FAST"
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)
    assert plan["departure_time"] == started["plan"]["departure_time"]
    back = changed(house, started["session_id"], {"priority": "cost"})
    assert when(back["planned_start_time"]) == when("2026-03-10T14:00:00Z")
    assert back["plan_type"] == "ECONOMY"


def test_an_accepted_delay_gives_way_to_a_departure_before_it(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=8)["session_id"]
    with house.parts.database.transaction() as db:
        session = db.get_one(ChargingSession, session_id)
        session.not_before_at = NOON + timedelta(hours=5)
    trip = {"distance_km": 300, "departure_time": "2026-03-10T12:00:00Z"}

    plan = changed(house, session_id, {"trip": trip})

    assert plan["is_feasible"] is True
    (row,) = rows_of(house.parts.database, "charging_sessions")
    assert row["not_before_at"] is None


def test_a_suspended_session_goes_on_with_a_departure_ahead(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=0.25)["session_id"]
    house.clock.advance(minutes=40)
    with house.parts.database.transaction() as db:
        open_for_change(
            db,
            session_id,
            holder=Holder("x", frozenset({"administrator"}), "verified"),
            changes_plan=True,
        ).status = "suspended"
    late = {"distance_km": 300, "departure_time": "2026-03-10T13:00:00Z"}

    refused(change(house, session_id, {"trip": {"distance_km": 300}}), 409, "departure_in_past")
    plan = changed(house, session_id, {"trip": late})

    assert house.get(f"/sessions/{session_id}").json()["status"] == "active"
    assert plan["current_energy_kwh"] == pytest.approx(7.5 + 127.5 / 4, abs=1e-3)
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)
    assert plan["is_feasible"] is True


def test_everybody_else_is_planned_again_and_told(house: House) -> None:
    house.site(grid_limit_kw=100)
    tight = house.start(number=1, soc_percent=10, distance_km=300, hours=8)["session_id"]
    other = house.start(number=2, charger=2, soc_percent=10, distance_km=300, hours=2)
    assert other["plan"]["is_feasible"]
    house.settle()
    seen = len(events_of(house))
    soon = {"distance_km": 300, "departure_time": "2026-03-10T11:00:00Z"}

    mine = changed(house, tight, {"trip": soon})

    theirs = house.get(f"/sessions/{other['session_id']}/plan").json()
    assert mine["version"] == theirs["version"]
    assert mine["is_feasible"] is theirs["is_feasible"] is True
    slots = mine["slots"] + theirs["slots"]
    assert max(power_at(slots, when(one["start"])) for one in slots) <= 100 + 1e-6
    told = events_of(house)[seen:]
    assert [name for name, _ in told] == ["session.changed", "site.replanned", "session.replanned"]
    assert told[0][1]["session_id"] == tight
    assert told[0][1]["departure_time"].startswith("2026-03-10T11:00")
    assert told[2][1]["session_id"] == other["session_id"]
    assert told[2][1]["cause"] == "session.changed"
    before, after = other["plan"]["planned_finish_time"], theirs["planned_finish_time"]
    assert when(told[2][1]["previous_planned_finish_time"]) == when(before)
    assert when(told[2][1]["planned_finish_time"]) == when(after)


def test_a_change_on_an_old_state_is_refused(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    etag = house.get(f"/sessions/{session_id}").headers["ETag"]
    body = {"trip": {"distance_km": 200}}

    first = change(house, session_id, body, If_Match=etag)
    second = change(house, session_id, {"trip": {"distance_km": 100}}, If_Match=etag)

    assert first.status_code == 200
    refused(second, 412, "precondition_failed")
    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert plan["needed_trip_energy_kwh"] == pytest.approx(43.2)
    assert change(house, session_id, body, If_Match="*").status_code == 200


def test_a_change_sent_twice_with_one_key_is_made_once(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    body = {"trip": {"distance_km": 200}}

    first = change(house, session_id, body, Idempotency_Key="k1")
    before = row_counts(house.parts.database)
    second = change(house, session_id, body, Idempotency_Key="k1")
    other = change(house, session_id, {"priority": "speed"}, Idempotency_Key="k1")

    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert row_counts(house.parts.database) == before
    refused(other, 422, "idempotency_key_reused")


def test_an_ended_session_is_not_changed(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.post(f"/sessions/{session_id}/complete", {})
    before = row_counts(house.parts.database)

    answer = change(house, session_id, {"priority": "speed"})

    refused(answer, 409, "session_ended")
    assert row_counts(house.parts.database) == before
    unknown = change(house, "ses_01KAF0000000000000000000", {"priority": "speed"})
    refused(unknown, 404, "session_not_found")


def test_a_past_departure_moves_in_the_demo_and_is_refused_elsewhere(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    past = {"distance_km": 300, "departure_time": "2026-03-10T09:00:00Z"}
    operator = Holder("did:x:y", frozenset({"operator"}), "verified", frozenset({"site_hq"}))
    strict = replace(open_desk(house.parts), is_demo=False)

    with (
        house.parts.database.reading() as read,
        house.parts.database.transaction() as db,
        pytest.raises(DepartureInPast),
    ):
        changing.change_session(
            read,
            db,
            session_id,
            SessionChange(trip=TripIn.model_validate(past)),
            holder=operator,
            desk=strict,
            now=house.clock.now(),
        )
    answer = change(house, session_id, {"trip": past})

    assert answer.json()["plan"]["departure_time"] == "2026-03-11T09:00:00Z"
    assert answer.json()["plan"]["departure_source"] == "moved_to_next_day"
    assert "lies in the past" in answer.json()["warnings"][0]


@pytest.mark.parametrize("roles", [{"driver"}, {"auditor", "driver"}])
def test_only_the_driver_and_the_operator_change_a_session(
    sqlite_house: House, roles: set[Any]
) -> None:
    house = sqlite_house
    house.site()
    session_id = house.start()["session_id"]
    stranger = Holder("did:denso:driver:driver777", frozenset(roles), "verified")

    with (
        house.parts.database.reading() as read,
        house.parts.database.transaction() as db,
        pytest.raises(Problem) as refusal,
    ):
        changing.change_session(
            read,
            db,
            session_id,
            SessionChange(priority="speed"),
            holder=stranger,
            desk=open_desk(house.parts),
            now=house.clock.now(),
        )

    assert refusal.value.code() == "session_not_found"


def test_the_new_plan_is_on_the_stream_of_the_session(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    house.settle()

    changed(house, session_id, {"trip": {"distance_km": 200}})
    house.settle()
    house.post(f"/sessions/{session_id}/complete", {})
    house.settle()

    stream = house.get(f"/sessions/{session_id}/events", headers={"Last-Event-ID": "0"}).text
    kinds = [line[7:] for line in stream.splitlines() if line.startswith("event: ")]
    assert kinds == ["session.started", "session.changed", "session.completed"]
