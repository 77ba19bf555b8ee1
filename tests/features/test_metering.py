"""Meter readings over HTTP: taken once, in order, and only if they can be."""

from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select

from backend.adapters.events.outbox import OutboxEvent
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.forecasts.models import DemandInterval
from backend.features.sessions import metering
from backend.features.sessions.models import MeterValue
from backend.features.sessions.problems import EnergyImplausible
from backend.features.sessions.schemas import MeterReadings
from tests.conftest import House


@pytest.fixture
def session_id(house: House) -> str:
    """A session that began at noon and may draw 127.5 kW of 150 kW."""
    house.site()
    return str(house.start(soc_percent=10, distance_km=300)["session_id"])


def reading(
    house: House, energy_kwh: float, *, minutes: float = 0, **more: float
) -> dict[str, Any]:
    at = house.clock.now() + timedelta(minutes=minutes)
    return {"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "energy_delivered_kwh": energy_kwh, **more}


def send(house: House, session_id: str, *values: dict[str, Any]) -> Response:
    answer: Response = house.post(f"/sessions/{session_id}/meter-values", {"values": list(values)})
    return answer


def stored(house: House) -> list[float]:
    with house.parts.database.reading() as db:
        return list(db.scalars(select(MeterValue.energy_kwh).order_by(MeterValue.at)))


def refused(answer: Response, code: str) -> None:
    assert answer.status_code == 409, answer.text
    assert answer.json()["code"] == code


def test_readings_tell_how_much_was_delivered(house: House, session_id: str) -> None:
    house.clock.advance(hours=1)

    answer = send(
        house,
        session_id,
        reading(house, 10, minutes=-30, power_kw=20, soc_percent=23.3),
        reading(house, 25, soc_percent=43.3),
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "session_id": session_id,
        "accepted": 2,
        "repeated": 0,
        "energy_delivered_kwh": 25,
        "implausible": [],
    }
    assert house.get(f"/sessions/{session_id}").json()["energy_delivered_kwh"] == 25
    assert stored(house) == [10, 25]


def test_a_repeated_reading_counts_once(house: House, session_id: str) -> None:
    house.clock.advance(minutes=30)
    first = reading(house, 10)
    send(house, session_id, first)
    house.clock.advance(minutes=30)
    second = reading(house, 20)

    answer = send(house, session_id, first, second).json()
    again = send(house, session_id, first, second).json()

    assert (answer["accepted"], answer["repeated"]) == (1, 1)
    assert (again["accepted"], again["repeated"]) == (0, 2)
    assert stored(house) == [10, 20]
    with house.parts.database.reading() as db:
        assert db.scalar(select(func.sum(DemandInterval.energy_kwh))) == pytest.approx(20)
        told = select(func.count()).where(OutboxEvent.type == "session.metered")
        assert db.scalar(told) == 2  # nothing new, nothing told


@pytest.mark.parametrize(
    ("energy_kwh", "minutes"),
    [
        (9.9, 0),  # less energy later
        (11, -31),  # more energy earlier
        (11, -30),  # another value for the same moment
    ],
)
def test_a_meter_that_runs_backwards_is_refused(
    house: House, session_id: str, energy_kwh: float, minutes: float
) -> None:
    house.clock.advance(minutes=30)
    send(house, session_id, reading(house, 10))
    house.clock.advance(minutes=30)

    answer = send(house, session_id, reading(house, energy_kwh, minutes=minutes))

    refused(answer, "meter_went_backwards")
    assert stored(house) == [10]


def test_readings_are_taken_all_or_none(house: House, session_id: str) -> None:
    house.clock.advance(hours=1)

    answer = send(house, session_id, reading(house, 10, minutes=-30), reading(house, 5))

    refused(answer, "meter_went_backwards")
    assert stored(house) == []
    assert house.get(f"/sessions/{session_id}").json()["energy_delivered_kwh"] == 0


@pytest.mark.parametrize("minutes", [-61, 6])
def test_a_reading_outside_the_session_is_refused(
    house: House, session_id: str, minutes: float
) -> None:
    house.clock.advance(hours=1)

    answer = send(house, session_id, reading(house, 1, minutes=minutes))

    refused(answer, "reading_outside_session")


def test_a_clock_a_little_ahead_is_forgiven(house: House, session_id: str) -> None:
    house.clock.advance(hours=1)

    answer = send(house, session_id, reading(house, 1, minutes=5))

    assert answer.status_code == 200


def test_the_demo_marks_readings_that_cannot_be(house: House, session_id: str) -> None:
    house.clock.advance(minutes=6)  # 150 kW could have delivered 15 kWh

    answer = send(house, session_id, reading(house, 60)).json()

    assert answer["accepted"] == 1
    assert len(answer["implausible"]) == 1
    assert "60.00 kWh in 0.10 h" in answer["implausible"][0]
    with house.parts.database.reading() as db:
        assert db.scalars(select(MeterValue.is_plausible)).all() == [False]


def test_production_refuses_readings_that_cannot_be(house: House, session_id: str) -> None:
    house.clock.advance(minutes=6)
    impossible = MeterReadings.model_validate({"values": [reading(house, 60)]}, strict=False)

    with house.parts.database.writing() as db, pytest.raises(EnergyImplausible):
        metering.add_readings(
            db,
            session_id,
            impossible,
            holder=DEMO_HOLDER,
            is_demo=False,
            now=house.clock.now(),
        )

    assert stored(house) == []


@pytest.mark.parametrize(
    "values",
    [
        [],
        [{"at": "2026-03-10T10:00:00", "energy_delivered_kwh": 1}],
        [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": -1}],
        [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": 1e308}],
        [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": "1"}],
        [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": 1, "soc_percent": 101}],
        [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": 1, "volts": 400}],
        [{"energy_delivered_kwh": 1}],
    ],
)
def test_malformed_readings_are_refused(sqlite_house: House, values: list[dict[str, Any]]) -> None:
    sqlite_house.site()
    session_id = sqlite_house.start()["session_id"]

    answer = send(sqlite_house, session_id, *values)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/body/values")
    assert stored(sqlite_house) == []


def test_a_meter_off_the_plan_has_the_site_planned_again(house: House, session_id: str) -> None:
    first = house.get(f"/sessions/{session_id}/plan").json()
    house.clock.advance(minutes=15)  # 31.9 kWh were planned by now

    send(house, session_id, reading(house, 5))
    house.settle()

    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert plan["version"] > first["version"]
    left_kwh = sum(slot["energy_kwh"] for slot in plan["slots"])
    assert left_kwh == pytest.approx(52.3, abs=0.01)


def test_a_meter_on_the_plan_leaves_it_alone(house: House, session_id: str) -> None:
    first = house.get(f"/sessions/{session_id}/plan").json()
    house.clock.advance(minutes=15)

    send(house, session_id, reading(house, 31.8))
    house.settle()

    assert house.get(f"/sessions/{session_id}/plan").json()["version"] == first["version"]


def test_the_state_of_charge_of_a_reading_is_the_vehicles_telemetry(
    house: House, session_id: str
) -> None:
    house.clock.advance(minutes=30)
    send(house, session_id, reading(house, 20, soc_percent=40))
    house.post(f"/sessions/{session_id}/cancel")
    body = house.start_body()
    del body["vehicle"]["current_soc_percent"]

    plan = house.post("/sessions/start", body).json()["plan"]

    assert plan["soc_source"] == "telemetry"
    assert plan["current_energy_kwh"] == 30


def test_demand_lies_where_the_meter_saw_it(house: House, session_id: str) -> None:
    house.clock.advance(hours=1)
    send(house, session_id, reading(house, 20, minutes=-30), reading(house, 22))
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {})

    with house.parts.database.reading() as db:
        rows = db.scalars(select(DemandInterval).order_by(DemandInterval.start_at)).all()

    assert [row.energy_kwh for row in rows] == pytest.approx([10, 10, 1, 1, 0, 0, 0, 0])
    assert [row.occupancy for row in rows] == pytest.approx([1.0] * 8)
