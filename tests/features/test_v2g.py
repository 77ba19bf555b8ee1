"""Energy out of vehicles: only by consent, never below trip and reserve, metered and credited."""

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.features.sessions.queries import situation_of
from backend.features.sites.models import Site
from tests.conftest import NOON, House
from tests.features.test_sessions import refused, when
from tests.tables import rows_of

CHARGER = "did:denso:charger:site_hq_chr01"
Json = dict[str, Any]
CONSENT: Json = {"wear_eur_per_kwh": 0.05}
DEAR_UNTIL = datetime.fromisoformat("2026-03-10T12:00:00Z")


def two_way_site(house: House, *, credit: float | None = 0.4, discharge_kw: float = 20) -> None:
    """A site whose base load is dear until 14:00 local time, with one two-way charger."""
    house.site(chargers=2)
    base = {"base_load_kw_by_hour": [60.0] * 24}
    assert house.client.patch("/api/v1/sites/site_hq", json=base).status_code == 200
    dear = {"kind": "purchase", "eur_per_kwh_by_hour": [0.5] * 14 + [0.05] * 10}
    assert house.post("/sites/site_hq/tariffs", dear).status_code == 201
    sales = {"kind": "sales", "eur_per_kwh": 0.3, "v2g_credit_eur_per_kwh": credit}
    assert house.post("/sites/site_hq/tariffs", sales).status_code == 201
    wired = {"equipment": {"connection": "dc", "max_discharge_power_kw": discharge_kw}}
    assert house.client.patch(f"/api/v1/chargers/{CHARGER}", json=wired).status_code == 200


def body(house: House, consent: Json | None, *, out_kw: float | None = 30, **values: Any) -> Json:
    preferences = {} if consent is None else {"v2g": consent}
    made = house.start_body(**{"soc_percent": 80, "distance_km": 100, **values})
    made["driver"]["preferences"] = preferences
    made["vehicle"]["equipment"] = {"max_discharge_power_kw": out_kw}
    return made


def plugged(house: House, consent: Json | None = CONSENT, **values: Any) -> Json:
    answer = house.post("/sessions/start", body(house, consent, **values))
    assert answer.status_code == 200, answer.text
    started: Json = answer.json()
    return started


def given(plan: Json) -> list[Json]:
    return [slot for slot in plan["slots"] if slot["power_kw"] < 0]


def held_kwh(plan: Json, start_kwh: float) -> list[float]:
    """What the battery holds after each slot; a tenth of what is given is lost at 95 %."""
    held = [start_kwh]
    for slot in plan["slots"]:
        energy = slot["energy_kwh"]
        held.append(held[-1] + (energy if energy > 0 else energy / 0.95))
    return held


def test_a_vehicle_lends_what_is_spare_while_energy_is_dear_and_has_it_back(house: House) -> None:
    two_way_site(house)

    plan = plugged(house)["plan"]

    out = given(plan)
    assert out
    assert all(when(slot["end"]) <= DEAR_UNTIL for slot in out)
    assert all(slot["power_kw"] >= -20 - 1e-6 for slot in out)
    assert plan["planned_discharge_kwh"] == pytest.approx(36.4, abs=0.2)  # 60 kWh down to 21.6
    held = held_kwh(plan, 60.0)
    assert min(held) >= 21.6 - 1e-3
    assert held[-1] >= 60.0 - 0.01
    assert plan["is_feasible"]
    assert plan["v2g"]["is_allowed"]
    assert plan["v2g"]["floor_soc_percent"] == pytest.approx(28.8)
    assert "lends_energy" in [one["code"] for one in plan["reasons"]]
    start = plan["planned_start_time"]
    assert start is not None
    assert when(start) >= DEAR_UNTIL


def test_the_schedule_and_the_explanation_show_what_vehicles_give(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house)["session_id"]

    steps = house.get("/sites/site_hq/schedule").json()["steps"]
    explained = house.get(f"/sessions/{session_id}/explanation").json()

    assert max(step["discharging_kw"] for step in steps) > 10
    assert min(step["planned_kw"] for step in steps) < -10
    assert steps[0]["base_load_kw"] + steps[0]["planned_kw"] >= -1e-6
    gives = [slot for slot in explained["slots"] if slot["power_kw"] < 0]
    assert gives
    assert all(slot["text"].startswith("It gives") for slot in gives)


def test_the_drivers_own_floor_and_power_are_kept(house: House) -> None:
    two_way_site(house)

    plan = plugged(house, {**CONSENT, "min_soc_percent": 70, "max_power_kw": 5})["plan"]

    assert min(held_kwh(plan, 60.0)) >= 0.7 * 75 - 1e-3
    assert min(slot["power_kw"] for slot in given(plan)) >= -5 - 1e-6


def test_what_saves_less_than_the_wear_is_not_lent(house: House) -> None:
    two_way_site(house)

    plan = plugged(house, {"wear_eur_per_kwh": 0.6})["plan"]

    assert given(plan) == []
    assert plan["v2g"]["is_allowed"]


@pytest.mark.parametrize(
    ("consent", "site", "vehicle", "said"),
    [
        (None, {}, {}, None),
        (CONSENT, {"credit": None}, {}, "no price"),
        (CONSENT, {"discharge_kw": 0}, {}, "charger takes no energy"),
        (CONSENT, {}, {"out_kw": None}, "vehicle gives no energy"),
        (CONSENT, {}, {"soc_percent": None}, "Nobody knows"),
    ],
)
def test_nothing_is_lent_unless_all_agree(
    house: House, consent: Json | None, site: Json, vehicle: Json, said: str | None
) -> None:
    two_way_site(house, **site)

    plan = plugged(house, consent, **vehicle)["plan"]

    assert given(plan) == []
    assert plan["planned_discharge_kwh"] == 0
    if said is None:
        assert plan["v2g"] is None
    else:
        assert not plan["v2g"]["is_allowed"]
        assert said in plan["v2g"]["reason"]


