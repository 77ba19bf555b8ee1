"""Why a session is planned as it is, over HTTP."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.sessions.completion import open_for_change
from tests.conftest import NOON, House
from tests.features.test_sessions import refused, when

THREE_PRICES = [0.40] * 13 + [0.30] * 2 + [0.10] * 1 + [0.20] * 8  # local; 0.10 is 13:00 UTC


def explained(house: House, session_id: str) -> dict[str, Any]:
    answer = house.get(f"/sessions/{session_id}/explanation")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def at(found: dict[str, Any], moment: datetime) -> dict[str, Any]:
    """The slot that holds a moment."""
    slots: list[dict[str, Any]] = found["slots"]
    (slot,) = [one for one in slots if when(one["start"]) <= moment < when(one["end"])]
    return slot


def priced_site(house: House, **values: Any) -> None:
    house.site(**values)
    price = {"kind": "purchase", "eur_per_kwh_by_hour": THREE_PRICES}
    assert house.post("/sites/site_hq/tariffs", price).status_code == 201


def test_the_slots_cover_the_stay_without_gaps(house: House) -> None:
    priced_site(house)
    house.clock.advance(minutes=7)
    session_id = house.start(soc_percent=10, distance_km=300, hours=5.4)["session_id"]

    slots = explained(house, session_id)["slots"]

    assert when(slots[0]["start"]) == house.clock.now()
    assert when(slots[-1]["end"]) == when(
        house.get(f"/sessions/{session_id}").json()["departure_time"]
    )
    assert all(before["end"] == slot["start"] for before, slot in pairwise(slots))
    assert all(slot["text"].endswith(".") for slot in slots)


def test_dear_hours_wait_and_cheap_ones_charge_at_full_power(house: House) -> None:
    priced_site(house)
    session_id = house.start(soc_percent=10, distance_km=300, hours=6)["session_id"]

    found = explained(house, session_id)

    dear, cheap = at(found, NOON), at(found, when("2026-03-10T13:05:00Z"))
    assert dear["charges"] is False
    assert dear["marginal_price_eur_per_kwh"] == pytest.approx(0.40)
    assert "0.400 EUR/kWh now and 0.100 EUR/kWh later" in dear["text"]
    assert cheap["charges"] is True
    assert cheap["power_kw"] == pytest.approx(127.5)
    assert cheap["binding_limit"] == "charger"
    assert cheap["marginal_price_eur_per_kwh"] == pytest.approx(0.10)
    done = at(found, when("2026-03-10T15:00:00Z"))
    assert (done["charges"], done["binding_limit"]) == (False, None)
    assert done["text"].startswith("It has what was asked for")


def test_one_kwh_more_costs_what_planning_it_costs(house: House) -> None:
    priced_site(house)
    session_id = house.start(soc_percent=0, distance_km=200, hours=6)["session_id"]
    before = house.get(f"/sessions/{session_id}/plan").json()

    stated = explained(house, session_id)["marginal_price_eur_per_kwh"]

    more = {"trip": {"energy_kwh": before["needed_trip_energy_kwh"] + 1}}
    answer = house.client.patch(f"/api/v1/sessions/{session_id}", json=more)
    after = answer.json()["plan"]
    difference = after["planned_purchase_cost_eur"] - before["planned_purchase_cost_eur"]
    assert difference == pytest.approx(0.10, rel=1e-3)
    assert stated == pytest.approx(difference, rel=0.01)


def test_where_the_site_is_full_a_kwh_more_costs_what_it_pushes_aside(house: House) -> None:
    priced_site(house, grid_limit_kw=50)
    first = house.start(number=1, soc_percent=0, distance_km=200, hours=8)["session_id"]
    second = house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=8)
    plans = [house.get(f"/sessions/{one}/plan").json() for one in (first, second["session_id"])]

    found = explained(house, first)

    more = {"trip": {"energy_kwh": plans[0]["needed_trip_energy_kwh"] + 1}}
    house.client.patch(f"/api/v1/sessions/{first}", json=more)
    again = [house.get(f"/sessions/{one}/plan").json() for one in (first, second["session_id"])]
    cost = [sum(one["planned_purchase_cost_eur"] for one in both) for both in (plans, again)]
    assert cost[1] - cost[0] == pytest.approx(0.20, rel=0.01)
    assert found["marginal_price_eur_per_kwh"] == pytest.approx(cost[1] - cost[0], rel=0.01)
    full = at(found, when("2026-03-10T13:05:00Z"))
    assert full["marginal_price_eur_per_kwh"] == pytest.approx(0.20, rel=0.01)
    assert full["binding_limit"] == "site"
    assert "the site's limit of 50 kW is reached" in full["text"]


def test_a_limit_for_a_time_is_named_with_its_reason(house: House) -> None:
    priced_site(house)
    session_id = house.start(soc_percent=0, distance_km=300, hours=4)["session_id"]
    limit = {"limit_kw": 20, "reason": "Grid operator", "from": "2026-03-10T13:00:00Z"}
    assert house.post("/sites/site_hq/limits", limit).status_code == 201
    house.settle()

    slot = at(explained(house, session_id), when("2026-03-10T13:05:00Z"))

    assert slot["power_kw"] == pytest.approx(20)
    assert slot["binding_limit"] == "site"
    assert "the limit of 20 kW (Grid operator) is reached" in slot["text"]


def test_an_hour_longer_saves_the_difference_to_a_cheaper_hour(house: House) -> None:
    priced_site(house)
    # It leaves before the cheap hour; an hour longer moves all of it there.
    session_id = house.start(soc_percent=10, distance_km=300, hours=3)["session_id"]

    found = explained(house, session_id)

    assert found["one_hour_longer_saves_eur"] == pytest.approx(57.3 * (0.30 - 0.10), rel=0.01)
    assert found["one_hour_longer_brings_kwh"] == 0
    assert "1 h longer would save" in found["sentence"]


def test_an_hour_longer_brings_what_is_missing(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=0.25)["session_id"]

    found = explained(house, session_id)

    assert found["one_hour_longer_brings_kwh"] == pytest.approx(57.3 - 127.5 / 4, abs=0.01)
    assert found["marginal_price_eur_per_kwh"] is None
    assert "shortfall" in [one["code"] for one in found["reasons"]]


def test_the_sentence_is_plain_and_the_money_is_the_plans(house: House) -> None:
    priced_site(house)
    started = house.start(soc_percent=10, distance_km=300, hours=6)

    found = explained(house, started["session_id"])

    assert found["sentence"].count("\n") == 0
    assert found["sentence"].endswith(".")
    assert found["reasons"] == started["plan"]["reasons"]
    assert found["planned_cost_eur"] == started["plan"]["planned_cost_eur"]
    assert found["cost_if_charged_now_eur"] == started["plan"]["cost_if_charged_now_eur"]
    assert found["formula"] == started["plan"]["formula"]


def test_an_agreed_delay_is_a_reason_to_wait(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=6)["session_id"]
    with house.parts.database.transaction() as db:
        session = open_for_change(db, session_id, holder=DEMO_HOLDER, changes_plan=True)
        session.not_before_at = NOON + timedelta(hours=2)

    found = explained(house, session_id)

    assert at(found, NOON)["text"] == "It waits for the agreed time."
    assert at(found, NOON + timedelta(hours=2))["charges"] is True


def test_nothing_needed_is_said(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=90, distance_km=10)["session_id"]

    found = explained(house, session_id)

    assert found["reasons"][0]["code"] == "nothing_needed"
    assert not any(slot["charges"] for slot in found["slots"])


def test_an_explanation_stores_nothing_and_ends_with_the_session(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    version = house.get(f"/sessions/{session_id}/plan").json()["version"]

    explained(house, session_id)

    assert house.get(f"/sessions/{session_id}/plan").json()["version"] == version
    house.post(f"/sessions/{session_id}/complete", {})
    refused(house.get(f"/sessions/{session_id}/explanation"), 409, "session_ended")
    unknown = house.get("/sessions/ses_01KAF0000000000000000000/explanation")
    refused(unknown, 404, "session_not_found")
