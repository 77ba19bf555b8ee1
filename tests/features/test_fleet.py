"""Trips of a fleet and which vehicles will miss them, over HTTP."""

from datetime import UTC, datetime
from typing import Any

import pytest
from httpx2 import Response

from backend.features.credentials.holder import Holder
from backend.features.reports.readiness import readiness_on
from backend.features.vehicles.models import Vehicle
from backend.features.vehicles.service import register
from tests.conftest import House
from tests.features.test_sessions import refused
from tests.tables import rows_of

TOMORROW = "2026-03-11T08:00:00Z"
CSV = {"Content-Type": "text/csv"}


def did(number: int) -> str:
    return f"did:denso:vehicle:vehicle{number:03d}"


def vehicles(house: House, *soc_percent: float | None) -> None:
    """Vehicles 1, 2, … of 75 kWh and 180 Wh/km, last seen with these states of charge."""
    with house.parts.database.transaction() as db:
        for number, soc in enumerate(soc_percent, 1):
            now = house.clock.now()
            register(
                db,
                did(number),
                battery_capacity_kwh=75,
                consumption_wh_per_km=180,
                max_charge_power_kw=150,
                now=now,
            )
            if soc is not None:
                db.get_one(Vehicle, did(number)).last_soc_percent = soc


def trip(number: int = 1, **values: Any) -> dict[str, Any]:
    return {"vehicle_did": did(number), "departure_time": TOMORROW, "distance_km": 100, **values}