def meter(house: House, session_id: str, **values: float) -> Any:
    reading = {"at": f"{house.clock.now():%Y-%m-%dT%H:%M:%SZ}", **values}
    return house.post(f"/sessions/{session_id}/meter-values", {"values": [reading]})


def test_the_peak_so_far_is_what_the_grid_gave_not_what_vehicles_lent(house: House) -> None:
    two_way_site(house)
    assert house.client.patch(
        "/api/v1/sites/site_hq", json={"base_load_kw_by_hour": [0.0] * 24}
    ).status_code == 200  # fmt: skip
    charge = {
        "kind": "purchase", "eur_per_kwh_by_hour": [0.5] * 24, "demand_charge_eur_per_kw": 5
    }  # fmt: skip
    assert house.post("/sites/site_hq/tariffs", charge).status_code == 201
    gives, takes = plugged(house), house.start(number=2, charger=2, soc_percent=10)
    house.clock.advance(hours=1)
    meter(house, gives["session_id"], energy_delivered_kwh=0.0, energy_discharged_kwh=19.0)
    meter(house, takes["session_id"], energy_delivered_kwh=30.0)

    with house.parts.database.reading() as db:
        site = situation_of(db, db.get_one(Site, "site_hq"), now=house.clock.now())

    assert site.surroundings.peak_so_far_kw == pytest.approx(30 - 19)


def test_metered_energy_out_is_credited_and_has_to_come_back(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house)["session_id"]
    house.clock.advance(hours=1)

    taken = meter(
        house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=19.0, power_kw=-20.0
    )
    house.post("/sites/site_hq/limits", {"limit_kw": 500, "reason": "Grid operator"})
    house.settle()

    assert taken.status_code == 200
    view = house.get(f"/sessions/{session_id}").json()
    assert view["energy_discharged_kwh"] == 19.0
    back_kwh = sum(slot["energy_kwh"] for slot in view["plan"]["slots"] if slot["power_kw"] > 0)
    lent_kwh = sum(-slot["energy_kwh"] for slot in given(view["plan"]))
    assert back_kwh == pytest.approx((19 + lent_kwh) / 0.95, abs=0.05)
    house.clock.advance(hours=4)
    meter(house, session_id, energy_delivered_kwh=20.0, energy_discharged_kwh=19.0)
    bill = house.post(f"/sessions/{session_id}/complete", {}).json()
    assert bill["energy_discharged_kwh"] == 19.0
    assert bill["v2g_credit_eur"] == pytest.approx(19 * 0.4)
    assert bill["final_cost_eur"] == pytest.approx(20 * 0.3 - 19 * 0.4)
    assert bill["short_by_kwh"] == pytest.approx(0, abs=1e-6)
    assert bill["plausibility"] == "plausible"
    table = house.get("/sessions?format=csv").text
    (row,) = csv.DictReader(io.StringIO(table))
    assert (row["final_cost_eur"], row["v2g_credit_eur"]) == ("-1.60", "7.60")


def test_what_the_site_saved_counts_what_vehicles_gave(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house)["session_id"]
    house.clock.advance(hours=1)
    meter(house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=19.0)
    house.clock.advance(hours=2)
    meter(house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=19.0)
    house.clock.advance(hours=2)
    meter(house, session_id, energy_delivered_kwh=20.0, energy_discharged_kwh=19.0)
    house.post(f"/sessions/{session_id}/complete", {})

    (bill,) = rows_of(house.parts.database, "charge_detail_records")

    assert float(bill["purchase_eur"]) == pytest.approx(20 * 0.05 - 19 * 0.5, abs=1e-3)
    savings = house.get("/sites/site_hq/savings").json()
    assert savings["energy_savings_eur"] > 8


def test_energy_out_without_consent_is_marked_and_not_credited(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house, None)["session_id"]
    house.clock.advance(hours=1)

    taken = meter(house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=10.0)
    bill = house.post(f"/sessions/{session_id}/complete", {}).json()

    assert "did not agree" in taken.json()["implausible"][0]
    assert bill["v2g_credit_eur"] == 0
    assert bill["plausibility"] == "implausible"


def test_energy_out_does_not_run_backwards(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house)["session_id"]
    house.clock.advance(minutes=30)
    meter(house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=5.0)
    house.clock.advance(minutes=30)

    back = meter(house, session_id, energy_delivered_kwh=0.0, energy_discharged_kwh=4.0)

    refused(back, 409, "meter_went_backwards")


def test_a_longer_trip_raises_the_floor(house: House) -> None:
    two_way_site(house)
    session_id = plugged(house)["session_id"]

    changed = house.client.patch(
        f"/api/v1/sessions/{session_id}", json={"trip": {"distance_km": 250}}
    )

    plan = changed.json()["plan"]
    assert min(held_kwh(plan, 60.0)) >= 54.0 - 1e-3
    assert held_kwh(plan, 60.0)[-1] >= 60.0 - 0.01
    (row,) = rows_of(house.parts.database, "charging_sessions")
    assert row["equipment"]["v2g"]["floor_kwh"] == pytest.approx(54.0)


def test_who_falls_silent_lends_nothing(house: House) -> None:
    two_way_site(house)
    plugged(house, hours=1)
    house.clock.advance(hours=1, minutes=30)
    house.post("/sites/site_hq/limits", {"limit_kw": 500, "reason": "Grid operator"})
    house.settle()

    steps = house.get("/sites/site_hq/schedule").json()["steps"]

    assert all(step["discharging_kw"] == 0 for step in steps)
    assert house.clock.now() == NOON + timedelta(hours=1, minutes=30)
