"""The demonstration over HTTP: its data, the requests to paste, its clock."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response

from tests.conftest import NOON, House

STATISTICS = {"sites_created": 5, "chargers_created": 33, "driver_dids": 20, "vehicle_dids": 30}
SITES = {
    "site_depot": ("depot", 10, 800),
    "site_hq": ("workplace", 8, 600),
    "site_mall": ("retail", 5, 400),
    "site_office": ("workplace", 6, 450),
    "site_retail": ("retail", 4, 300),
}
HALF_PAST_FIVE = "2026-03-10T15:30:00Z"  # 17:30 in Helsinki, a Tuesday


def start(house: House, scenario: str) -> dict[str, Any]:
    body = house.get("/demo/sample-dids").json()["payloads"][scenario]
    answer = house.post("/sessions/start", body)
    assert answer.status_code == 200, answer.text
    started: dict[str, Any] = answer.json()
    return started


def finished(house: House, answer: Response) -> dict[str, Any]:
    """The job that an answer of 202 names, once it has ended."""
    assert answer.status_code == 202
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job: dict[str, Any] = house.client.get(answer.headers["Location"]).json()
        if job["state"] in ("succeeded", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def open_sessions(house: House) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = house.get("/sessions?status=active").json()["data"]
    return rows


def test_generating_data_again_replaces_it_and_frees_every_charger(demo_house: House) -> None:
    before = demo_house.get("/sessions?limit=1").json()["data"][0]
    started = start(demo_house, "carbon_conscious")
    stranger = demo_house.start(number=77, charger=3, site_id="site_office")
    assert len(open_sessions(demo_house)) == 2

    answer = demo_house.post("/demo/generate-data?days=30")

    assert answer.status_code == 200
    made = answer.json()
    assert made["status"] == "success"
    assert made["assurance"] == "simulated"
    assert STATISTICS.items() <= made["statistics"].items()
    count = made["statistics"]["sessions_created"]
    assert 1100 <= count <= 1300
    assert str(count) in made["message"]
    assert open_sessions(demo_house) == []
    for gone in (before, started, stranger):
        assert demo_house.get(f"/sessions/{gone['session_id']}").status_code == 404
    totals = [
        demo_house.get(f"/sites/{site_id}/analytics").json()["total_sessions"] for site_id in SITES
    ]
    assert sum(totals) == count
    free = demo_house.get("/chargers?available_only=true").json()["data"]
    assert len(free) == 33
    start(demo_house, "carbon_conscious")


def test_the_demonstration_has_five_sites_with_their_chargers(demo_house: House) -> None:
    sites = demo_house.get("/sites").json()["data"]
    chargers = demo_house.get("/chargers").json()["data"]

    assert {
        one["site_id"]: (one["kind"], one["chargers"], one["grid_limit_kw"]) for one in sites
    } == SITES
    assert all(one["chargers_available"] == one["chargers"] for one in sites)
    assert all(11 <= one["max_power_kw"] <= 150 for one in chargers)
    [first] = [one for one in chargers if one["did"] == "did:denso:charger:site_hq_chr01"]
    assert first["max_power_kw"] == 150
    assert first["location"] == {"lat": 60.1699, "lon": 24.9384}
    assert first["tariff_eur_per_kwh"] == 0.35


def test_data_of_some_days_is_made_in_the_background(house: House) -> None:
    job = finished(house, house.post("/demo/generate-data?days=3&wait=false"))

    assert job["state"] == "succeeded"
    assert job["kind"] == "demo.generate"
    assert job["progress"] == 1
    assert STATISTICS.items() <= job["result"]["statistics"].items()
    assert 30 <= job["result"]["statistics"]["sessions_created"] <= 200
    rows = house.get("/sessions?limit=100").json()["data"]
    assert {row["status"] for row in rows} == {"completed"}
    assert all(row["end_time"] <= "2026-03-10T10:00:00Z" for row in rows)
    assert all(row["start_time"] >= "2026-03-06" for row in rows)


@pytest.mark.parametrize("days", ["0", "367", "-1", "x", "1.5"])
def test_days_out_of_bounds_are_malformed(sqlite_house: House, days: str) -> None:
    answer = sqlite_house.post(f"/demo/generate-data?days={days}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/days"


def test_sites_of_others_stay_when_data_is_made(house: House) -> None:
    house.site("site_mine")
    mine = house.start(number=1, site_id="site_mine")["session_id"]

    assert house.post("/demo/generate-data?days=1").status_code == 200

    assert house.get("/sites/site_mine").status_code == 200
    assert house.get(f"/sessions/{mine}").json()["status"] == "active"


def test_the_sample_dids_are_those_of_the_demonstration(demo_house: House) -> None:
    demo_house.start(number=999, site_id="site_office", charger=2)  # a stranger, registered now

    sample = demo_house.get("/demo/sample-dids").json()

    assert sample["driver_dids"] == [f"did:denso:driver:driver{i:03d}" for i in range(1, 21)]
    assert sample["vehicle_dids"] == [f"did:denso:vehicle:vehicle{i:03d}" for i in range(1, 31)]
    assert len(sample["charger_dids"]) == 33
    assert sample["charger_dids"][0] == "did:denso:charger:site_depot_chr01"
    assert set(sample["payloads"]) == {
        "already_charged",
        "insufficient_time",
        "peak_demand",
        "carbon_conscious",
    }
    assert sample["assurance"] == "simulated"


def test_already_charged_needs_nothing(demo_house: House) -> None:
    started = start(demo_house, "already_charged")

    plan = started["plan"]
    assert plan["extra_energy_needed_kwh"] == 0
    assert plan["target_soc_percent"] == 35
    assert plan["planned_cost_eur"] == 0
    assert plan["effective_charge_power_kw"] == 127.5
    assert plan["plan_type"] == "GREEN"
    assert started["warnings"] == []
    assert started["overridden"] == []


def test_insufficient_time_is_infeasible_and_says_by_how_much(demo_house: House) -> None:
    plan = start(demo_house, "insufficient_time")["plan"]

    possible_kwh = 22 * 0.85 * 0.5
    assert plan["is_feasible"] is False
    assert plan["effective_charge_power_kw"] == pytest.approx(18.7)
    assert plan["planned_energy_kwh"] == pytest.approx(possible_kwh, abs=0.01)
    assert plan["short_by_kwh"] == pytest.approx(64.8 - 15 - possible_kwh, abs=0.01)
    assert plan["feasibility_warning"]


def test_carbon_conscious_is_green_with_fifty_points(demo_house: House) -> None:
    plan = start(demo_house, "carbon_conscious")["plan"]

    assert plan["plan_type"] == "GREEN"
    offers = {one["type"]: one for one in plan["incentive_offers"]}
    assert offers["reward_points"]["value"] == 50
    assert offers["reward_points"]["time_slot"] == "2026-03-10T08:00:00Z/2026-03-10T14:00:00Z"
    assert plan["is_feasible"] is True


def test_at_the_evening_peak_waiting_is_rewarded(demo_house: House) -> None:
    clock = demo_house.post("/demo/clock", {"set_to": HALF_PAST_FIVE})

    plan = start(demo_house, "peak_demand")["plan"]

    assert clock.status_code == 200
    assert clock.json()["now"] == HALF_PAST_FIVE
    [offer] = [one for one in plan["incentive_offers"] if one["type"] == "discount"]
    start_text, end_text = offer["time_slot"].split("/")
    assert HALF_PAST_FIVE < start_text < end_text <= plan["departure_time"]
    assert offer["value"] > 0
    assert plan["forecast_source"] == "like_day"
    assert plan["departure_source"] == "request"


def test_a_clock_set_ahead_plans_and_sweeps_what_is_open(demo_house: House) -> None:
    going = start(demo_house, "carbon_conscious")
    leaving = start(demo_house, "insufficient_time")

    view = demo_house.post("/demo/clock", {"advance_s": 3600}).json()

    assert view["now"] == "2026-03-10T11:00:00Z"
    assert view["replanned_sites"] == ["site_hq", "site_mall"]  # the mall has a battery
    overdue = demo_house.get(f"/sessions/{leaving['session_id']}").json()
    assert overdue["status"] == "suspended"
    plan = demo_house.get(f"/sessions/{going['session_id']}/plan").json()
    assert plan["version"] > going["plan"]["version"]
    forecast = demo_house.get("/forecasts/site/site_hq").json()
    assert forecast["forecasts"][0]["time_slot"] == "2026-03-10T11:00:00Z"


def test_a_clock_moved_twice_with_one_key_moves_once(sqlite_house: House) -> None:
    def _move(seconds: float) -> Response:
        key = {"Idempotency-Key": "c1"}
        answer: Response = sqlite_house.post("/demo/clock", {"advance_s": seconds}, headers=key)
        return answer

    with ThreadPoolExecutor(2) as threads:
        first, again = threads.map(_move, (3600, 3600))
    other = _move(60)

    assert first.json() == again.json()
    assert sorted("Idempotent-Replayed" in one.headers for one in (first, again)) == [False, True]
    assert sqlite_house.clock.now() == NOON + timedelta(hours=1)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    "change",
    [
        {"set_to": "2026-03-10T17:30:00"},
        {"speed": -1},
        {"speed": 1e9},
        {"advance_s": 1e12},
        {"hour": 17},
    ],
)
def test_a_malformed_change_of_the_clock_is_refused(
    sqlite_house: House, change: dict[str, Any]
) -> None:
    answer = sqlite_house.post("/demo/clock", change)

    assert answer.status_code == 422
    assert sqlite_house.clock.now() == NOON


def test_a_reset_sets_the_clock_back_and_makes_new_data(demo_house: House) -> None:
    demo_house.post("/demo/clock", {"advance_s": timedelta(days=2).total_seconds()})
    started = start(demo_house, "carbon_conscious")["session_id"]

    answer = demo_house.post("/demo/reset")

    assert answer.status_code == 200
    assert STATISTICS.items() <= answer.json()["statistics"].items()
    assert demo_house.get("/demo/clock").json()["now"] == "2026-03-10T10:00:00Z"
    assert demo_house.get(f"/sessions/{started}").status_code == 404
    assert open_sessions(demo_house) == []


def test_examples_of_the_documentation_work_by_the_demonstrations_clock(demo_house: House) -> None:
    demo_house.post("/demo/clock", {"set_to": HALF_PAST_FIVE})
    document = demo_house.client.get("/openapi.json").json()
    operation = document["paths"]["/api/v1/sessions/start"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]

    for example in examples.values():
        answer = demo_house.post("/sessions/start", example["value"])

        assert answer.status_code == 200, answer.text
        assert answer.json()["warnings"] == []