def add(house: House, *trips: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = house.post(f"/fleet/trips{query}", {"trips": list(trips)})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def upload(house: House, table: str | bytes, query: str = "") -> Response:
    answer: Response = house.client.post(
        f"/api/v1/fleet/trips{query}",
        content=table if isinstance(table, bytes) else table.encode(),
        headers=CSV,
    )
    return answer


def readiness(house: House, query: str = "?date=2026-03-11") -> dict[str, Any]:
    answer = house.get(f"/fleet/readiness{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def outcomes(result: dict[str, Any]) -> list[str]:
    return [one["outcome"] for one in result["results"]]


def test_trips_are_taken_and_listed(house: House) -> None:
    vehicles(house, 50, 50)

    result = add(house, trip(1, external_id="a"), trip(2, distance_km=50))

    assert (result["created"], result["replaced"], result["refused"]) == (2, 0, 0)
    assert result["stored"] is True
    listed = house.get("/fleet/trips").json()
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    assert [one["trip_id"] for one in listed["data"]] == [
        one["trip_id"] for one in result["results"]
    ]
    assert listed["data"][0] == {
        "trip_id": result["results"][0]["trip_id"],
        "external_id": "a",
        "vehicle_did": did(1),
        "departure_time": TOMORROW,
        "distance_km": 100,
        "legs": [],
    }


def test_trips_are_listed_by_span_and_in_pages(house: House) -> None:
    vehicles(house, 50)
    times = [f"2026-03-{day}T08:00:00Z" for day in range(11, 15)]
    add(house, *(trip(departure_time=time) for time in times))

    spanned = house.get("/fleet/trips?from=2026-03-12T08:00:00Z&to=2026-03-14T08:00:00Z").json()
    first = house.get("/fleet/trips?limit=3").json()
    second = house.get(f"/fleet/trips?limit=3&cursor={first['next_cursor']}").json()

    assert [one["departure_time"] for one in spanned["data"]] == times[1:3]
    assert first["has_more"] is True
    both = first["data"] + second["data"]
    assert [one["departure_time"] for one in both] == times


def test_bad_rows_are_refused_with_their_reason_and_the_others_taken(house: House) -> None:
    vehicles(house, 50)

    result = add(house, trip(), trip(9), trip(departure_time="2026-03-10T09:00:00Z"))

    assert outcomes(result) == ["created", "refused", "refused"]
    assert [one["reason"] for one in result["results"]] == [
        None,
        f"{did(9)} is not registered",
        "the departure lies in the past",
    ]
    assert len(rows_of(house.parts.database, "fleet_trips")) == 1


def test_one_bad_row_can_be_enough_to_store_none(house: House) -> None:
    vehicles(house, 50)

    result = add(house, trip(), trip(9), query="?all_or_nothing=true")
    good = add(house, trip(), query="?all_or_nothing=true")

    assert (result["stored"], result["created"], result["refused"]) == (False, 1, 1)
    assert result["results"][0]["trip_id"] is None
    assert good["stored"] is True
    assert len(rows_of(house.parts.database, "fleet_trips")) == 1


def test_the_same_external_id_replaces_its_trip(house: House) -> None:
    vehicles(house, 50, 50)
    first = add(house, trip(1, external_id="a"))

    again = add(house, trip(1, external_id="a"))
    other = add(house, trip(2, external_id="a", distance_km=70))

    assert outcomes(again) == outcomes(other) == ["replaced"]
    (listed,) = house.get("/fleet/trips").json()["data"]
    assert listed["trip_id"] == first["results"][0]["trip_id"]
    assert (listed["vehicle_did"], listed["distance_km"]) == (did(2), 70)


def test_a_dry_run_says_what_would_happen_and_stores_nothing(house: House) -> None:
    vehicles(house, 50)
    add(house, trip(external_id="a"))

    result = add(
        house, trip(external_id="a", distance_km=1), trip(), trip(9), query="?dry_run=true"
    )

    assert outcomes(result) == ["replaced", "created", "refused"]
    assert result["stored"] is False
    assert {one["trip_id"] for one in result["results"]} == {None}
    (row,) = rows_of(house.parts.database, "fleet_trips")
    assert row["distance_km"] == 100


def test_a_spreadsheet_with_semicolons_and_a_byte_order_mark_is_read(house: House) -> None:
    vehicles(house, 50, 50)
    table = (
        "\ufeffexternal_id;vehicle_did;departure_time;distance_km;remark\r\n"
        f"a;{did(1)};{TOMORROW};12,5;with a trailer\r\n"
        f";{did(2)} ;2026-03-11T10:00:00+02:00; 80 ;\r\n"
    )

    result = upload(house, table).json()
    again = upload(house, table).json()

    assert outcomes(result) == ["created", "created"]
    assert outcomes(again) == ["replaced", "created"]
    rows = sorted(rows_of(house.parts.database, "fleet_trips"), key=lambda row: row["id"])
    assert [(row["external_id"], row["vehicle_did"], row["distance_km"]) for row in rows[:2]] == [
        ("a", did(1), 12.5),
        (None, did(2), 80),
    ]
    assert {row["departure_at"] for row in rows} == {datetime(2026, 3, 11, 8, tzinfo=UTC)}


def test_a_spreadsheet_is_uploaded_again_without_doubling(house: House) -> None:
    vehicles(house, 50)
    lines = [f"t{number},{did(1)},{TOMORROW},{number}" for number in range(200)]
    table = "\n".join(["external_id,vehicle_did,departure_time,distance_km", *lines])

    first, second = upload(house, table).json(), upload(house, table).json()

    assert (first["created"], second["replaced"]) == (200, 200)
    assert len(rows_of(house.parts.database, "fleet_trips")) == 200


def test_each_bad_row_of_a_spreadsheet_says_what_is_wrong(house: House) -> None:
    vehicles(house, 50)
    table = (
        "vehicle_did,departure_time,distance_km\n"
        f"{did(1)},{TOMORROW},far\n"
        f"{did(1)},2026-03-11T08:00:00,10\n"
        f"{did(1)},{TOMORROW},-5\n"
        f"{did(1)},{TOMORROW},nan\n"
        f"{did(1)}\n"
        f"{did(1)},{TOMORROW},10\n"
    )

    result = upload(house, table).json()

    assert outcomes(result) == ["refused"] * 5 + ["created"]
    reasons = [one["reason"] for one in result["results"]]
    assert reasons[0] == "distance_km: far is no number"
    assert reasons[1].startswith("departure_time: ")
    assert "offset" in reasons[1]
    assert reasons[2].startswith("distance_km: ")
    assert reasons[3].startswith("distance_km: ")
    assert reasons[4].startswith("departure_time: ")


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"a,b,c\n1,2,3\n",
        b"vehicle_did,departure_time\n",
        b"vehicle_did,departure_time,distance_km\n" + b"x,y,1\n" * 1001,
        b"vehicle_did,departure_time,distance_km\n" + b"x" * 200_000,
    ],
)
def test_what_is_no_table_of_trips_is_refused(sqlite_house: House, table: bytes) -> None:
    refused(upload(sqlite_house, table), 409, "table_unreadable")

    assert rows_of(sqlite_house.parts.database, "fleet_trips") == []


