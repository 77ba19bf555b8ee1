"""Chargers kept for a window, over HTTP."""

from typing import Any

import pytest
from httpx2 import Response

from backend.features.credentials.holder import Holder
from backend.features.sessions import reservations
from backend.features.sessions.problems import SiteNotAllowed
from backend.features.sessions.replanning import sweep_now
from backend.features.sessions.schemas import ReservationNew
from tests.conftest import House
from tests.features.test_changes import events_of
from tests.features.test_sessions import refused
from tests.tables import row_counts, rows_of

CHARGER = "did:denso:charger:site_hq_chr01"
ANNA, BERT = "did:denso:driver:driver001", "did:denso:driver:driver002"
WINDOW = {"from": "2026-03-10T12:00:00Z", "to": "2026-03-10T15:00:00Z"}


def reserve(house: House, **values: Any) -> Response:
    body = {"charger_did": CHARGER, "driver_did": ANNA, **WINDOW, **values}
    sent = {name: value for name, value in body.items() if value is not None}
    answer: Response = house.post("/reservations", sent)
    return answer


def reserved(house: House, **values: Any) -> dict[str, Any]:
    answer = reserve(house, **values)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def state_of(house: House, reservation: dict[str, Any]) -> str:
    status: str = house.get(f"/reservations/{reservation['reservation_id']}").json()["status"]
    return status


def test_a_reservation_reads_as_it_was_made(house: House) -> None:
    house.site()

    made = reserved(house, distance_km=80, vehicle_did="did:denso:vehicle:vehicle001")

    assert made == house.get(f"/reservations/{made['reservation_id']}").json()
    assert made == {
        "reservation_id": made["reservation_id"],
        "site_id": "site_hq",
        "charger_did": CHARGER,
        "driver_did": ANNA,
        "vehicle_did": "did:denso:vehicle:vehicle001",
        "distance_km": 80,
        **WINDOW,
        "status": "reserved",
    }
    name, facts = events_of(house)[-1]
    assert (name, facts["charger_did"]) == ("reservation.made", CHARGER)


def test_a_charger_is_kept_once_for_a_time(house: House) -> None:
    house.site(chargers=1)
    reserved(house)

    overlapping = {"from": "2026-03-10T14:59:00Z", "to": "2026-03-10T16:00:00Z"}
    refused(reserve(house, driver_did=BERT, **overlapping), 409, "no_charger_free")
    refused(reserve(house), 409, "no_charger_free")
    after = {"from": "2026-03-10T15:00:00Z", "to": "2026-03-10T16:00:00Z"}
    assert reserve(house, driver_did=BERT, **after).status_code == 201


def test_a_site_gives_the_weakest_charger_that_is_free(house: House) -> None:
    house.site(chargers=2)
    weak = "did:denso:charger:site_hq_chr09"
    house.post("/chargers", {"did": weak, "site_id": "site_hq", "max_power_kw": 11})

    given = [
        reserve(house, charger_did=None, site_id="site_hq", driver_did=f"{BERT}{number}")
        for number in range(4)
    ]

    assert [one.json().get("charger_did", "").rpartition("_")[2] for one in given[:3]] == [
        "chr09",
        "chr01",
        "chr02",
    ]
    refused(given[3], 409, "no_charger_free")


def test_a_plugged_charger_is_reserved_for_after_its_departure(house: House) -> None:
    house.site(chargers=1)
    house.start(number=2, hours=3)  # until 13:00

    refused(reserve(house), 409, "no_charger_free")
    after = {"from": "2026-03-10T13:00:00Z", "to": "2026-03-10T14:00:00Z"}
    assert reserve(house, **after).status_code == 201


def test_who_overstays_keeps_the_charger_taken(house: House) -> None:
    house.site(chargers=1)
    house.start(number=2, hours=1)
    house.clock.advance(hours=1, minutes=5)

    refused(reserve(house), 409, "no_charger_free")
    (charger,) = house.get("/sites/site_hq/availability").json()["chargers"]
    assert charger["is_free"] is False


def test_others_may_charge_until_the_reservation_begins(house: House) -> None:
    house.site(chargers=1)
    reserved(house)

    late = house.post("/sessions/start", house.start_body(number=2, hours=2.5))
    problem = refused(late, 409, "charger_reserved")
    assert "from 2026-03-10T12:00:00Z to 2026-03-10T15:00:00Z" in problem["detail"]
    assert house.post("/sessions/start", house.start_body(number=2, hours=2)).status_code == 200


@pytest.mark.parametrize("minutes", [-20, 0, 14])
def test_the_drivers_start_uses_the_reservation(house: House, minutes: int) -> None:
    house.site()
    made = reserved(house)
    house.clock.advance(hours=2, minutes=minutes)

    house.start(number=1, hours=2)
    house.clock.advance(hours=1)
    sweep_now(house.parts)

    assert state_of(house, made) == "used"


def test_a_short_stay_long_before_leaves_the_reservation_as_it_is(house: House) -> None:
    house.site()
    made = reserved(house)

    house.start(number=1, hours=1)

    assert state_of(house, made) == "reserved"


