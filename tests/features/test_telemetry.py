"""Telemetry over HTTP: late, repeated and impossible points, strangers, and what starts use."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from backend.features.credentials.holder import Holder
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from tests.conftest import House
from tests.tables import rows_of

VEHICLE = "did:denso:vehicle:vehicle001"
Points = list[dict[str, Any]]


def register(house: House, did: str = VEHICLE) -> None:
    with house.parts.database.transaction() as db:
        db.add(
            Vehicle(
                did=did,
                battery_capacity_kwh=75.0,
                consumption_wh_per_km=180.0,
                max_charge_power_kw=150.0,
                registered_at=house.clock.now(),
            )
        )


def at(house: House, minutes_ago: float) -> str:
    return (house.clock.now() - timedelta(minutes=minutes_ago)).isoformat()


def point(house: House, minutes_ago: float, soc: float | None = 40.0) -> dict[str, Any]:
    return {"at": at(house, minutes_ago), "is_plugged_in": False, "soc_percent": soc}


def send(house: House, points: Points, did: str = VEHICLE, **kwargs: Any) -> Any:
    return house.post(f"/vehicles/{did}/telemetry", {"points": points}, **kwargs)


def stored(house: House) -> list[tuple[Any, ...]]:
    with house.parts.database.reading() as db:
        query = select(TelemetryPoint.at, TelemetryPoint.soc_percent).order_by(TelemetryPoint.at)
        return [tuple(row) for row in db.execute(query)]


def test_points_in_any_order_are_stored_once_each(house: House) -> None:
    register(house)

    first = send(house, [point(house, 5, 50.0), point(house, 30, 60.0), point(house, 5, 50.0)])
    again = send(house, [point(house, 30, 99.0), point(house, 20, 55.0)])

    assert first.status_code == again.status_code == 200
    assert [first.json()[name] for name in ("received", "stored", "duplicates")] == [3, 2, 1]
    assert [again.json()[name] for name in ("stored", "duplicates")] == [1, 1]
    assert [soc for _, soc in stored(house)] == [60.0, 55.0, 50.0]


def test_the_newest_state_of_charge_is_the_vehicles(house: House) -> None:
    register(house)

    send(house, [point(house, 5, 50.0), point(house, 1, None)])
    late = send(house, [point(house, 60, 80.0)])

    assert late.json()["soc_percent"] == 50.0
    with house.parts.database.reading() as db:
        vehicle = db.get_one(Vehicle, VEHICLE)
        assert vehicle.last_soc_percent == 50.0
        assert vehicle.last_soc_at == house.clock.now() - timedelta(minutes=5)


def test_a_start_without_state_of_charge_uses_telemetry(house: House) -> None:
    house.site()
    register(house)
    send(house, [point(house, 5, 62.0)])
    body = house.start_body()
    body["vehicle"]["current_soc_percent"] = None
    body["vehicle"]["did"] = VEHICLE

    started = house.post("/sessions/start", body)

    assert started.status_code == 200, started.text
    assert started.json()["plan"]["current_energy_kwh"] == pytest.approx(0.62 * 75)


def test_points_ahead_of_the_clock_are_refused_by_name_and_nothing_is_stored(house: House) -> None:
    register(house)

    answer = send(house, [point(house, 5), point(house, -30), point(house, -1)])

    assert (answer.status_code, answer.json()["code"]) == (409, "telemetry_in_future")
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/body/points/1/at"]
    assert stored(house) == []


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"soc_percent": -1}, "/body/points/0/soc_percent"),
        ({"soc_percent": 100.1}, "/body/points/0/soc_percent"),
        ({"power_kw": -0.1}, "/body/points/0/power_kw"),
        ({"at": "2026-03-10T09:00:00"}, "/body/points/0/at"),
        ({"is_plugged_in": None}, "/body/points/0/is_plugged_in"),
        ({"speed_km_h": 3}, "/body/points/0/speed_km_h"),
    ],
)
def test_impossible_values_are_refused_with_their_place(
    sqlite_house: House, values: dict[str, Any], pointer: str
) -> None:
    register(sqlite_house)

    answer = send(sqlite_house, [{**point(sqlite_house, 5), **values}])

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert stored(sqlite_house) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(sqlite_house: House, number: str) -> None:
    register(sqlite_house)
    body = f'{{"points": [{{"at": "{at(sqlite_house, 5)}", "is_plugged_in": true, '
    body += f'"soc_percent": {number}}}]}}'

    answer = sqlite_house.client.post(
        f"/api/v1/vehicles/{VEHICLE}/telemetry",
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert "soc_percent" in answer.text
    assert stored(sqlite_house) == []


def test_a_million_points_are_too_large(sqlite_house: House) -> None:
    register(sqlite_house)
    one = f'{{"at":"{at(sqlite_house, 5)}","is_plugged_in":true}}'
    body = '{"points":[' + ",".join([one] * 1_000_000) + "]}"

    answer = sqlite_house.client.post(
        f"/api/v1/vehicles/{VEHICLE}/telemetry",
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert stored(sqlite_house) == []


def _as(house: House, holder: Holder) -> None:
    house.app.state.parts = replace(house.parts, door=lambda *_: holder)


def test_someone_elses_vehicle_looks_unknown(sqlite_house: House) -> None:
    register(sqlite_house)
    points = [point(sqlite_house, 5)]
    stranger = Holder("did:example:driver", frozenset({"driver"}), "verified")

    _as(sqlite_house, stranger)
    others = send(sqlite_house, points)
    unknown = send(sqlite_house, points, did="did:denso:vehicle:nobody")
    _as(sqlite_house, replace(stranger, vehicles=frozenset({VEHICLE})))
    own = send(sqlite_house, points)

    assert others.status_code == unknown.status_code == 404
    different = ("instance", "request_id")
    bodies = [
        {name: value for name, value in one.json().items() if name not in different}
        for one in (others, unknown)
    ]
    assert bodies[0] == bodies[1]
    assert own.status_code == 200


def test_the_same_key_gives_the_same_answer(house: House) -> None:
    register(house)
    points, key = [point(house, 5)], {"Idempotency-Key": "batch-1"}

    first, again = (send(house, points, headers=key) for _ in range(2))

    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json()["stored"] == 1


def test_a_table_is_taken_as_well(house: House) -> None:
    register(house)
    table = (
        "at;is_plugged_in;soc_percent;power_kw\n"
        f"{at(house, 20)};true;41,5;7,4\n{at(house, 10)};false;;\n"
    )

    answer = house.client.post(f"/api/v1/vehicles/{VEHICLE}/telemetry/csv", content=table)

    assert answer.status_code == 200, answer.text
    rows = rows_of(house.parts.database, "vehicle_telemetry")
    assert [(one["is_plugged_in"], one["soc_percent"], one["power_kw"]) for one in rows] == [
        (True, 41.5, 7.4),
        (False, None, None),
    ]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("at,soc_percent\n", "is_plugged_in"),
        ("at,is_plugged_in\n", "no rows"),
        ("at,is_plugged_in\n2026-03-10T09:00:00Z,perhaps\n", "Row 1: is_plugged_in"),
        ("at,is_plugged_in,soc_percent\n2026-03-10T09:00:00Z,true,nan\n", "Row 1: soc_percent"),
        ("at,is_plugged_in,power_kw\n2026-03-10T09:00:00Z,true,-1\n", "Row 1: power_kw"),
        ("at,is_plugged_in\n2026-03-10,true\n", "Row 1: at"),
        ("at,is_plugged_in\n" + "2026-03-10T09:00:00Z,true\n" * 5_001, "over 5000 rows"),
    ],
)
def test_a_table_that_is_none_is_refused_with_the_reason(
    sqlite_house: House, table: str, reason: str
) -> None:
    register(sqlite_house)

    answer = sqlite_house.client.post(f"/api/v1/vehicles/{VEHICLE}/telemetry/csv", content=table)

    assert (answer.status_code, answer.json()["code"]) == (409, "telemetry_unreadable")
    assert reason in answer.json()["detail"]
    assert stored(sqlite_house) == []
