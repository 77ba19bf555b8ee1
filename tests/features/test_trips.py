"""Trips by road and weather, over HTTP."""

from typing import Any

import pytest

from tests.conftest import House

WINTER = {"temperature_c": -15, "headwind_m_s": 8, "payload_kg": 300, "climb_m": 400}
KM = 150
FORMULA_KWH = KM * 180 * 1.2 / 1000


def started(house: House, conditions: dict[str, Any] | None, **values: Any) -> dict[str, Any]:
    body = house.start_body(soc_percent=10, distance_km=KM, **values)
    body["trip"]["conditions"] = conditions
    answer = house.post("/sessions/start", body)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


@pytest.mark.parametrize(
    "conditions",
    [
        {"temperature_c": 21},
        {"temperature_c": -20},
        {"temperature_c": 38},
        {"mean_speed_km_h": 120},
        {"mean_speed_km_h": 30, "stops": 60},
        {"payload_kg": 500, "vehicle_class": "van"},
        {"climb_m": 900, "descent_m": 100},
        WINTER,
    ],
)
def test_road_and_weather_never_need_less_than_the_formula(
    sqlite_house: House, conditions: dict[str, Any]
) -> None:
    sqlite_house.site()

    plan = started(sqlite_house, conditions)["plan"]

    assert plan["trip_model"] == "physical"
    assert plan["needed_trip_energy_kwh"] >= FORMULA_KWH - 1e-9
    assert plan["formula"]["needed_trip_energy_kwh"] == pytest.approx(FORMULA_KWH)


def test_a_winter_trip_is_planned_with_what_it_needs(house: House) -> None:
    house.site()

    plan = started(house, WINTER)["plan"]

    needed_kwh = plan["needed_trip_energy_kwh"]
    assert needed_kwh > FORMULA_KWH + 1
    assert plan["extra_energy_needed_kwh"] == pytest.approx(needed_kwh - 7.5)
    assert plan["planned_energy_kwh"] == pytest.approx(needed_kwh - 7.5, abs=1e-3)
    assert plan["formula"]["extra_energy_needed_kwh"] == pytest.approx(FORMULA_KWH - 7.5)
    assert plan["is_feasible"] is True


@pytest.mark.parametrize("conditions", [None, {}, {"has_heat_pump": True}])
def test_where_nothing_is_known_the_formula_is_used(
    sqlite_house: House, conditions: dict[str, Any] | None
) -> None:
    sqlite_house.site()

    plan = started(sqlite_house, conditions)["plan"]

    assert plan["trip_model"] == "plain_formula"
    assert plan["needed_trip_energy_kwh"] == pytest.approx(FORMULA_KWH)


def test_a_quote_counts_the_weather_too(house: House) -> None:
    house.site()
    body = house.start_body(soc_percent=10, distance_km=KM)
    body["trip"]["conditions"] = WINTER

    quote = house.post("/sessions/quote", body).json()

    plan = started(house, WINTER)["plan"]
    assert quote["needed_trip_energy_kwh"] == pytest.approx(plan["needed_trip_energy_kwh"])
    assert quote["options"][0]["planned_energy_kwh"] == pytest.approx(
        plan["planned_energy_kwh"], abs=1e-6
    )


def test_a_changed_trip_counts_the_weather_and_forgets_it_again(house: House) -> None:
    house.site()
    session_id = started(house, None)["session_id"]
    path = f"/api/v1/sessions/{session_id}"

    snow = {"trip": {"distance_km": KM, "conditions": WINTER}}
    winter = house.client.patch(path, json=snow).json()["plan"]
    summer = house.client.patch(path, json={"trip": {"distance_km": KM}}).json()["plan"]

    assert winter["trip_model"] == "physical"
    assert winter["needed_trip_energy_kwh"] > FORMULA_KWH + 1
    assert winter["formula"]["needed_trip_energy_kwh"] == pytest.approx(FORMULA_KWH)
    assert winter["planned_energy_kwh"] == pytest.approx(
        winter["needed_trip_energy_kwh"] - 7.5, abs=1e-3
    )
    assert summer["trip_model"] == "plain_formula"
    assert summer["needed_trip_energy_kwh"] == pytest.approx(FORMULA_KWH)


@pytest.mark.parametrize(
    "conditions",
    [{"temperature_c": 100}, {"stops": -1}, {"weather": "snow"}, {"vehicle_class": "tank"}],
)
def test_impossible_conditions_are_malformed(
    sqlite_house: House, conditions: dict[str, Any]
) -> None:
    sqlite_house.site()
    body = sqlite_house.start_body()
    body["trip"]["conditions"] = conditions

    answer = sqlite_house.post("/sessions/start", body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/body/trip/conditions/")