def test_a_no_show_frees_the_charger_after_fifteen_minutes(house: House) -> None:
    house.site(chargers=1)
    made = reserved(house)
    house.clock.advance(hours=2, minutes=14)
    sweep_now(house.parts)
    kept = house.post("/sessions/start", house.start_body(number=2, hours=1))
    house.clock.advance(minutes=1)

    sweep_now(house.parts)

    refused(kept, 409, "charger_reserved")
    assert state_of(house, made) == "no_show"
    assert house.post("/sessions/start", house.start_body(number=2, hours=1)).status_code == 200
    lost = [facts for name, facts in events_of(house) if name == "reservation.lost"]
    assert [one["reservation_id"] for one in lost] == [made["reservation_id"]]


def test_a_released_charger_is_free_for_others(house: House) -> None:
    house.site(chargers=1)
    made = reserved(house)
    path = f"/api/v1/reservations/{made['reservation_id']}"

    released = house.client.delete(path)

    assert released.json()["status"] == "released"
    assert reserve(house, driver_did=BERT).status_code == 201
    refused(house.client.delete(path), 409, "reservation_ended")
    unknown = house.client.delete("/api/v1/reservations/rsv_01KAF0000000000000000000")
    refused(unknown, 404, "reservation_not_found")


def test_availability_shows_when_and_by_what_a_charger_is_taken(house: House) -> None:
    house.site(chargers=3)
    house.start(number=2, charger=2, hours=1)
    reserved(house)

    day = house.get("/sites/site_hq/availability").json()
    evening = house.get(
        "/sites/site_hq/availability?from=2026-03-10T15:00:00Z&to=2026-03-10T18:00:00Z"
    ).json()

    assert (day["from"], day["to"]) == ("2026-03-10T10:00:00Z", "2026-03-11T10:00:00Z")
    assert [one["is_free"] for one in day["chargers"]] == [False, False, True]
    assert day["chargers"][0]["taken"] == [
        {"start": WINDOW["from"], "end": WINDOW["to"], "by": "reservation"}
    ]
    assert day["chargers"][1]["taken"] == [
        {"start": "2026-03-10T10:00:00Z", "end": "2026-03-10T11:00:00Z", "by": "session"}
    ]
    assert [one["is_free"] for one in evening["chargers"]] == [True, True, True]


@pytest.mark.parametrize(
    "span",
    [
        "from=2026-03-11T10:00:00Z&to=2026-03-10T10:00:00Z",
        "from=2026-03-10T10:00:00Z&to=2026-03-17T10:00:01Z",
        "from=9999-12-31T23:59:59Z",
    ],
)
def test_a_span_that_cannot_be_is_refused(sqlite_house: House, span: str) -> None:
    sqlite_house.site()

    answer = sqlite_house.get(f"/sites/site_hq/availability?{span}")

    refused(answer, 409, "reservation_window_impossible")


@pytest.mark.parametrize(
    "window",
    [
        {"from": "2026-03-10T12:00:00Z", "to": "2026-03-10T12:00:00Z"},
        {"from": "2026-03-10T12:00:00Z", "to": "2026-03-11T12:00:01Z"},
        {"from": "2026-03-10T08:00:00Z", "to": "2026-03-10T09:00:00Z"},
        {"from": "2026-03-10T09:45:00Z", "to": "2026-03-10T12:00:00Z"},  # lost before it is made
        {"from": "2026-05-10T12:00:00Z", "to": "2026-05-10T13:00:00Z"},
    ],
)
def test_a_window_that_cannot_be_is_refused(sqlite_house: House, window: dict[str, str]) -> None:
    sqlite_house.site()

    refused(reserve(sqlite_house, **window), 409, "reservation_window_impossible")

    assert row_counts(sqlite_house.parts.database)["reservations"] == 0


def test_what_does_not_exist_is_not_reserved(house: House) -> None:
    house.site()
    house.site("site_mall")

    refused(reserve(house, charger_did=None), 409, "where_missing")
    refused(reserve(house, charger_did=None, site_id="site_nowhere"), 404, "site_not_found")
    refused(reserve(house, charger_did="did:denso:charger:none"), 404, "charger_not_found")
    refused(reserve(house, site_id="site_mall"), 404, "charger_not_found")
    house.client.patch(f"/api/v1/chargers/{CHARGER}", json={"status": "faulted"})
    refused(reserve(house), 409, "no_charger_free")


def test_drivers_reserve_for_themselves_alone(sqlite_house: House) -> None:
    house = sqlite_house
    house.site()
    bert = Holder(BERT, frozenset({"driver"}), "verified")
    new = ReservationNew.model_validate({"charger_did": CHARGER, "driver_did": ANNA, **WINDOW})

    with house.parts.database.transaction() as db, pytest.raises(SiteNotAllowed):
        reservations.reserve(db, new, holder=bert, now=house.clock.now())

    made = reserved(house)
    seer = Holder("did:x:y", frozenset({"driver", "auditor"}), "verified")
    with house.parts.database.transaction() as db:
        assert reservations.require_reservation(db, made["reservation_id"], holder=seer)
        with pytest.raises(reservations.ReservationNotFound):
            reservations.release(db, made["reservation_id"], holder=seer, now=house.clock.now())


def test_a_reservation_sent_twice_with_one_key_is_made_once(house: House) -> None:
    house.site()
    body = {"charger_did": CHARGER, "driver_did": ANNA, **WINDOW}

    answers = [
        house.post("/reservations", body, headers={"Idempotency-Key": "r1"}) for _ in range(2)
    ]

    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(rows_of(house.parts.database, "reservations")) == 1
