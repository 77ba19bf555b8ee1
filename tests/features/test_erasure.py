"""Export and erasure: all that is held on a driver, and nothing of it afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select

from backend.database import Base
from backend.features.anchors.models import AnchorItem
from backend.features.credentials import dids
from backend.features.credentials.aliases import alias_of, who_is
from backend.features.credentials.audit import first_broken_link
from backend.features.credentials.dids import DidTaken
from backend.features.credentials.listeners import close_chain_now
from backend.features.credentials.models import AuditEvent
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from tests.conftest import House, house_on
from tests.features.town import CAR, Town
from tests.identities import Caller

ANNA = "did:denso:driver:driver001"
CARD = {"kind": "rfid", "number": "04A22B9C6F6180", "vehicle_did": CAR}


def _tables(house: House) -> str:
    """Every row of every table as text, bytes included."""
    with house.parts.database.reading() as db:
        return "\n".join(
            f"{table.name} {row}"
            for table in Base.metadata.sorted_tables
            for row in db.execute(select(table)).all()
        )


def _lived_in(house: House, did: str = ANNA) -> str:
    """A driver who did everything that leaves a trace; the id of a session that was billed."""
    body = house.start_body() | {"cost_center": f"of {did}"}
    body["driver"]["did"] = did
    headers = {"Idempotency-Key": "k1"}
    started = house.post("/sessions/start", body, headers=headers).json()
    session_id = str(started["session_id"])
    offers = started["plan"]["incentive_offers"]
    for offer in offers:
        house.post(f"/sessions/{session_id}/incentives/{offer['offer_id']}/accept")
    reading = {"values": [{"at": "2026-03-10T10:30:00Z", "energy_delivered_kwh": 5}]}
    house.clock.advance(minutes=30)
    assert house.post(f"/sessions/{session_id}/meter-values", reading).status_code == 200
    telemetry = {"points": [{"at": "2026-03-10T10:10:00Z", "soc_percent": 40}]}
    house.post(f"/vehicles/{CAR}/telemetry", telemetry)
    assert house.post(f"/sessions/{session_id}/complete", {}).status_code == 200
    kept = {"driver_did": did, "site_id": "site_hq", "vehicle_did": CAR}
    window = {"from": "2026-03-10T14:00:00Z", "to": "2026-03-10T15:00:00Z"}
    assert house.post("/reservations", kept | window).status_code == 201
    assert house.post(f"/drivers/{did}/tokens", CARD, headers=headers).status_code == 201
    assert house.get(f"/sessions?driver_did={did}").status_code == 200
    house.settle()
    close_chain_now(house.parts.database)
    return session_id


def test_no_table_holds_the_driver_afterwards_and_bills_stay(house: House) -> None:
    house.site()
    session_id = _lived_in(house)
    assert ANNA in _tables(house)
    bill = house.get(f"/sessions/{session_id}").json()

    erased = house.client.delete(f"/api/v1/drivers/{ANNA}")
    house.settle()
    close_chain_now(house.parts.database)

    assert erased.status_code == 200, erased.text
    assert erased.json()["sessions_kept"] == 1
    assert erased.json()["vehicles_forgotten"] == 1
    assert erased.json()["cards_deleted"] == 1
    left = _tables(house)
    assert ANNA not in left
    assert CAR not in left
    kept = house.get(f"/sessions/{session_id}").json()
    assert kept["driver_did"].startswith("did:erased:")
    same = ("final_cost_eur", "energy_delivered_kwh", "site_id", "start_time", "end_time")
    assert {name: kept[name] for name in same} == {name: bill[name] for name in same}
    with house.parts.database.reading() as db:
        assert first_broken_link(db) is None
        items = db.scalars(select(AnchorItem).where(AnchorItem.session_id == session_id)).all()
        assert items
        assert all(one.salt is None and one.record is None for one in items)
        assert len(db.scalars(select(ChargeDetailRecord)).all()) == 1
    assert house.client.delete(f"/api/v1/drivers/{ANNA}").status_code == 404
    assert house.get(f"/drivers/{ANNA}/export").status_code == 404


def test_no_log_names_the_driver(
    sqlite_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with house_on(sqlite_url, tmp_path, log_level="debug", log_format="json") as house:
        house.site()
        _lived_in(house)
        house.get(f"/drivers/{ANNA}/export")
        house.client.delete(f"/api/v1/drivers/{ANNA}")
        house.post("/sessions/start", house.start_body(site_id="nowhere"))

    said = capfd.readouterr()
    assert "session.planned" in said.out + said.err
    assert ANNA not in said.out + said.err


def test_a_defect_is_logged_without_the_path_or_the_row(
    sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _fail(*_args: object, **_values: object) -> None:
        with sqlite_house.parts.database.transaction() as db:
            db.connection().exec_driver_sql("INSERT INTO drivers VALUES (?, NULL)", (ANNA,))

    monkeypatch.setattr("backend.features.reports.erasure.require_driver", _fail)
    with structlog.testing.capture_logs(processors=[structlog.processors.format_exc_info]) as lines:
        answer = sqlite_house.get(f"/drivers/{ANNA}/export")

    assert answer.status_code == 500
    assert lines[-1]["event"] == "request.failed"
    assert ANNA not in repr(lines)


def test_erasing_one_leaves_who_is_called_alike(house: House) -> None:
    house.site()
    alike = f"{ANNA}0"
    _lived_in(house)
    other = house.start_body(number=2, charger=2)
    other["driver"]["did"] = alike
    session_id = house.post("/sessions/start", other).json()["session_id"]

    assert house.client.delete(f"/api/v1/drivers/{ANNA}").status_code == 200

    assert house.get(f"/sessions/{session_id}").json()["driver_did"] == alike
    assert alike in _tables(house)


def test_a_vehicle_of_others_keeps_its_name_and_loses_the_stay(house: House) -> None:
    house.site()
    _lived_in(house)
    shared = house.start_body(number=1, charger=2)
    shared["driver"]["did"] = "did:denso:driver:driver002"
    assert house.post("/sessions/start", shared).status_code == 200

    erased = house.client.delete(f"/api/v1/drivers/{ANNA}").json()

    assert erased["vehicles_forgotten"] == 0
    left = _tables(house)
    assert ANNA not in left
    assert CAR in left
    assert "40.0" not in [row for row in left.splitlines() if row.startswith("vehicle_telemetry")]


def test_who_is_charging_is_not_erased(house: House) -> None:
    house.site()
    house.start()

    answer = house.client.delete(f"/api/v1/drivers/{ANNA}")

    assert (answer.status_code, answer.json()["code"]) == (409, "driver_is_charging")
    assert ANNA in _tables(house)


def test_an_export_holds_everything_and_no_secret(house: House) -> None:
    house.site()
    session_id = _lived_in(house)

    exported = house.get(f"/drivers/{ANNA}/export")
    held: dict[str, Any] = json.loads(exported.text)

    assert exported.headers["Cache-Control"] == "no-store"
    assert held["driver"] == ANNA
    assert [one["id"] for one in held["sessions"]] == [session_id]
    for name in ("trips", "bills", "meter_values", "reservations", "cards", "vehicles"):
        assert len(held[name]) == 1, name
    assert held["telemetry"]
    assert held["cards"][0]["last4"] == "6180"
    assert "card_hash" not in held["cards"][0]
    assert "reservation.made" not in [one["action"] for one in held["sessions"] if "action" in one]


def test_only_the_driver_and_administrators_export_and_erase(town: Town) -> None:
    anna, bert = town.driver(), town.driver().log_in(town.house)
    town.end(town.start(anna))
    anna.log_in(town.house)
    operator = Caller()
    employment = {"employer": "Sites Ltd", "role": "operator", "sites": ["site_hq"]}
    operator.credentials = [town.says(operator.did, "Employment", **employment)]
    operator.log_in(town.house)

    for who in (bert, operator):
        assert who.get(town.house, f"/drivers/{anna.did}/export").status_code == 404
        assert who.send(town.house, "DELETE", f"/drivers/{anna.did}").status_code == 404
    assert town.admin.get(town.house, f"/drivers/{anna.did}/export").status_code == 200
    assert anna.get(town.house, f"/drivers/{anna.did}/export").status_code == 200
    assert anna.send(town.house, "DELETE", f"/drivers/{anna.did}").status_code == 200

    assert anna.get(town.house, "/auth/me").status_code == 401  # the token ended with it
    assert anna.did not in _tables(town.house)


def test_the_trail_forgets_whose_alias_it_was_and_stays_whole(town: Town) -> None:
    anna = town.driver()
    started = town.end(town.start(anna))
    with town.house.parts.database.transaction() as db:
        alias = alias_of(db, anna.did)
        assert who_is(db, alias) == anna.did
        notes = db.scalars(select(AuditEvent.actor).where(AuditEvent.action == "session.started"))
        assert alias in notes.all()
    anna.log_in(town.house).send(town.house, "DELETE", f"/drivers/{anna.did}")
    close_chain_now(town.house.parts.database)

    with town.house.parts.database.reading() as db:
        assert who_is(db, alias) is None
        assert first_broken_link(db) is None
        assert db.get_one(ChargingSession, started["session_id"]).proved is None


def test_an_erased_name_is_given_to_nobody(house: House) -> None:
    house.site()
    _lived_in(house)
    assert house.client.delete(f"/api/v1/drivers/{ANNA}").status_code == 200

    with house.parts.database.transaction() as db, pytest.raises(DidTaken):
        dids.register(db, ANNA, controller=Caller().did, by="did:x:operator", now=house.clock.now())
