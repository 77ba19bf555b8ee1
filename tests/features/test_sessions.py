"""Starting a session over HTTP: what is asked, what is refused, what the plan says."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

import pytest
from httpx2 import Response

from backend.compute import Overdue
from backend.features.credentials.holder import DEMO_HOLDER, Holder
from backend.features.credentials.rights import GRANT, Right
from backend.features.sessions import service
from backend.features.sessions.desk import open_desk
from backend.features.sessions.problems import DepartureInPast, NotRegistered, SiteNotAllowed
from backend.features.sessions.schemas import SessionStart
from backend.problems import Problem
from tests.conftest import House

P = ParamSpec("P")
R = TypeVar("R")
QUARTER = timedelta(minutes=15)


class Late:
    """Computes nothing in time."""

    def run(
        self,
        function: Callable[P, R],
        timeout_s: float,
        *_args: P.args,
        **_kwargs: P.kwargs,
    ) -> R:
        raise Overdue(f"{function.__name__} took over {timeout_s} s")

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


def count(house: House) -> int:
    return len(house.get("/sessions").json()["data"])


def power_at(slots: list[dict[str, Any]], moment: datetime) -> float:
    return sum(
        float(one["power_kw"]) for one in slots if when(one["start"]) <= moment < when(one["end"])
    )


def test_the_printed_example_needs_no_charging(house: House) -> None:
    house.site()
    wishes = {"priority": "cost", "carbon_conscious": True}

    started = house.start(preferences=wishes)

    plan = started["plan"]
    assert plan["needed_trip_energy_kwh"] == 25.92
    assert plan["current_energy_kwh"] == 26.25
    assert plan["extra_energy_needed_kwh"] == 0
    assert plan["target_soc_percent"] == 35.0
    assert plan["planned_cost_eur"] == 0
    assert plan["effective_charge_power_kw"] == 127.5
    assert plan["is_feasible"] is True
    assert plan["plan_type"] == "GREEN"
    assert [(one["type"], one["value"]) for one in plan["incentive_offers"]] == [
        ("reward_points", 50)
    ]


def test_the_answer_carries_the_names_that_clients_know(house: House) -> None:
    house.site()

    started = house.start(soc_percent=10, distance_km=200)

    assert {"session_id", "plan", "message"} <= started.keys()
    assert started["session_id"].startswith("ses_")
    assert started["assurance"] == "simulated"
    assert {
        "needed_trip_energy_kwh",
        "current_energy_kwh",
        "extra_energy_needed_kwh",
        "target_soc_percent",
        "planned_duration_hours",
        "planned_finish_time",
        "is_feasible",
        "feasibility_warning",
        "planned_cost_eur",
        "effective_charge_power_kw",
        "plan_type",
        "incentive_offers",
        "slots",
        "cost_if_charged_now_eur",
        "reasons",
        "formula",
        "trip_model",
    } <= started["plan"].keys()


@pytest.mark.parametrize(
    ("trip", "needed_kwh", "extra_kwh"),
    [
        ({"distance_km": 300}, 64.8, 38.55),  # 300 km of 180 Wh/km and a fifth more
        ({"energy_kwh": 40}, 40.0, 13.75),
        ({"target_soc_percent": 80}, 60.0, 33.75),
    ],
)
def test_a_trip_is_a_distance_an_energy_or_a_target(
    house: House, trip: dict[str, float], needed_kwh: float, extra_kwh: float
) -> None:
    house.site()
    body = house.start_body()
    body["trip"] = {**trip, "departure_time": body["trip"]["departure_time"]}

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["needed_trip_energy_kwh"] == pytest.approx(needed_kwh)
    assert plan["extra_energy_needed_kwh"] == pytest.approx(extra_kwh)
    assert plan["planned_energy_kwh"] == pytest.approx(extra_kwh, abs=1e-3)
    assert plan["target_soc_percent"] == pytest.approx(35 + 100 * extra_kwh / 75)


@pytest.mark.parametrize(
    "trip",
    [
        {},
        {"distance_km": 100, "energy_kwh": 20},
        {"distance_km": 100, "target_soc_percent": 80},
        {"distance_km": 100, "energy_kwh": 20, "target_soc_percent": 80},
        {"distance_km": None, "energy_kwh": 20},
    ],
)
def test_a_trip_in_no_form_or_in_two_is_malformed(
    sqlite_house: House, trip: dict[str, Any]
) -> None:
    sqlite_house.site()
    body = sqlite_house.start_body()
    body["trip"] = {**trip, "departure_time": body["trip"]["departure_time"]}

    answer = sqlite_house.post("/sessions/start", body)

    problem = refused(answer, 422, "malformed_request")
    assert problem["errors"][0]["pointer"].startswith("/body/trip")
    assert count(sqlite_house) == 0


def test_alone_at_a_flat_price_the_plan_equals_the_formula(house: House) -> None:
    house.site()

    plan = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})["plan"]

    formula = plan["formula"]
    assert formula["extra_energy_needed_kwh"] == pytest.approx(64.8 - 7.5)
    assert formula["charging_time_hours"] == pytest.approx(57.3 / 127.5)
    assert formula["cost_eur"] == pytest.approx(57.3 * 0.30)
    assert formula["is_feasible"] is True
    assert plan["planned_cost_eur"] == pytest.approx(formula["cost_eur"], abs=0.01)
    assert plan["cost_if_charged_now_eur"] == pytest.approx(formula["cost_eur"], abs=0.01)
    assert plan["planned_duration_hours"] == pytest.approx(formula["charging_time_hours"], abs=0.25)
    finish = house.clock.now() + timedelta(hours=formula["charging_time_hours"])
    assert abs(when(plan["planned_finish_time"]) - finish) <= QUARTER
    assert plan["trip_model"] == "plain_formula"
    assert plan["method"] == "optimal"


@pytest.mark.parametrize("minute", [0, 7, 14])
def test_slots_stay_within_the_stay_and_the_power(house: House, minute: int) -> None:
    house.clock.advance(minutes=minute)
    house.site()
    now = house.clock.now()

    plan = house.start(soc_percent=5, distance_km=320, hours=1.1)["plan"]

    assert plan["slots"]
    for slot in plan["slots"]:
        assert now <= when(slot["start"]) < when(slot["end"]) <= when(plan["departure_time"])
        assert 0 < slot["power_kw"] <= 127.5
        hours = (when(slot["end"]) - when(slot["start"])) / timedelta(hours=1)
        assert slot["energy_kwh"] == pytest.approx(slot["power_kw"] * hours)
    energy_kwh = sum(slot["energy_kwh"] for slot in plan["slots"])
    assert energy_kwh == pytest.approx(plan["planned_energy_kwh"], abs=1e-3)
    assert energy_kwh == pytest.approx(plan["extra_energy_needed_kwh"], abs=0.01)


def test_a_departure_in_the_past_moves_to_the_next_day_in_the_demo(house: House) -> None:
    house.site()
    body = house.start_body()
    body["trip"]["departure_time"] = "2025-11-20T18:00:00Z"

    started = house.post("/sessions/start", body).json()

    assert started["plan"]["departure_time"] == "2026-03-10T18:00:00Z"
    assert started["plan"]["departure_source"] == "moved_to_next_day"
    assert len(started["warnings"]) == 1
    assert "2025-11-20 18:00" in started["warnings"][0]
    assert "2026-03-10 18:00" in started["warnings"][0]


@pytest.mark.parametrize(
    ("stated", "moved_to"),
    [
        ("2026-03-09T11:00:00Z", "2026-03-10T11:00:00Z"),  # exactly an hour ahead is enough
        ("2026-03-09T10:59:59Z", "2026-03-11T10:59:59Z"),  # less is not
        ("2026-03-10T10:00:00Z", "2026-03-11T10:00:00Z"),
        ("2026-03-09T13:30:00+02:00", "2026-03-10T11:30:00Z"),
    ],
)
def test_a_moved_departure_lies_at_least_an_hour_ahead(
    sqlite_house: House, stated: str, moved_to: str
) -> None:
    sqlite_house.site()
    body = sqlite_house.start_body()
    body["trip"]["departure_time"] = stated

    plan = sqlite_house.post("/sessions/start", body).json()["plan"]

    assert plan["departure_time"] == moved_to


def in_production(
    house: House, body: dict[str, Any], holder: Holder, *, refused_with: type[Problem] | None
) -> None:
    """Start through the service as the production profile does."""
    parts = house.parts
    desk = replace(open_desk(parts), is_demo=False)
    start = SessionStart.model_validate_json(json.dumps(body))
    with parts.database.reading() as read, parts.database.writing() as db:
        if refused_with is None:
            now = house.clock.now()
            service.start_session(read, db, start, holder=holder, desk=desk, now=now)
            db.commit()
            return
        with pytest.raises(refused_with):
            service.start_session(read, db, start, holder=holder, desk=desk, now=house.clock.now())


def registered(house: House) -> Holder:
    """The holder that driver 1 is, once known to the house."""
    session_id = house.start()["session_id"]
    assert house.post(f"/sessions/{session_id}/cancel").status_code == 200
    rights = frozenset({Right(GRANT, "did:x:admin")})
    return Holder("did:denso:driver:driver001", frozenset({"driver"}), "verified", rights=rights)


def test_production_refuses_a_departure_in_the_past(house: House) -> None:
    house.site()
    holder = registered(house)

    body = house.start_body(hours=-1)

    in_production(house, body, holder, refused_with=DepartureInPast)
    in_production(house, house.start_body(), holder, refused_with=None)


def test_production_knows_only_registered_dids_and_their_own_holder(house: House) -> None:
    house.site()
    holder = registered(house)

    stranger = replace(holder, did="did:denso:driver:driver002")

    in_production(house, house.start_body(), stranger, refused_with=SiteNotAllowed)
    in_production(house, house.start_body(number=2), stranger, refused_with=NotRegistered)
    operator = replace(
        holder, did="did:denso:op:1", roles=frozenset({"operator"}), sites=frozenset({"site_hq"})
    )
    in_production(house, house.start_body(), operator, refused_with=None)


@pytest.mark.parametrize(("hours", "status"), [(167, 200), (169, 409)])
def test_a_departure_lies_at_most_seven_days_ahead(
    sqlite_house: House, hours: int, status: int
) -> None:
    sqlite_house.site()

    answer = sqlite_house.post("/sessions/start", sqlite_house.start_body(hours=hours))

    assert answer.status_code == status
    if status == 409:
        refused(answer, 409, "departure_too_far")


@pytest.mark.parametrize("text", ["2026-03-10T18:00:00", "2026-03-10", "18:00", "", 1_773_165_600])
def test_a_departure_without_its_offset_is_malformed(sqlite_house: House, text: str | int) -> None:
    sqlite_house.site()
    body = sqlite_house.start_body()
    body["trip"]["departure_time"] = text

    answer = sqlite_house.post("/sessions/start", body)

    problem = refused(answer, 422, "malformed_request")
    assert problem["errors"][0]["pointer"] == "/body/trip/departure_time"


def test_a_site_that_the_driver_may_not_use_is_forbidden(house: House) -> None:
    house.site()
    body = house.start_body()
    body["driver"]["allowed_sites"] = ["site_mall"]

    answer = house.post("/sessions/start", body)

    refused(answer, 403, "site_not_allowed")
    assert count(house) == 0


def test_a_driver_without_a_list_of_sites_may_use_any(house: House) -> None:
    house.site()
    body = house.start_body()
    del body["driver"]["allowed_sites"]

    answer = house.post("/sessions/start", body)

    assert answer.status_code == 200


def test_an_unknown_charger_is_not_found(house: House) -> None:
    house.site(chargers=1)

    answer = house.post("/sessions/start", house.start_body(charger=2))

    refused(answer, 404, "charger_not_found")


def test_a_charger_serves_one_session_at_a_time(house: House) -> None:
    house.site()
    house.start(number=1)

    answer = house.post("/sessions/start", house.start_body(number=2))

    refused(answer, 409, "charger_in_use")
    assert count(house) == 1


def test_a_vehicle_is_in_one_session_at_a_time_at_any_site(house: House) -> None:
    house.site()
    house.site("site_mall")
    house.start(number=1)

    here = house.post("/sessions/start", house.start_body(number=1, charger=2))
    there = house.post("/sessions/start", house.start_body(number=1, site_id="site_mall"))

    refused(here, 409, "vehicle_in_use")
    refused(there, 409, "vehicle_in_use")
    assert count(house) == 1


@pytest.mark.parametrize("status", ["faulted", "unavailable"])
def test_a_charger_out_of_service_starts_nothing(house: House, status: str) -> None:
    house.site()
    did = "did:denso:charger:site_hq_chr01"
    assert house.client.patch(f"/api/v1/chargers/{did}", json={"status": status}).is_success

    answer = house.post("/sessions/start", house.start_body())

    refused(answer, 409, "charger_unavailable")
    assert house.client.patch(f"/api/v1/chargers/{did}", json={"status": "available"}).is_success
    house.start()


def test_registered_values_beat_what_the_body_says_and_every_difference_is_told(
    house: House,
) -> None:
    house.site()
    did = "did:denso:charger:site_hq_chr01"
    place = {"lat": 60.1699, "lon": 24.9384}
    assert house.client.patch(f"/api/v1/chargers/{did}", json={"location": place}).is_success
    body = house.start_body(soc_percent=10, distance_km=200)
    body["charger"] = {
        "did": did,
        "site_id": "site_mall",
        "max_power_kw": 22,
        "location": {"lat": 1, "lon": 2},
        "current_availability": False,
        "current_tariff_eur_per_kwh": 0.99,
    }

    started = house.post("/sessions/start", body).json()

    told = {one["field"]: (one["stated"], one["used"]) for one in started["overridden"]}
    assert told == {
        "charger.site_id": ("site_mall", "site_hq"),
        "charger.max_power_kw": (22, 150),
        "charger.location": ({"lat": 1, "lon": 2}, place),
        "charger.current_availability": (False, True),
        "charger.current_tariff_eur_per_kwh": (0.99, 0.30),
    }
    assert started["plan"]["effective_charge_power_kw"] == 127.5
    extra_kwh = started["plan"]["extra_energy_needed_kwh"]
    assert started["plan"]["planned_cost_eur"] == pytest.approx(extra_kwh * 0.30, abs=0.01)


def test_what_agrees_or_is_not_registered_is_not_overridden(house: House) -> None:
    house.site()
    body = house.start_body()
    body["charger"] |= {"current_tariff_eur_per_kwh": 0.3, "location": {"lat": 60.2, "lon": 24.9}}

    started = house.post("/sessions/start", body).json()

    assert started["overridden"] == []


def test_without_a_state_of_charge_the_last_telemetry_counts(house: House) -> None:
    house.site()
    before = house.start()["session_id"]
    house.clock.advance(hours=1)
    done = house.post(f"/sessions/{before}/complete", {"final_soc_percent": 50.0})
    assert done.status_code == 200
    body = house.start_body()
    del body["vehicle"]["current_soc_percent"]

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["soc_source"] == "telemetry"
    assert plan["current_energy_kwh"] == 37.5


def test_without_any_state_of_charge_the_whole_trip_is_charged(house: House) -> None:
    house.site()
    body = house.start_body(distance_km=120)
    body["vehicle"]["current_soc_percent"] = None

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["soc_source"] == "assumed_empty"
    assert plan["extra_energy_needed_kwh"] == pytest.approx(25.92)


def test_without_a_departure_the_usual_stay_is_taken(house: House) -> None:
    house.site()
    body = house.start_body()
    del body["trip"]["departure_time"]
    unknown = house.post("/sessions/start", body).json()
    house.clock.advance(hours=2)
    house.post(f"/sessions/{unknown['session_id']}/complete", {})

    learned = house.post("/sessions/start", body).json()

    assert unknown["plan"]["departure_source"] == "usual_stay"
    assert when(unknown["plan"]["departure_time"]) == when("2026-03-10T14:00:00Z")
    assert when(learned["plan"]["departure_time"]) == when("2026-03-10T14:00:00Z")
    assert learned["plan"]["departure_source"] == "usual_stay"


def test_a_registered_vehicle_needs_only_its_did(house: House) -> None:
    house.site()
    body = house.start_body(soc_percent=20)
    body["vehicle"] |= {"battery_capacity_kwh": 50, "max_charge_power_kw": 40}
    first = house.post("/sessions/start", body).json()["session_id"]
    house.post(f"/sessions/{first}/cancel")
    body["vehicle"] = {"did": body["vehicle"]["did"], "current_soc_percent": 20}

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["current_energy_kwh"] == 10
    assert plan["effective_charge_power_kw"] == 34


def test_an_unknown_vehicle_has_to_be_described(house: House) -> None:
    house.site()
    body = house.start_body()
    del body["vehicle"]["nominal_consumption_wh_per_km"]

    answer = house.post("/sessions/start", body)

    refused(answer, 409, "vehicle_specification_missing")
    assert count(house) == 0


@pytest.mark.parametrize(
    ("preferences", "plan_type"),
    [
        ({"priority": "cost", "carbon_conscious": True}, "GREEN"),
        ({"priority": "speed", "carbon_conscious": True}, "GREEN"),
        ({"priority": "carbon"}, "GREEN"),
        ({"priority": "speed"}, "FAST"),
        ({"priority": "cost"}, "ECONOMY"),
        ({}, "ECONOMY"),
        ({"priority": None}, "STANDARD"),
    ],
)
def test_preferences_make_the_plan_type(
    sqlite_house: House, preferences: dict[str, Any], plan_type: str
) -> None:
    sqlite_house.site()
    body = sqlite_house.start_body()
    body["driver"]["preferences"] = preferences

    plan = sqlite_house.post("/sessions/start", body).json()["plan"]

    assert plan["plan_type"] == plan_type
    offered = [one["type"] for one in plan["incentive_offers"]]
    assert offered == (["reward_points"] if plan_type == "GREEN" else [])


def test_comfort_is_charged_only_when_it_is_asked_for(house: House) -> None:
    house.site()

    plain = house.start(number=1, distance_km=10)["plan"]
    comfort = house.start(
        number=2, charger=2, distance_km=10, preferences={"comfort_soc_percent": 80}
    )["plan"]

    assert plain["extra_energy_needed_kwh"] == 0
    assert plain["target_soc_percent"] == 35
    assert comfort["extra_energy_needed_kwh"] == pytest.approx(33.75)
    assert comfort["target_soc_percent"] == pytest.approx(80)


def test_a_trip_larger_than_the_battery_is_infeasible_and_says_why(house: House) -> None:
    house.site()

    plan = house.start(distance_km=500)["plan"]

    assert plan["needed_trip_energy_kwh"] == pytest.approx(108)
    assert plan["target_soc_percent"] == 100
    assert plan["is_feasible"] is False
    assert plan["short_by_kwh"] == pytest.approx(108 - 75, abs=0.01)
    assert plan["planned_energy_kwh"] == pytest.approx(75 - 26.25, abs=0.01)
    assert "battery" in plan["feasibility_warning"]
    assert "33.0 kWh" in plan["feasibility_warning"]


def test_a_trip_too_tight_starts_and_says_by_how_much_it_falls_short(house: House) -> None:
    house.site()

    plan = house.start(soc_percent=10, distance_km=300, hours=0.25)["plan"]

    possible_kwh = 127.5 * 0.25
    assert plan["is_feasible"] is False
    assert plan["short_by_kwh"] == pytest.approx(57.3 - possible_kwh, abs=0.01)
    assert plan["planned_energy_kwh"] == pytest.approx(possible_kwh, abs=0.01)
    assert plan["feasibility_warning"]
    assert plan["formula"]["is_feasible"] is False
    assert "shortfall" in [one["code"] for one in plan["reasons"]]


def test_a_trip_met_exactly_is_feasible(house: House) -> None:
    house.site()
    body = house.start_body(soc_percent=0, hours=0.5)
    body["trip"] = {"energy_kwh": 63.75, "departure_time": body["trip"]["departure_time"]}

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["formula"]["is_feasible"] is True
    assert plan["is_feasible"] is True
    assert plan["short_by_kwh"] == 0
    assert plan["feasibility_warning"] is None


def test_all_sessions_together_keep_the_limit_of_the_site(house: House) -> None:
    house.site(chargers=24, grid_limit_kw=100)
    started = []
    for number in range(1, 25):
        wishes = {"priority": ("cost", "speed", "carbon")[number % 3]}
        hours = 1 + number % 5
        answer = house.start(
            number=number, charger=number, soc_percent=20, hours=hours, preferences=wishes
        )
        started.append(answer["session_id"])
        house.clock.advance(seconds=40)

    views = [house.get(f"/sessions/{one}").json() for one in started]

    plans = [one["plan"] for one in views]
    assert {one["version"] for one in plans} == {24}
    slots = [slot for plan in plans for slot in plan["slots"]]
    changes = {when(slot["start"]) for slot in slots}
    loads_kw = [power_at(slots, moment) for moment in changes]
    assert max(loads_kw) <= 100 + 1e-6
    assert max(loads_kw) > 99  # the limit binds, so keeping it is no accident
    for view in views:
        for slot in view["plan"]["slots"]:
            assert slot["power_kw"] <= 127.5
            assert when(slot["end"]) <= when(view["departure_time"])
    needed_kwh = 24 * (25.92 - 15)
    planned_kwh = sum(plan["planned_energy_kwh"] for plan in plans)
    short_kwh = sum(plan["short_by_kwh"] for plan in plans)
    assert planned_kwh + short_kwh == pytest.approx(needed_kwh, abs=0.3)


def test_a_solver_that_is_overdue_is_replaced_by_a_simple_plan_that_says_so(house: House) -> None:
    house.site(grid_limit_kw=100)
    house.parts.shared["desk"] = replace(open_desk(house.parts), compute=Late())

    first = house.start(number=1, soc_percent=10, distance_km=300)
    second = house.start(number=2, charger=2, soc_percent=10, distance_km=300, hours=5)

    assert second["plan"]["method"] == "fallback"
    assert "fallback" in [one["code"] for one in second["plan"]["reasons"]]
    assert second["plan"]["is_feasible"] is True
    plans = [house.get(f"/sessions/{one['session_id']}").json()["plan"] for one in (first, second)]
    slots = [slot for plan in plans for slot in plan["slots"]]
    assert max(power_at(slots, when(slot["start"])) for slot in slots) <= 100 + 1e-6


def test_cheaper_hours_are_used_when_there_is_time(house: House) -> None:
    house.site()
    cheap_from = 15  # 13:00 UTC
    price = {
        "kind": "purchase",
        "eur_per_kwh_by_hour": [0.30] * cheap_from + [0.05] * (24 - cheap_from),
    }
    assert house.post("/sites/site_hq/tariffs", price).status_code == 201

    plan = house.start(soc_percent=10, distance_km=300, hours=8)["plan"]

    assert all(when(slot["start"]) >= when("2026-03-10T13:00:00Z") for slot in plan["slots"])
    assert plan["planned_purchase_cost_eur"] == pytest.approx(57.3 * 0.05, abs=0.01)
    assert plan["purchase_cost_if_charged_now_eur"] == pytest.approx(57.3 * 0.30, abs=0.01)
    assert "price" in [one["code"] for one in plan["reasons"]]


def test_a_driver_in_a_hurry_is_charged_at_once_even_when_it_is_dear(house: House) -> None:
    house.site()
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.20] * 14 + [0.05] * 10}
    assert house.post("/sites/site_hq/tariffs", price).status_code == 201

    plan = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})["plan"]

    assert when(plan["planned_start_time"]) == house.clock.now()


def test_the_session_reads_as_it_was_started(house: House) -> None:
    house.site()
    body = house.start_body(soc_percent=10, distance_km=200)
    body |= {"billing_party": "Fleet Ltd", "cost_center": "4711"}
    started = house.post("/sessions/start", body).json()

    view = house.get(f"/sessions/{started['session_id']}").json()
    plan = house.get(f"/sessions/{started['session_id']}/plan").json()

    assert view["plan"] == started["plan"]
    assert plan == started["plan"]
    assert view["driver_did"] == "did:denso:driver:driver001"
    assert view["vehicle_did"] == "did:denso:vehicle:vehicle001"
    assert view["charger_did"] == "did:denso:charger:site_hq_chr01"
    assert view["site_id"] == "site_hq"
    assert view["status"] == "active"
    assert view["start_time"] == "2026-03-10T10:00:00Z"
    assert view["end_time"] is None
    assert view["departure_time"] == "2026-03-10T16:00:00Z"
    assert view["energy_delivered_kwh"] == 0
    assert view["final_cost_eur"] is None
    assert view["billing_party"] == "Fleet Ltd"
    assert view["cost_center"] == "4711"


def test_unknown_sessions_are_not_found(house: House) -> None:
    session_id = "ses_01KAF0000000000000000000"

    refused(house.get(f"/sessions/{session_id}"), 404, "session_not_found")
    refused(house.get(f"/sessions/{session_id}/plan"), 404, "session_not_found")
    refused(house.post(f"/sessions/{session_id}/complete", {}), 404, "session_not_found")
    refused(house.post(f"/sessions/{session_id}/cancel"), 404, "session_not_found")


def test_a_driver_sees_only_their_own_sessions(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    owner = Holder("did:denso:driver:driver001", frozenset({"driver"}), "verified")
    other = Holder("did:denso:driver:driver002", frozenset({"driver"}), "verified")

    with house.parts.database.reading() as db:
        seen = service.require_session(db, session_id, holder=owner)
        assert seen.id == session_id
        assert service.require_session(db, session_id, holder=DEMO_HOLDER).id == session_id
        with pytest.raises(Problem) as refusal:
            service.require_session(db, session_id, holder=other)

    assert refusal.value.code() == "session_not_found"
