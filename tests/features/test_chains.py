"""Trips in a row: out, stop and back, asked of the battery before the first of them."""

from typing import Any

import pytest

from backend.planning.charging_losses import loss_share
from tests.conftest import House
from tests.features.test_sessions import refused
from tests.tables import rows_of

LEG_KWH = 60 * 0.18 * 1.2
OUT_AND_BACK = [{"distance_km": 60}, {"distance_km": 60}]


def body(house: House, *legs: dict[str, Any], soc_percent: float = 10, **trip: Any) -> Any:
    start = house.start_body(soc_percent=soc_percent)
    departure = start["trip"]["departure_time"]
    return {**start, "trip": {"legs": list(legs), "departure_time": departure, **trip}}


def started(house: House, *legs: dict[str, Any], **values: Any) -> dict[str, Any]:
    answer = house.post("/sessions/start", body(house, *legs, **values))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_out_and_back_needs_the_energy_of_both(house: House) -> None:
    house.site()

    plan = started(house, *OUT_AND_BACK)["plan"]

    assert plan["trip_model"] == "plain_formula_chain"
    assert plan["needed_trip_energy_kwh"] == pytest.approx(2 * LEG_KWH)
    assert plan["extra_energy_needed_kwh"] == pytest.approx(2 * LEG_KWH - 7.5)
    assert plan["planned_energy_kwh"] == pytest.approx(2 * LEG_KWH - 7.5, abs=1e-3)
    assert plan["formula"]["needed_trip_energy_kwh"] == plan["needed_trip_energy_kwh"]
    assert [one["needed_at_start_kwh"] for one in plan["legs"]] == pytest.approx(
        [2 * LEG_KWH, LEG_KWH]
    )
    (trip,) = rows_of(house.parts.database, "trips")
    assert (trip["distance_km"], trip["energy_kwh"]) == (120, None)


@pytest.mark.parametrize(
    ("stop", "brought_kwh"),
    [
        ({"stop_hours": 1}, 0),
        ({"stop_hours": 0.5, "charge_power_kw_at_stop": 11}, 5.5 * (1 - loss_share(11.0))),
        ({"charge_kwh_at_stop": 4}, 4),
        ({"stop_hours": 2, "charge_power_kw_at_stop": 11, "charge_kwh_at_stop": 4}, 4),
        ({"stop_hours": 9, "charge_power_kw_at_stop": 50}, LEG_KWH),
    ],
)
def test_what_a_stop_brings_need_not_be_charged_here(
    sqlite_house: House, stop: dict[str, Any], brought_kwh: float
) -> None:
    sqlite_house.site()

    plan = started(sqlite_house, {"distance_km": 60, **stop}, {"distance_km": 60})["plan"]

    assert plan["needed_trip_energy_kwh"] == pytest.approx(2 * LEG_KWH - brought_kwh)


def test_a_later_leg_beyond_the_battery_is_said_whatever_is_charged_now(house: House) -> None:
    house.site()
    rest = {"stop_hours": 10, "charge_power_kw_at_stop": 50}

    plan = started(house, {"distance_km": 60, **rest}, {"distance_km": 400})["plan"]

    too_far_kwh = 400 * 0.18 * 1.2 - 75
    assert plan["is_feasible"] is False
    assert plan["short_by_kwh"] == pytest.approx(too_far_kwh)
    assert "charge on the way" in plan["feasibility_warning"]
    assert [one["short_by_kwh"] for one in plan["legs"]] == pytest.approx([0, too_far_kwh])
    assert plan["planned_energy_kwh"] == pytest.approx(LEG_KWH - 7.5, abs=1e-3)
    assert plan["target_soc_percent"] == pytest.approx(100 * LEG_KWH / 75)


def test_cold_on_one_leg_makes_the_chain_physical(house: House) -> None:
    house.site()
    cold = {"distance_km": 60, "conditions": {"temperature_c": -15}}

    plan = started(house, {"distance_km": 60}, cold)["plan"]

    assert plan["trip_model"] == "physical_chain"
    out, back = plan["legs"]
    assert out["energy_kwh"] == pytest.approx(LEG_KWH)
    assert back["energy_kwh"] > LEG_KWH
    assert plan["needed_trip_energy_kwh"] == pytest.approx(out["energy_kwh"] + back["energy_kwh"])
    assert plan["formula"]["needed_trip_energy_kwh"] == pytest.approx(2 * LEG_KWH)


def test_conditions_of_the_trip_hold_for_legs_without_their_own(sqlite_house: House) -> None:
    sqlite_house.site()
    mild = {"distance_km": 60, "conditions": {"temperature_c": 21, "mean_speed_km_h": 50}}

    asked = body(sqlite_house, mild, {"distance_km": 60}, conditions={"temperature_c": -15})
    first, second = sqlite_house.post("/sessions/start", asked).json()["plan"]["legs"]

    assert first["energy_kwh"] == pytest.approx(LEG_KWH)
    assert second["energy_kwh"] > LEG_KWH


def test_a_quote_and_the_explanation_know_the_chain(house: House) -> None:
    house.site()
    stop = {"distance_km": 60, "charge_kwh_at_stop": 4}
    asked = body(house, stop, {"distance_km": 60})
    question = {name: asked[name] for name in ("driver", "vehicle", "charger", "trip")}

    quote = house.post("/sessions/quote", question).json()
    session = started(house, stop, {"distance_km": 60})
    explained = house.get(f"/sessions/{session['session_id']}/explanation").json()

    assert quote["trip_model"] == explained["trip_model"] == "plain_formula_chain"
    assert quote["legs"] == explained["legs"] == session["plan"]["legs"]
    assert quote["needed_trip_energy_kwh"] == session["plan"]["needed_trip_energy_kwh"]
    assert explained["sentence"].endswith(
        "The trip is a chain of 2 legs (60 + 60 km); stops bring up to 4.0 kWh."
    )


def test_a_running_session_gets_a_chain_and_loses_it_again(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=60)["session_id"]
    url = f"/api/v1/sessions/{session_id}"

    chained = house.client.patch(url, json={"trip": {"legs": OUT_AND_BACK}}).json()["plan"]
    plain = house.client.patch(url, json={"trip": {"distance_km": 80}}).json()["plan"]

    assert (chained["trip_model"], len(chained["legs"])) == ("plain_formula_chain", 2)
    assert chained["needed_trip_energy_kwh"] == pytest.approx(2 * LEG_KWH)
    assert (plain["trip_model"], plain["legs"]) == ("plain_formula", [])
    assert plain["needed_trip_energy_kwh"] == pytest.approx(80 * 0.18 * 1.2)


@pytest.mark.parametrize(
    "trip",
    [
        {"legs": OUT_AND_BACK, "distance_km": 120},
        {"legs": []},
        {"legs": None},
        {"legs": [{"distance_km": 1}] * 21},
        {"legs": [{"stop_hours": 1}]},
        {"legs": [{"distance_km": 1, "stop_hours": -1}]},
    ],
)
def test_a_chain_that_is_none_is_malformed(sqlite_house: House, trip: dict[str, Any]) -> None:
    sqlite_house.site()
    start = {**body(sqlite_house), "trip": trip}

    refused(sqlite_house.post("/sessions/start", start), 422, "malformed_request")
