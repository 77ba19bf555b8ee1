"""Offers over HTTP: made when they help, decided once, paid only when earned."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import insert, select

from backend.features.forecasts.models import SiteForecast
from backend.features.sessions.models import ChargeDetailRecord, RewardEntry
from tests.conftest import House

GREEN = {"priority": "cost", "carbon_conscious": True}
SPEED = {"priority": "speed"}


def decide(house: House, started: dict[str, Any], offer: dict[str, Any], decision: str) -> Response:
    path = f"/sessions/{started['session_id']}/incentives/{offer['offer_id']}/{decision}"
    answer: Response = house.post(path)
    return answer


def offers(started: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in started["plan"]["incentive_offers"]}


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def forecast_a_peak_now(house: House) -> None:
    """The site expects 100 kWh in this hour and the next, and little afterwards."""
    mean_kwh = [100.0, 100.0] + [10.0] * 22
    with house.parts.database.transaction() as db:
        row = {
            "site_id": "site_hq",
            "issued_at": house.clock.now(),
            "source": "like_day",
            "first_hour_at": house.clock.now(),
            "mean_kwh": mean_kwh,
            "p10_kwh": mean_kwh,
            "p90_kwh": mean_kwh,
            "occupancy": mean_kwh,
        }
        db.execute(insert(SiteForecast), [row])


def meter(house: House, session_id: str, energy_kwh: float) -> None:
    at = f"{house.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    value = {"at": at, "energy_delivered_kwh": energy_kwh}
    answer = house.post(f"/sessions/{session_id}/meter-values", {"values": [value]})
    assert answer.status_code == 200


def discount_of(house: House, session_id: str) -> tuple[float, float]:
    """Discount and total of the bill in EUR."""
    with house.parts.database.reading() as db:
        query = select(ChargeDetailRecord).where(ChargeDetailRecord.session_id == session_id)
        bill = db.scalars(query).one()
        return float(bill.discount_eur), float(bill.total_eur)


def start_at_the_peak(house: House) -> dict[str, Any]:
    house.site()
    forecast_a_peak_now(house)
    return house.start(soc_percent=10, distance_km=300, hours=8)


def test_at_a_forecast_peak_waiting_is_rewarded_with_a_discount(house: House) -> None:
    started = start_at_the_peak(house)

    offer = offers(started)["discount"]

    assert offer["value"] == 10
    assert offer["state"] == "offered"
    start, end = (when(text) for text in offer["time_slot"].split("/"))
    assert start == when("2026-03-10T12:00:00Z")
    assert (end - start) / timedelta(hours=1) == pytest.approx(57.3 / 127.5, abs=0.001)
    assert "peak" in offer["reason"]


def test_without_a_peak_or_without_time_no_delay_is_asked_for(house: House) -> None:
    house.site()
    unknown = house.start(number=1, soc_percent=10)
    forecast_a_peak_now(house)
    hurried = house.start(number=2, charger=2, soc_percent=10, hours=2)
    house.clock.advance(hours=2)
    later = house.start(number=3, charger=3, soc_percent=10)

    assert offers(unknown) == offers(hurried) == offers(later) == {}


def test_an_accepted_delay_moves_the_charging_and_is_paid_when_it_waited(house: House) -> None:
    started = start_at_the_peak(house)
    assert when(started["plan"]["planned_start_time"]) == house.clock.now()

    answer = decide(house, started, offers(started)["discount"], "accept")
    house.settle()

    assert answer.status_code == 200
    assert answer.json()["offer"]["state"] == "accepted"
    session_id = started["session_id"]
    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert when(plan["planned_start_time"]) >= when("2026-03-10T12:00:00Z")
    assert plan["is_feasible"] is True
    assert plan["incentive_offers"][0]["state"] == "accepted"
    house.clock.advance(hours=2)
    meter(house, session_id, 0)
    house.clock.advance(hours=1)
    meter(house, session_id, 50)
    done = house.post(f"/sessions/{session_id}/complete", {}).json()
    assert discount_of(house, session_id) == (1.5, 13.5)
    assert done["final_cost_eur"] == 13.5


def test_who_did_not_wait_gets_no_discount(house: House) -> None:
    started = start_at_the_peak(house)
    decide(house, started, offers(started)["discount"], "accept")
    house.settle()
    session_id = started["session_id"]
    house.clock.advance(hours=1)
    meter(house, session_id, 30)  # an hour before the agreed slot

    house.clock.advance(hours=3)
    meter(house, session_id, 50)
    house.post(f"/sessions/{session_id}/complete", {})

    assert discount_of(house, session_id) == (0, 15)


def test_who_leaves_before_the_slot_gets_no_discount(house: House) -> None:
    started = start_at_the_peak(house)
    decide(house, started, offers(started)["discount"], "accept")
    house.settle()
    house.clock.advance(hours=1)

    house.post(f"/sessions/{started['session_id']}/complete", {"energy_delivered_kwh": 50})

    assert discount_of(house, started["session_id"]) == (0, 15)


@pytest.mark.parametrize("decision", ["decline", None])
def test_an_offer_not_accepted_changes_nothing(house: House, decision: str | None) -> None:
    started = start_at_the_peak(house)
    if decision is not None:
        answer = decide(house, started, offers(started)["discount"], decision)
        assert answer.json()["offer"]["state"] == "declined"
    house.settle()
    session_id = started["session_id"]

    plan = house.get(f"/sessions/{session_id}/plan").json()
    house.clock.advance(hours=4)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 50})

    assert plan["version"] == started["plan"]["version"]
    assert discount_of(house, session_id) == (0, 15)


def test_an_offer_is_decided_once(house: House) -> None:
    started = start_at_the_peak(house)
    offer = offers(started)["discount"]

    first = decide(house, started, offer, "accept")
    repeated = decide(house, started, offer, "accept")
    changed = decide(house, started, offer, "decline")

    assert first.status_code == repeated.status_code == 200
    assert repeated.json()["offer"]["state"] == "accepted"
    assert changed.status_code == 409
    assert changed.json()["code"] == "offer_decided_before"


def test_an_offer_belongs_to_its_session(house: House) -> None:
    house.site()
    mine = house.start(number=1, preferences=GREEN)
    other = house.start(number=2, charger=2, preferences=GREEN)

    stolen = decide(house, mine, offers(other)["reward_points"], "accept")
    unknown = decide(house, mine, {"offer_id": "off_01KAF0000000000000000000"}, "accept")

    assert stolen.status_code == unknown.status_code == 404
    assert stolen.json()["code"] == unknown.json()["code"] == "offer_not_found"


def test_offers_of_an_ended_session_are_void(house: House) -> None:
    house.site()
    started = house.start(preferences=GREEN)
    house.post(f"/sessions/{started['session_id']}/complete", {})

    answer = decide(house, started, offers(started)["reward_points"], "accept")

    assert answer.status_code == 409
    assert answer.json()["code"] == "session_ended"


def points_of(house: House) -> list[int]:
    with house.parts.database.reading() as db:
        return list(db.scalars(select(RewardEntry.points)))


def test_green_points_are_paid_for_the_share_charged_in_solar_hours(house: House) -> None:
    house.site()
    house.clock.advance(hours=3)  # 15:00 in Helsinki, an hour before the sun is low
    started = house.start(soc_percent=10, distance_km=300, preferences=GREEN)
    offer = offers(started)["reward_points"]
    assert decide(house, started, offer, "accept").status_code == 200
    session_id = started["session_id"]
    house.clock.advance(hours=1)
    meter(house, session_id, 30)
    house.clock.advance(hours=1)
    meter(house, session_id, 40)

    done = house.post(f"/sessions/{session_id}/complete", {}).json()

    assert done["reward_points"] == 37  # 50 for 30 of 40 kWh, rounded down
    assert points_of(house) == [37]


def test_points_that_were_not_accepted_or_not_earned_are_not_paid(house: House) -> None:
    house.site()
    asleep = house.start(number=1, soc_percent=10, preferences=GREEN)
    nothing = house.start(number=2, charger=2, preferences=GREEN)
    decide(house, nothing, offers(nothing)["reward_points"], "accept")
    house.clock.advance(hours=1)

    first = house.post(f"/sessions/{asleep['session_id']}/complete", {"energy_delivered_kwh": 9})
    second = house.post(f"/sessions/{nothing['session_id']}/complete", {})

    assert first.json()["reward_points"] == second.json()["reward_points"] == 0
    assert points_of(house) == []


def test_a_carbon_conscious_driver_is_charged_in_solar_hours(house: House) -> None:
    house.site()
    house.clock.advance(hours=8)  # 20:00 in Helsinki
    started = house.start(soc_percent=10, distance_km=300, hours=20, preferences=GREEN)

    slots = started["plan"]["slots"]

    assert slots
    for slot in slots:  # 10:00 to 16:00 in Helsinki, the next day
        assert when("2026-03-11T08:00:00Z") <= when(slot["start"])
        assert when(slot["end"]) <= when("2026-03-11T14:00:00Z")


def test_when_the_site_is_full_a_priority_slot_is_offered_and_helps(house: House) -> None:
    house.site(grid_limit_kw=20)
    first = house.start(number=1, soc_percent=20, hours=1)
    # The hurry makes the second's energy dearer to the plan: of the two it falls short.
    second = house.start(number=2, charger=2, soc_percent=20, hours=1, preferences=SPEED)

    offer = offers(second)["priority_slot"]
    answer = decide(house, second, offer, "accept")
    house.settle()

    assert offers(first) == {}
    assert offer["value"] > 0
    assert offer["value"] == pytest.approx(second["plan"]["short_by_kwh"], abs=1e-3)
    assert answer.status_code == 200
    plan = house.get(f"/sessions/{second['session_id']}/plan").json()
    assert plan["short_by_kwh"] == 0  # it now goes before the other
    other = house.get(f"/sessions/{first['session_id']}/plan").json()
    assert other["short_by_kwh"] == pytest.approx(2 * 10.92 - 20, abs=0.01)


def test_a_presented_priority_slot_goes_before_others(house: House) -> None:
    house.site(grid_limit_kw=20)
    first = house.start(number=1, soc_percent=20, hours=1)
    body = house.start_body(number=2, charger=2, soc_percent=20, hours=1)
    body["driver"]["credentials"] = ["PrioritySlot:TechCorp"]

    second = house.post("/sessions/start", body).json()

    assert second["plan"]["is_feasible"] is True
    plan = house.get(f"/sessions/{first['session_id']}/plan").json()
    assert plan["is_feasible"] is False
