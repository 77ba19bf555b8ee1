"""Equipment of sites, chargers and vehicles over HTTP, and what plans make of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from httpx2 import Response
from pydantic import TypeAdapter

from backend.features.sites.equipment import LimitNode
from backend.planning.problem import STEP, step_edges
from tests.conftest import NOON, House
from tests.features.test_sessions import refused, when
from tests.tables import rows_of

PATH = "/sites/site_hq/equipment"
Json = dict[str, Any]


def charger(number: int) -> str:
    return f"did:denso:charger:site_hq_chr{number:02d}"


def equip(house: House, *, etag: str | None = None, **equipment: Any) -> Response:
    headers = {} if etag is None else {"If-Match": etag}
    answer: Response = house.client.put(f"/api/v1{PATH}", json=equipment, headers=headers)
    return answer


def equipped(house: House, **equipment: Any) -> Json:
    answer = equip(house, **equipment)
    assert answer.status_code == 200, answer.text
    view: Json = answer.json()
    return view


def wire(house: House, number: int, **equipment: Any) -> None:
    body = {"equipment": {"connection": "three_phase", **equipment}}
    answer = house.client.patch(f"/api/v1/chargers/{charger(number)}", json=body)
    assert answer.status_code == 200, answer.text


def tree(*limits: tuple[str, str | None, float, list[int]]) -> list[Json]:
    return [
        {
            "name": name,
            "parent": parent,
            "limit_kw": kw,
            "charger_dids": [charger(one) for one in below],
        }
        for name, parent, kw, below in limits
    ]


def crowd(house: House, vehicles: int, *, hours: float = 8, **values: Any) -> list[str]:
    return [
        house.start(
            number=number,
            charger=number,
            soc_percent=10,
            distance_km=200,
            hours=hours,
            preferences={"priority": "speed"},
            **values,
        )["session_id"]
        for number in range(1, vehicles + 1)
    ]


def newest_kw(house: House) -> dict[int, np.ndarray[Any, np.dtype[np.float64]]]:
    """Stored setpoints of the newest plan by number of the charger, one value per step."""
    sessions = {row["id"]: row for row in rows_of(house.parts.database, "charging_sessions")}
    rows = rows_of(house.parts.database, "session_plans")
    newest = max(row["version"] for row in rows)
    longest = max(len(row["setpoint_kw"]) for row in rows)
    return {
        int(sessions[row["session_id"]]["charger_did"][-2:]): np.pad(
            np.array(row["setpoint_kw"], dtype=np.float64), (0, longest - len(row["setpoint_kw"]))
        )
        for row in rows
        if row["version"] == newest
    }


def schedule(house: House) -> Json:
    answer: Json = house.get("/sites/site_hq/schedule").json()
    return answer


def test_equipment_reads_as_it_was_sent_and_changes_only_on_what_was_read(house: House) -> None:
    house.site()
    empty = house.get(PATH)
    assert empty.json()["equipment"]["limits"] == []

    view = equipped(house, limits=tree(("T1", None, 300, []), ("feeder B", "T1", 60, [1, 2])))
    stale = equip(house, etag=empty.headers["ETag"], limits=[])

    assert [one["name"] for one in view["equipment"]["limits"]] == ["T1", "feeder B"]
    assert house.get(PATH).json() == view
    refused(stale, 412, "precondition_failed")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (tree(("A", "B", 50, []), ("B", "A", 50, [])), "below itself"),
        (tree(("A", "A", 50, [])), "below itself"),
        (tree(("A", "Z", 50, [])), "parent Z of A is not there"),
        (tree(("A", None, 50, []), ("A", None, 60, [])), "twice"),
        (tree(("A", None, 50, [99])), "no charger of this site"),
        (tree(("A", None, 50, [1]), ("B", None, 50, [1])), "two places"),
        (tree(("line 1", None, 50, [])), "name line 1 means something else"),
    ],
)
def test_a_tree_that_cannot_be_is_refused_with_its_reason(
    sqlite_house: House, limits: list[Json], said: str
) -> None:
    sqlite_house.site()

    problem = refused(equip(sqlite_house, limits=limits), 409, "equipment_impossible")

    assert said in problem["detail"]
    assert sqlite_house.get(PATH).json()["equipment"]["limits"] == []


@pytest.mark.parametrize(
    "equipment",
    [
        {"limits": [{"name": "A"}]},
        {"limits": [{"name": "A", "limit_kw": 1, "limit_a": 1}]},
        {"phases": {"limit_a": [10, 10]}},
        {"battery": {"capacity_kwh": 10, "max_power_kw": 5, "round_trip_efficiency": 1.2}},
        {"carbon": {"g_per_kwh_by_hour": [1.0] * 23}},
        {"colour": "blue"},
    ],
)
def test_malformed_equipment_is_refused(sqlite_house: House, equipment: Json) -> None:
    sqlite_house.site()

    refused(equip(sqlite_house, **equipment), 422, "malformed_request")


def test_what_is_odd_is_allowed_and_said(sqlite_house: House) -> None:
    sqlite_house.site(grid_limit_kw=100, chargers=2)

    view = equipped(
        sqlite_house,
        limits=tree(("T1", None, 80, []), ("feeder A", "T1", 90, [1])),
        phases={"limit_a": [100, 100, 100]},
    )

    said = " ".join(view["warnings"])
    assert "feeder A may carry more than T1" in said
    assert f"{charger(2)} hangs below none" in said
    assert "2 chargers state no wiring" in said


def test_every_limit_of_the_tree_is_kept_and_named(house: House) -> None:
    house.site(chargers=4)
    equipped(
        house,
        limits=tree(
            ("T1", None, 90, []), ("feeder A", "T1", 80, [1, 2]), ("feeder B", "T1", 20, [3])
        ),
    )

    sessions = crowd(house, 4)

    power = newest_kw(house)
    assert np.all(power[3] <= 20 + 1e-6)
    assert np.all(power[1] + power[2] <= 80 + 1e-6)
    assert np.all(power[1] + power[2] + power[3] <= 90 + 1e-6)
    assert power[4].max() > 90
    assert "feeder B" in schedule(house)["steps"][0]["binding_limits"]
    explained = house.get(f"/sessions/{sessions[2]}/explanation").json()
    assert explained["slots"][0]["binding_limit"] == "group"
    assert "the limit of feeder B is reached" in explained["slots"][0]["text"]


def test_new_equipment_has_the_site_planned_again(house: House) -> None:
    house.site(chargers=2)
    crowd(house, 2)
    assert (newest_kw(house)[1] + newest_kw(house)[2]).max() > 200

    equipped(house, limits=tree(("board", None, 30, [1, 2])))
    house.settle()

    power = newest_kw(house)
    assert 29 < (power[1] + power[2]).max() <= 30 + 1e-6
    assert schedule(house)["cause"] == "site.changed"


def test_lines_and_their_unbalance_are_kept(house: House) -> None:
    house.site(chargers=4)
    for number in (1, 2, 3):
        wire(house, number, connection="single_phase", first_line=1 + (number == 3))
    wire(house, 4)
    equipped(house, phases={"limit_a": [120, 120, 120], "max_unbalance_a": 50})

    crowd(house, 4)

    power = newest_kw(house)
    shared = power[4] / 3
    lines = np.array([power[1] + power[2] + shared, power[3] + shared, shared]) / 0.23
    assert lines.max() <= 120 + 1e-3
    assert lines.max() > 100
    assert np.all(lines.max(axis=0) - lines.min(axis=0) <= 50 + 1e-3)
    assert power[1].max() > 0


def test_a_vehicle_of_one_phase_takes_a_third_of_a_three_phase_charger(house: House) -> None:
    house.site(chargers=1)
    wire(house, 1)
    vehicle = house.start_body()["vehicle"] | {"equipment": {"onboard_phases": 1}}

    body = house.start_body(soc_percent=10, distance_km=200)
    body["vehicle"] = body["vehicle"] | {"equipment": {"onboard_phases": 1}}
    plan = house.post("/sessions/start", body).json()["plan"]

    assert vehicle["equipment"] == {"onboard_phases": 1}
    assert plan["effective_charge_power_kw"] == pytest.approx(150 / 3 * 0.85)
    assert max(slot["power_kw"] for slot in plan["slots"]) <= 150 / 3 * 0.85 + 1e-6


def test_below_six_ampere_an_ac_charger_is_off(house: House) -> None:
    house.site(chargers=3)
    for number in (1, 2, 3):
        wire(house, number)
    house.post("/sites/site_hq/limits", {"limit_kw": 5, "reason": "Grid operator"})

    crowd(house, 3)

    first = [row[0] for row in newest_kw(house).values()]
    assert all(kw == 0 or kw >= 4.14 - 1e-6 for kw in first)
    assert 4.14 - 1e-6 <= sum(first) <= 5 + 1e-6


def test_a_charger_is_set_to_what_it_knows(house: House) -> None:
    house.site(chargers=2)
    levels = [5, 20, 60]
    wire(house, 1, connection="dc", levels_kw=levels)
    equipped(house, limits=tree(("board", None, 50, [1, 2])))

    crowd(house, 2)

    assert newest_kw(house)[1][0] in (0, *levels)
    assert sum(row[0] for row in newest_kw(house).values()) <= 50 + 1e-6


@pytest.mark.parametrize(
    "equipment",
    [
        {"levels_kw": [20, 10]},
        {"levels_kw": [10, 200]},
        {"min_current_a": 900},
        {"max_discharge_power_kw": 151},
    ],
)
def test_a_charger_that_contradicts_itself_is_refused(sqlite_house: House, equipment: Json) -> None:
    sqlite_house.site(chargers=1)
    body = {"equipment": {"connection": "three_phase", **equipment}}

    answer = sqlite_house.client.patch(f"/api/v1/chargers/{charger(1)}", json=body)

    refused(answer, 409, "equipment_impossible")
    assert sqlite_house.get(f"/chargers/{charger(1)}").json()["equipment"] is None


def test_power_falls_as_the_battery_gets_full(house: House) -> None:
    house.site(chargers=1)
    body = house.start_body(soc_percent=60, hours=4, preferences={"priority": "speed"})
    body["trip"] = {"target_soc_percent": 100, "departure_time": body["trip"]["departure_time"]}
    body["vehicle"] = body["vehicle"] | {
        "equipment": {"taper_knee_soc_percent": 80, "full_power_share": 0.1}
    }

    plan = house.post("/sessions/start", body).json()["plan"]

    power_kw = plan["effective_charge_power_kw"]
    assert plan["is_feasible"]
    held_kwh, capacity_kwh = 0.6 * 75, 75.0
    for slot in plan["slots"]:
        held_kwh += slot["energy_kwh"]
        beyond = max(0.0, held_kwh / capacity_kwh - 0.8) / 0.2
        assert slot["power_kw"] <= power_kw * (1 - 0.9 * beyond) + 0.01
    assert held_kwh == pytest.approx(75, abs=0.02)
    assert plan["slots"][-1]["power_kw"] < 0.3 * power_kw


def test_a_limit_for_a_time_can_be_for_a_part_of_the_tree(house: House) -> None:
    house.site(chargers=2)
    equip(house, limits=tree(("feeder B", None, 100, [1])))
    curtailed = {"limit_kw": 10, "reason": "Maintenance", "node": "feeder B"}
    below = house.start(number=1, charger=1, soc_percent=10, distance_km=200, hours=4)
    beside = house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=4)

    answer = house.post("/sites/site_hq/limits", curtailed)
    house.settle()

    assert answer.json()["node"] == "feeder B"
    first, second = (
        house.get(f"/sessions/{one['session_id']}/plan").json() for one in (below, beside)
    )
    assert max(slot["power_kw"] for slot in first["slots"]) == pytest.approx(10)
    assert max(slot["power_kw"] for slot in second["slots"]) == pytest.approx(127.5)
    told = house.get(f"/sessions/{below['session_id']}/explanation").json()["slots"][0]
    assert told["binding_limit"] == "group"
    assert "the limit of feeder B (Maintenance) is reached" in told["text"]
    gone = refused(equip(house, limits=[]), 409, "equipment_impossible")
    assert "feeder B has a limit for a time" in gone["detail"]


def test_a_limit_for_a_part_that_is_not_there_is_refused(sqlite_house: House) -> None:
    sqlite_house.site(chargers=1)
    limit = {"limit_kw": 10, "reason": "Maintenance", "node": "feeder B"}

    refused(sqlite_house.post("/sites/site_hq/limits", limit), 409, "node_unknown")


def test_what_charging_loses_is_metered_and_paid(house: House) -> None:
    house.site(chargers=1)
    body = house.start_body(soc_percent=10, distance_km=200)
    body["vehicle"] = body["vehicle"] | {"equipment": {"charging_efficiency": 0.8}}

    started = house.post("/sessions/start", body).json()

    plan, lacking_kwh = started["plan"], started["plan"]["extra_energy_needed_kwh"]
    assert plan["planned_energy_kwh"] == pytest.approx(lacking_kwh / 0.8, abs=0.01)
    assert plan["planned_cost_eur"] == pytest.approx(plan["planned_energy_kwh"] * 0.3, abs=0.01)
    flows_kwh = sum(one["energy_kwh"] for one in plan["slots"])
    assert flows_kwh == pytest.approx(lacking_kwh / 0.8, abs=0.01)
    house.clock.advance(hours=2)
    done = house.post(
        f"/sessions/{started['session_id']}/complete",
        {"energy_delivered_kwh": plan["planned_energy_kwh"]},
    ).json()
    assert done["short_by_kwh"] == pytest.approx(0, abs=0.01)


def test_charging_with_little_power_loses_more_and_the_plan_counts_it(house: House) -> None:
    house.site(chargers=1)
    wired = {"max_power_kw": 7.4, "equipment": {"connection": "single_phase"}}
    did = "did:denso:charger:site_hq_chr01"
    assert house.client.patch(f"/api/v1/chargers/{did}", json=wired).status_code == 200
    body = house.start_body(soc_percent=10, distance_km=100, hours=8)
    losses = {"conversion_loss": 0.05, "standby_kw": 0.235}
    body["vehicle"] = body["vehicle"] | {"equipment": {"charging_efficiency": losses}}

    started = house.post("/sessions/start", body).json()

    plan, lacking_kwh = started["plan"], started["plan"]["extra_energy_needed_kwh"]
    stored_kwh = sum(
        (0.95 * one["power_kw"] - 0.235) * one["energy_kwh"] / one["power_kw"]
        for one in plan["slots"]
    )
    assert plan["is_feasible"]
    assert stored_kwh == pytest.approx(lacking_kwh, abs=0.01)
    drawn_kwh = sum(one["energy_kwh"] for one in plan["slots"])
    assert drawn_kwh > lacking_kwh / 0.95 + 0.2
    assert plan["planned_energy_kwh"] == pytest.approx(drawn_kwh, abs=0.01)
    assert plan["planned_cost_eur"] == pytest.approx(drawn_kwh * 0.3, abs=0.01)


def test_what_a_meter_tells_counts_by_the_power_it_flowed_with(house: House) -> None:
    house.site(chargers=1)
    body = house.start_body(soc_percent=10, distance_km=200, hours=8)
    body["vehicle"] = body["vehicle"] | {"equipment": {"charging_efficiency": {}}}
    started = house.post("/sessions/start", body).json()
    house.clock.advance(hours=2)
    read = {"at": house.clock.now().isoformat(), "energy_delivered_kwh": 10.0}
    metered = house.post(f"/sessions/{started['session_id']}/meter-values", {"values": [read]})
    assert metered.status_code == 200, metered.text

    house.settle()
    plan = house.get(f"/sessions/{started['session_id']}/plan").json()

    kept = 0.95 - 0.235 / 5.0  # ten kilowatt-hours in two hours
    left_kwh = started["plan"]["extra_energy_needed_kwh"] - 10 * kept
    drawn_kwh = sum(one["energy_kwh"] for one in plan["slots"])
    full_kw = plan["effective_charge_power_kw"]
    assert drawn_kwh == pytest.approx(left_kwh / (0.95 - 0.235 / full_kw), rel=0.01)
    assert plan["planned_energy_kwh"] == pytest.approx(10 + drawn_kwh, rel=0.01)


@pytest.mark.parametrize(
    "losses", [{"standby_kw": 5}, {"conversion_loss": 1}, {"standby_kw": -1}, 0.2, 1.5, "usual"]
)
def test_impossible_losses_are_malformed(sqlite_house: House, losses: object) -> None:
    sqlite_house.site(chargers=1)
    body = sqlite_house.start_body()
    body["vehicle"] = body["vehicle"] | {"equipment": {"charging_efficiency": losses}}

    assert sqlite_house.post("/sessions/start", body).status_code == 422


def test_comfort_energy_waits_for_the_trips_of_others(house: House) -> None:
    house.site(chargers=2)
    house.post("/sites/site_hq/limits", {"limit_kw": 10, "reason": "Grid operator"})

    comfort = house.start(
        number=1, charger=1, soc_percent=50, distance_km=50, hours=3,
        preferences={"comfort_soc_percent": 100},
    )  # fmt: skip
    trip = house.start(number=2, charger=2, soc_percent=10, distance_km=150, hours=3)

    first = house.get(f"/sessions/{comfort['session_id']}/plan").json()
    assert trip["plan"]["short_by_kwh"] == 0
    assert first["short_by_kwh"] == pytest.approx(37.5 - (30 - 24.9), abs=0.05)


def test_a_stationary_battery_is_planned_once_somebody_told_what_it_holds(house: House) -> None:
    house.site(chargers=2)
    dear = {"kind": "purchase", "eur_per_kwh_by_hour": [0.05] * 14 + [0.5] * 10}
    house.post("/sites/site_hq/tariffs", dear)
    base = {"base_load_kw_by_hour": [30.0] * 24}
    house.client.patch("/api/v1/sites/site_hq", json=base)
    battery = {"capacity_kwh": 100, "max_power_kw": 40, "min_soc_percent": 10}
    equipped(house, battery=battery)
    crowd(house, 1, hours=5)
    assert {step["battery_kwh"] for step in schedule(house)["steps"]} == {None}

    told = house.client.put("/api/v1/sites/site_hq/battery", json={"soc_percent": 20})
    house.start(number=2, charger=2, soc_percent=10, distance_km=200, hours=6)

    assert told.json()["battery_soc_percent"] == 20
    steps = schedule(house)["steps"]
    held = [step["battery_kwh"] for step in steps]
    assert max(held) > 30
    assert min(held) >= 10 - 1e-6
    assert held[-1] >= 20 - 1e-6
    for step in steps:
        assert abs(step["battery_kw"]) <= 40 + 1e-6
        if step["battery_kw"] < -1e-3:
            assert step["purchase_price_eur_per_kwh"] == 0.5


def test_what_the_battery_did_as_planned_is_where_the_next_plan_begins(house: House) -> None:
    house.site(chargers=1)
    equipped(house, battery={"capacity_kwh": 100, "max_power_kw": 40})
    dear = {"kind": "purchase", "eur_per_kwh_by_hour": [0.05] * 14 + [0.5] * 10}
    house.post("/sites/site_hq/tariffs", dear)
    base = {"base_load_kw_by_hour": [30.0] * 24}
    house.client.patch("/api/v1/sites/site_hq", json=base)
    house.client.put("/api/v1/sites/site_hq/battery", json={"soc_percent": 20})
    crowd(house, 1, hours=5)
    planned = {step["end"]: step["battery_kwh"] for step in schedule(house)["steps"]}

    house.clock.advance(minutes=45)
    house.post("/sites/site_hq/limits", {"limit_kw": 500, "reason": "Grid operator"})
    house.settle()

    row = max(rows_of(house.parts.database, "site_plans"), key=lambda one: one["version"])
    assert row["battery_kwh"][0] == pytest.approx(planned["2026-03-10T10:45:00Z"], abs=1e-6)
    assert row["battery_kwh"][0] > 30


def test_a_site_without_a_battery_has_none_to_tell_of(sqlite_house: House) -> None:
    sqlite_house.site()

    answer = sqlite_house.client.put("/api/v1/sites/site_hq/battery", json={"soc_percent": 20})

    refused(answer, 409, "no_battery")


@pytest.mark.parametrize(("may_carry", "highest_kw"), [(False, 30.0), (True, 50.0)])
def test_charging_relies_on_a_battery_only_if_the_operator_vouches_for_it(
    house: House, *, may_carry: bool, highest_kw: float
) -> None:
    house.site(chargers=1, grid_limit_kw=30)
    battery = {"capacity_kwh": 100, "max_power_kw": 20, "may_carry_load": may_carry}
    equipped(house, battery=battery)
    house.client.put("/api/v1/sites/site_hq/battery", json={"soc_percent": 90})

    house.start(soc_percent=10, distance_km=200, hours=1, preferences={"priority": "speed"})

    assert newest_kw(house)[1].max() == pytest.approx(highest_kw, abs=0.01)


def test_a_green_driver_charges_when_the_grid_is_clean(house: House) -> None:
    house.site(chargers=1)
    grams = [400.0] * 15 + [20.0] * 2 + [400.0] * 7  # 13:00 to 15:00 UTC
    equipped(house, carbon={"g_per_kwh_by_hour": grams})

    plan = house.start(
        soc_percent=10, distance_km=200, hours=8, preferences={"priority": "carbon"}
    )["plan"]

    assert plan["planned_start_time"] >= "2026-03-10T13:00:00Z"
    assert plan["planned_finish_time"] <= "2026-03-10T15:00:00Z"


def test_emissions_that_have_a_price_move_everybody(house: House) -> None:
    house.site(chargers=1)
    grams = [400.0] * 15 + [20.0] * 2 + [400.0] * 7
    equipped(house, carbon={"g_per_kwh_by_hour": grams, "eur_per_tonne": 100})

    plan = house.start(soc_percent=10, distance_km=200, hours=8)["plan"]

    assert plan["planned_start_time"] >= "2026-03-10T13:00:00Z"


def _minutes(house: House) -> Iterator[float]:
    """Load of the newest plan in every minute of the next hours, kW."""
    rows = rows_of(house.parts.database, "session_plans")
    newest = max(row["version"] for row in rows)
    for minute in range(8 * 60):
        moment, load_kw = NOON + timedelta(minutes=minute), 0.0
        for row in (one for one in rows if one["version"] == newest):
            edges = step_edges(row["planned_at"], row["planned_at"] + STEP * 40)
            step = sum(edge <= moment for edge in edges) - 1
            if step < len(row["setpoint_kw"]) and moment < row["departure_at"]:
                load_kw += row["setpoint_kw"][step]
        yield load_kw


def test_a_boost_under_a_full_feeder_names_it(house: House) -> None:
    house.site(chargers=2)
    equipped(house, limits=tree(("feeder B", None, 20, [1, 2])))
    for number in (1, 2):
        house.start(number=number, charger=number, soc_percent=10, distance_km=106, hours=1.5)
    sessions = [one["session_id"] for one in house.get("/sessions").json()["data"]]
    short_kwh = {one: house.get(f"/sessions/{one}/plan").json()["short_by_kwh"] for one in sessions}
    session_id = max(sessions, key=lambda one: short_kwh[one])

    answer = house.post(f"/sessions/{session_id}/boost")

    problem = refused(answer, 409, "boost_refused")
    assert "The limit of feeder B binds" in problem["detail"]
    assert max(_minutes(house)) <= 20 + 1e-6


def test_a_vehicles_data_sheet_is_kept_and_used(house: House) -> None:
    house.site(chargers=1)
    wire(house, 1)
    sheet = {
        "did": "did:denso:vehicle:vehicle001",
        "battery_capacity_kwh": 75,
        "nominal_consumption_wh_per_km": 180,
        "max_charge_power_kw": 150,
        "equipment": {"onboard_phases": 1},
    }

    created = house.post("/vehicles", sheet)
    plan = house.start(soc_percent=10, distance_km=100)["plan"]

    assert created.status_code == 201
    assert house.get(created.headers["Location"].removeprefix("/api/v1")).json() == created.json()
    assert plan["effective_charge_power_kw"] == pytest.approx(50 * 0.85)
    refused(house.post("/vehicles", sheet), 409, "vehicle_exists")


def test_a_data_sheet_changes_only_on_what_was_read(house: House) -> None:
    house.site(chargers=1)
    house.start()
    path = "/vehicles/did:denso:vehicle:vehicle001"
    read = house.get(path)
    change = {"equipment": {"taper_knee_soc_percent": 80}}
    headers = {"If-Match": read.headers["ETag"]}

    changed = house.client.patch(f"/api/v1{path}", json=change, headers=headers)
    stale = house.client.patch(f"/api/v1{path}", json=change, headers=headers)

    assert changed.status_code == 200
    assert changed.json()["equipment"]["taper_knee_soc_percent"] == 80
    refused(stale, 412, "precondition_failed")
    assert house.get("/vehicles").json()["data"][0]["did"] == "did:denso:vehicle:vehicle001"
    refused(house.get("/vehicles/did:denso:vehicle:nobody"), 404, "vehicle_not_found")
    assert when(read.json()["registered_at"]) == NOON


@pytest.mark.parametrize("form", [{"limit_kw": 50}, {"limit_a": 80}])
def test_what_is_answered_is_what_may_be_sent_again(sqlite_house: House, form: Json) -> None:
    sqlite_house.site()
    sent = equipped(sqlite_house, limits=[{"name": "A", **form}])["equipment"]

    schema = TypeAdapter(LimitNode).json_schema()
    jsonschema_rs.validate(schema, sent["limits"][0])

    assert equipped(sqlite_house, **sent)["equipment"] == sent
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {"name": "A", "limit_kw": 50, "limit_a": 80})