def test_a_table_in_another_encoding_is_refused(sqlite_house: House) -> None:
    refused(upload(sqlite_house, b"\xff\xfe\x00"), 400, "unreadable_body")


def test_listed_trips_can_be_sent_back_as_the_table_they_came_as(house: House) -> None:
    vehicles(house, 50, 50)
    add(house, trip(1, external_id="=a"), trip(2, external_id="b", distance_km=12.5))
    add(house, trip(1, external_id="c", departure_time="2026-03-12T08:00:00Z"))

    answer = house.get("/fleet/trips?format=csv&to=2026-03-12T00:00:00Z")
    again = upload(house, answer.text).json()

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.text.splitlines() == [
        "external_id,vehicle_did,departure_time,distance_km,legs",
        f"'=a,{did(1)},2026-03-11T08:00:00+00:00,100,",
        f"b,{did(2)},2026-03-11T08:00:00+00:00,12.5,",
    ]
    assert outcomes(again) == ["replaced", "replaced"]
    assert len(rows_of(house.parts.database, "fleet_trips")) == 3


def chain(**values: Any) -> dict[str, Any]:
    stop = {"distance_km": 100, "stop_hours": 2, "charge_kwh_at_stop": 10}
    new = {**trip(), "legs": [stop, {"distance_km": 100}], **values}
    del new["distance_km"]
    return new


def test_a_chain_is_taken_listed_and_sent_back_as_a_table(house: House) -> None:
    vehicles(house, 50)
    add(house, chain(external_id="a"))
    (listed,) = house.get("/fleet/trips").json()["data"]

    table = house.get("/fleet/trips?format=csv").text
    again = upload(house, table).json()

    assert listed["distance_km"] == 200
    assert [leg["distance_km"] for leg in listed["legs"]] == [100, 100]
    assert listed["legs"][0]["charge_kwh_at_stop"] == 10
    assert outcomes(again) == ["replaced"]
    assert house.get("/fleet/trips").json()["data"] == [listed]


def test_readiness_counts_what_a_stop_brings(house: House) -> None:
    vehicles(house, 45, 45)
    add(house, chain(), trip(2, distance_km=200))

    found = {one["vehicle_did"]: one for one in readiness(house)["trips"]}

    assert found[did(1)]["needed_kwh"] == pytest.approx(2 * 21.6 - 10)
    assert found[did(1)]["is_ready"] is True
    assert found[did(2)]["needed_kwh"] == pytest.approx(2 * 21.6)
    assert found[did(2)]["is_ready"] is False


