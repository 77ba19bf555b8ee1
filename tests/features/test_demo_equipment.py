"""What the demonstration shows of feeders, phases, sun, a battery and energy out of vans."""

from typing import Any

from backend.features.demo import equipment
from backend.features.sessions.desk import open_desk
from backend.features.sessions.replanning import replan_all
from tests.conftest import House

Json = dict[str, Any]


def van(house: House, number: int, charger: int, **vehicle: Any) -> Json:
    body = house.start_body(number=number, soc_percent=10, distance_km=150, hours=5)
    body["driver"] = {"did": f"did:denso:driver:driver{number:03d}", "preferences": {}}
    body["vehicle"] = {"did": f"did:denso:vehicle:vehicle{number:03d}", **vehicle}
    body["charger"] = {"did": f"did:denso:charger:site_depot_chr{charger:02d}"}
    return body


def test_a_full_feeder_of_the_depot_is_kept_and_named(demo_house: House) -> None:
    for number, charger in zip(range(22, 28), range(3, 9), strict=True):
        body = van(demo_house, number, charger, current_soc_percent=10, max_charge_power_kw=22)
        answer = demo_house.post("/sessions/start", body)
        assert answer.status_code == 200, answer.text

    steps = demo_house.get("/sites/site_depot/schedule").json()["steps"]

    named = {name for step in steps for name in step["binding_limits"]}
    assert "yard feeder A" in named
    assert max(step["planned_kw"] for step in steps) <= 66 + 44 + 1e-6
    view = demo_house.get("/sites/site_depot/equipment").json()
    assert view["warnings"] == []


def test_a_van_of_the_depot_lends_energy_when_its_driver_agrees(demo_house: House) -> None:
    demo_house.clock.advance(hours=4)  # 16:00 local time, the dear hours begin
    body = van(demo_house, 21, 3, current_soc_percent=90)
    body["trip"] = {"distance_km": 60, "departure_time": "2026-03-11T05:00:00Z"}
    body["driver"]["preferences"] = {"v2g": {"wear_eur_per_kwh": 0.02}}

    plan = demo_house.post("/sessions/start", body).json()["plan"]

    assert plan["v2g"]["credit_eur_per_kwh"] == equipment.V2G_CREDIT_EUR_PER_KWH
    assert plan["planned_discharge_kwh"] > 5
    assert plan["is_feasible"]


def test_the_malls_battery_is_planned_with_nobody_there(demo_house: House) -> None:
    planned = replan_all(demo_house.parts, open_desk(demo_house.parts), cause="regular")

    assert planned == ["site_mall"]
    schedule = demo_house.get("/sites/site_mall/schedule").json()
    assert schedule["vehicles"] == 0
    steps = schedule["steps"]
    assert max(step["battery_kw"] for step in steps) > 1
    assert min(step["battery_kw"] for step in steps) < -1
    assert max(step["pv_kw"] for step in steps) > 0
    assert all(20 - 1e-6 <= step["battery_kwh"] <= 200 + 1e-6 for step in steps)
    assert steps[-1]["battery_kwh"] >= 100 - 1e-3