@pytest.mark.parametrize("cell", ["far", "[]", '[{"km": 1}]', '[{"distance_km": -1}]'])
def test_a_cell_that_is_no_chain_is_refused(sqlite_house: House, cell: str) -> None:
    vehicles(sqlite_house, 50)
    quoted = cell.replace('"', '""')
    table = f'vehicle_did,departure_time,distance_km,legs\n{did(1)},{TOMORROW},,"{quoted}"\n'

    result = upload(sqlite_house, table).json()

    assert outcomes(result) == ["refused"]
    assert "is no number" not in result["results"][0]["reason"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", "x"])
def test_bodies_of_other_types_are_refused(sqlite_house: House, kind: str) -> None:
    body = {"content": b'{"trips": []}', "headers": {"Content-Type": kind}}

    answer = sqlite_house.client.post("/api/v1/fleet/trips", **body)  # type: ignore[arg-type]

    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", None])
def test_json_is_refused_where_it_is_wrong(sqlite_house: House, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    url = "/api/v1/fleet/trips"
    wrong = b'{"trips": [{"vehicle_did": "did:x:1", "departure_time": "soon", "distance_km": 1}]}'

    malformed = sqlite_house.client.post(url, content=wrong, headers=headers)
    unreadable = sqlite_house.client.post(url, content=b"{", headers=headers)

    refused(malformed, 422, "malformed_request")
    assert malformed.json()["errors"][0]["pointer"] == "/body/trips/0/departure_time"
    refused(unreadable, 400, "unreadable_body")


def test_an_upload_with_a_key_is_taken_once(house: House) -> None:
    vehicles(house, 50)
    headers = {"Idempotency-Key": "u1"}

    answers = [house.post("/fleet/trips", {"trips": [trip()]}, headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert len(rows_of(house.parts.database, "fleet_trips")) == 1


def test_a_vehicle_that_holds_enough_is_ready(house: House) -> None:
    vehicles(house, 80)
    add(house, trip(distance_km=100))

    found = readiness(house)

    (one,) = found["trips"]
    assert found["at_risk"] == 0
    assert one["needed_kwh"] == pytest.approx(21.6)
    assert one["expected_kwh"] == pytest.approx(60)
    assert (one["is_ready"], one["short_by_kwh"], one["remedy"]) == (True, 0, None)
    assert one["ready_probability"] == pytest.approx(1, abs=1e-6)


def test_a_plugged_vehicle_is_judged_by_its_plan(house: House) -> None:
    house.site()
    house.start(number=1, soc_percent=10, distance_km=200, hours=20)
    add(house, trip(distance_km=200))

    house.clock.advance(minutes=10)
    (one,) = readiness(house)["trips"]

    assert one["expected_kwh"] == pytest.approx(43.2, abs=0.01)
    assert (one["is_ready"], one["short_by_kwh"]) == (True, 0)
    assert one["reason"].startswith(
        "It charges at did:denso:charger:site_hq_chr01 until 2026-03-11"
    )
    assert 0.9 < one["ready_probability"] < 1


def test_what_flows_after_the_trip_begins_does_not_help(house: House) -> None:
    house.site()
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.3] * 12 + [0.1] * 12}
    house.post("/sites/site_hq/tariffs", price)
    house.start(number=1, soc_percent=10, distance_km=200, hours=6)
    add(house, trip(distance_km=200, departure_time="2026-03-10T10:06:00Z"))

    (one,) = readiness(house, "?date=2026-03-10")["trips"]

    assert one["expected_kwh"] == pytest.approx(7.5 + 127.5 / 10, abs=0.01)
    assert one["is_ready"] is False


def test_metered_and_planned_energy_are_counted_once(house: House) -> None:
    house.site()
    wishes = {"priority": "speed"}
    session_id = house.start(
        number=1, soc_percent=10, distance_km=200, hours=20, preferences=wishes
    )["session_id"]
    house.clock.advance(minutes=12)
    reading = {"at": "2026-03-10T10:12:00Z", "energy_delivered_kwh": 25.5}
    house.post(f"/sessions/{session_id}/meter-values", {"values": [reading]})
    add(house, trip(distance_km=200))

    (one,) = readiness(house)["trips"]

    assert one["expected_kwh"] == pytest.approx(43.2, abs=0.01)


def test_an_unknown_state_of_charge_is_a_risk(house: House) -> None:
    vehicles(house, None)
    add(house, trip())

    (one,) = readiness(house)["trips"]

    assert one["expected_kwh"] is None
    assert (one["ready_probability"], one["is_ready"]) == (0, False)
    assert one["short_by_kwh"] == pytest.approx(21.6)
    assert "unknown" in one["reason"]


def test_what_a_plugged_vehicle_held_before_is_not_guessed(house: House) -> None:
    house.site()
    body = house.start_body(number=1, distance_km=200, hours=20)
    del body["vehicle"]["current_soc_percent"]
    assert house.post("/sessions/start", body).status_code == 200
    add(house, trip(distance_km=200))

    (one,) = readiness(house)["trips"]

    assert one["expected_kwh"] == pytest.approx(43.2, abs=0.01)
    assert "unknown and not counted" in one["reason"]


def test_two_trips_of_a_day_use_one_charge(house: House) -> None:
    vehicles(house, 60)  # 45 kWh
    add(house, trip(distance_km=150), trip(distance_km=150, departure_time="2026-03-11T14:00:00Z"))

    first, second = sorted(readiness(house)["trips"], key=lambda one: one["departure_time"])

    assert first["is_ready"] is True
    assert second["needed_kwh"] == pytest.approx(64.8)
    assert second["short_by_kwh"] == pytest.approx(19.8)


def test_those_at_risk_come_first(house: House) -> None:
    vehicles(house, 90, 10, None, 30)
    add(house, trip(1), trip(2), trip(3), trip(4))

    found = readiness(house)

    assert [one["vehicle_did"] for one in found["trips"]] == [did(3), did(2), did(4), did(1)]
    assert found["at_risk"] == 2
    chances = [one["ready_probability"] for one in found["trips"]]
    assert chances == sorted(chances)


@pytest.mark.parametrize(
    ("km", "departure", "kind", "text"),
    [
        (500, TOMORROW, "on_the_way", "longer than its battery"),
        (200, TOMORROW, "charger", "did:denso:charger:site_hq_chr02 (11 kW)"),
        (200, "2026-03-10T10:30:00Z", "charger", "did:denso:charger:site_hq_chr01 (150 kW)"),
        (200, "2026-03-10T10:05:00Z", "vehicle", f"Send {did(2)} instead"),
        (340, "2026-03-10T10:05:00Z", "time", "Leave 27 min later"),
    ],
)
def test_the_remedy_is_the_cheapest_that_helps(
    house: House, km: float, departure: str, kind: str, text: str
) -> None:
    house.site(chargers=1)
    weak = {"did": "did:denso:charger:site_hq_chr02", "site_id": "site_hq", "max_power_kw": 11}
    house.post("/chargers", weak)
    vehicles(house, 10, 90)
    add(house, trip(1, distance_km=km, departure_time=departure))

    (one,) = readiness(house, f"?date={departure[:10]}")["trips"]

    assert one["remedy"]["kind"] == kind
    assert text in one["remedy"]["text"]


def test_a_plugged_vehicle_with_another_trip_is_given_this_one(house: House) -> None:
    house.site()
    house.start(number=1, soc_percent=10, distance_km=50, hours=6)
    add(house, trip(distance_km=200))

    (one,) = readiness(house)["trips"]

    assert one["remedy"]["kind"] == "session"
    assert "did:denso:charger:site_hq_chr01" in one["remedy"]["text"]


def test_a_day_is_the_local_one_even_when_the_clock_changes(house: House) -> None:
    vehicles(house, 90)
    times = [
        "2026-03-28T21:59:59Z",
        "2026-03-28T22:00:00Z",  # midnight in Helsinki
        "2026-03-29T20:59:59Z",  # a second before the next, after 23 hours
        "2026-03-29T21:00:00Z",
    ]
    add(house, *(trip(departure_time=time) for time in times))

    found = readiness(house, "?date=2026-03-29&timezone=Europe/Helsinki")
    elsewhere = readiness(house, "?date=2026-03-29&timezone=UTC")

    assert sorted(one["departure_time"] for one in found["trips"]) == times[1:3]
    assert sorted(one["departure_time"] for one in elsewhere["trips"]) == times[2:]


def test_tomorrow_is_judged_when_no_date_is_given(house: House) -> None:
    vehicles(house, 90)
    add(house, trip())

    assert readiness(house, "")["date"] == "2026-03-11"
    assert len(readiness(house, "")["trips"]) == 1
    assert readiness(house, "?date=9999-12-31")["trips"] == []
    assert readiness(house, "?date=0001-01-01")["trips"] == []
    refused(house.get("/fleet/readiness?date=0"), 422, "malformed_request")
    refused(house.get("/fleet/readiness?timezone=Europe/Atlantis"), 422, "malformed_request")


def test_a_fleet_sees_its_own_trips_and_vehicles_alone(sqlite_house: House) -> None:
    house = sqlite_house
    vehicles(house, 10, 90)
    add(house, trip(1))
    other = Holder("did:denso:fleet:other", frozenset({"fleet"}), "verified")

    with house.parts.database.reading() as db:
        found = readiness_on(
            db, datetime(2026, 3, 11, tzinfo=UTC).date(), "UTC", holder=other, now=house.clock.now()
        )

    assert found.trips == []
