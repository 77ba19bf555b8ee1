"""A session over HTTP: completed, cancelled, suspended, expired; its site planned anew."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select, update

from backend.adapters.events.outbox import OutboxEvent
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.models import AuditEvent
from backend.features.forecasts.models import DemandInterval
from backend.features.sessions import completion
from backend.features.sessions.desk import open_desk
from backend.features.sessions.models import ChargeDetailRecord, SitePlan
from backend.features.sessions.problems import EnergyImplausible
from backend.features.sessions.replanning import replan_all, sweep_now
from backend.features.sessions.schemas import SessionComplete
from backend.features.sites.models import Site
from tests.conftest import House

CHARGER = "did:denso:charger:site_hq_chr01"


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


def bill_of(house: House, session_id: str) -> ChargeDetailRecord:
    with house.parts.database.reading() as db:
        query = select(ChargeDetailRecord).where(ChargeDetailRecord.session_id == session_id)
        return db.scalars(query).one()


def charger_status(house: House, did: str = CHARGER) -> str:
    return str(house.get(f"/chargers/{did}").json()["status"])


def plan_version(house: House, site_id: str = "site_hq") -> int:
    with house.parts.database.reading() as db:
        return db.get_one(Site, site_id).plan_version


def plans_by_cause(house: House) -> dict[str, int]:
    with house.parts.database.reading() as db:
        query = select(SitePlan.cause, func.count()).group_by(SitePlan.cause)
        return {row[0]: row[1] for row in db.execute(query)}


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def meter(house: House, session_id: str, energy_kwh: float) -> Response:
    reading = {
        "at": f"{house.clock.now():%Y-%m-%dT%H:%M:%SZ}",
        "energy_delivered_kwh": energy_kwh,
    }
    answer: Response = house.post(f"/sessions/{session_id}/meter-values", {"values": [reading]})
    return answer


def test_completing_answers_with_the_bill(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=51, distance_km=400)["session_id"]
    house.clock.advance(hours=2)

    answer = house.post(
        f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 25.5, "final_soc_percent": 85}
    )

    assert answer.status_code == 200
    done = answer.json()
    assert done["session_id"] == session_id
    assert done["final_cost_eur"] == 7.65
    assert done["energy_delivered_kwh"] == 25.5
    assert done["duration_hours"] == 2
    assert "25.5 kWh" in done["message"]
    assert "7.65 EUR" in done["message"]
    assert done["status"] == "completed"
    assert done["plausibility"] == "plausible"
    assert done["short_by_kwh"] == pytest.approx(75 * 0.49 - 25.5)  # the battery had no more room
    view = house.get(f"/sessions/{session_id}").json()
    assert view["status"] == "completed"
    assert view["end_time"] == "2026-03-10T12:00:00Z"
    assert view["energy_delivered_kwh"] == 25.5
    assert view["final_cost_eur"] == 7.65
    assert view["final_soc_percent"] == 85
    assert view["plausibility"] == "plausible"


def test_a_bill_is_exact_to_the_cent_and_contains_its_tax(house: House) -> None:
    house.site()
    tariff = {
        "kind": "sales",
        "eur_per_kwh": 0.333,
        "eur_per_session": 0.5,
        "idle_eur_per_hour": 3,
        "vat_percent": 24,
    }
    assert house.post("/sites/site_hq/tariffs", tariff).status_code == 201
    session_id = house.start(hours=1)["session_id"]
    house.clock.advance(hours=1, minutes=45)  # half an hour too long after the time of grace

    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 10.123}).json()

    bill = bill_of(house, session_id)
    assert bill.energy_eur == Decimal("3.37")  # 3.370959
    assert bill.session_eur == Decimal("0.50")
    assert bill.idle_eur == Decimal("1.50")
    assert bill.discount_eur == 0
    assert bill.total_eur == Decimal("5.37")
    assert bill.vat_eur == Decimal("1.04")  # 5.37 x 24 / 124 = 1.0394
    assert bill.energy_kwh == Decimal("10.123")
    assert bill.energy_source == "caller"
    assert done["final_cost_eur"] == 5.37


def test_the_bill_goes_by_the_tariff_at_the_start(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    dearer = {"kind": "sales", "eur_per_kwh": 0.9}
    assert house.post("/sites/site_hq/tariffs", dearer).status_code == 201
    house.clock.advance(hours=1)

    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 10}).json()

    assert done["final_cost_eur"] == 3.0


def test_the_bill_holds_what_the_site_paid_and_would_have_paid(house: House) -> None:
    house.site()
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 15 + [0.05] * 9}
    house.post("/sites/site_hq/tariffs", price)
    session_id = house.start(soc_percent=10, distance_km=300, hours=8)["session_id"]
    house.clock.advance(hours=8)

    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 57.3})

    bill = bill_of(house, session_id)
    assert float(bill.purchase_eur) == pytest.approx(57.3 * 0.05, abs=1e-3)
    assert float(bill.uncontrolled_purchase_eur) == pytest.approx(57.3 * 0.30, abs=1e-3)


def test_a_session_ends_once(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    first = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 10})

    again = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 99})

    assert first.status_code == 200
    refused(again, 409, "session_ended")
    refused(house.post(f"/sessions/{session_id}/cancel"), 409, "session_ended")
    refused(meter(house, session_id, 5), 409, "session_ended")
    assert bill_of(house, session_id).energy_kwh == 10
    assert house.get(f"/sessions/{session_id}").json()["final_cost_eur"] == 3.0


def test_cancelling_bills_what_was_metered(house: House) -> None:
    house.site()
    metered = house.start(number=1)["session_id"]
    unmetered = house.start(number=2, charger=2)["session_id"]
    house.clock.advance(hours=1)
    assert meter(house, metered, 8).status_code == 200

    first = house.post(f"/sessions/{metered}/cancel").json()
    second = house.post(f"/sessions/{unmetered}/cancel").json()

    assert (first["status"], first["energy_delivered_kwh"]) == ("cancelled", 8)
    assert first["final_cost_eur"] == 2.4
    assert (second["status"], second["energy_delivered_kwh"]) == ("cancelled", 0)
    assert second["final_cost_eur"] == 0


def test_the_meter_outranks_the_body(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    meter(house, session_id, 12)

    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 99}).json()

    assert done["energy_delivered_kwh"] == 12
    assert done["final_cost_eur"] == 3.6
    assert done["overridden"] == [{"field": "energy_delivered_kwh", "stated": 99, "used": 12}]
    assert bill_of(house, session_id).energy_source == "meter"


def test_the_demo_takes_energy_that_cannot_be_and_marks_the_bill(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]

    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 25.5}).json()

    assert done["final_cost_eur"] == 7.65
    assert done["duration_hours"] == 0
    assert done["plausibility"] == "implausible"
    assert "25.50 kWh in 0.00 h" in done["plausibility_reason"]
    bill = bill_of(house, session_id)
    assert bill.plausibility == "implausible"
    assert bill.plausibility_reason == done["plausibility_reason"]
    with house.parts.database.reading() as db:  # the energy is in the demand all the same
        assert db.scalar(select(func.sum(DemandInterval.energy_kwh))) == pytest.approx(25.5)


def test_production_refuses_energy_that_cannot_be(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(minutes=6)
    possible_kwh = 150 * 0.1

    with house.parts.database.writing() as db:
        said = SessionComplete(energy_delivered_kwh=possible_kwh * 1.1)
        with pytest.raises(EnergyImplausible):
            completion.complete(
                db, session_id, said, holder=DEMO_HOLDER, is_demo=False, now=house.clock.now()
            )

    assert house.get(f"/sessions/{session_id}").json()["status"] == "active"
    with house.parts.database.writing() as db:
        said = SessionComplete(energy_delivered_kwh=possible_kwh)
        done = completion.complete(
            db, session_id, said, holder=DEMO_HOLDER, is_demo=False, now=house.clock.now()
        )
        db.commit()
    assert done.plausibility == "plausible"


def test_the_charger_follows_the_session(house: House) -> None:
    house.site()
    free_before = len(house.get("/chargers?available_only=true").json()["data"])

    session_id = house.start()["session_id"]
    while_charging = charger_status(house)
    free_meanwhile = len(house.get("/chargers?available_only=true").json()["data"])
    house.post(f"/sessions/{session_id}/complete", {})

    assert (free_before, free_meanwhile) == (4, 3)
    assert while_charging == "occupied"
    assert charger_status(house) == "available"
    house.start()  # charger and vehicle are free again


def test_every_change_moves_the_plan_version_of_the_site(house: House) -> None:
    house.site()
    versions = [plan_version(house)]

    first = house.start(number=1)
    versions.append(plan_version(house))
    second = house.start(number=2, charger=2)
    versions.append(plan_version(house))
    house.post(f"/sessions/{first['session_id']}/complete", {})
    versions.append(plan_version(house))

    assert versions == sorted(set(versions))
    assert second["plan"]["version"] == versions[2]


def test_when_one_leaves_the_others_are_planned_again_once(house: House) -> None:
    house.site(grid_limit_kw=20)
    leaving = house.start(number=1, soc_percent=20, hours=1)["session_id"]
    staying = house.start(
        number=2, charger=2, soc_percent=20, hours=1, preferences={"priority": "speed"}
    )
    assert staying["plan"]["is_feasible"] is False  # 21.84 kWh for two from 20 kW in an hour
    house.post(f"/sessions/{leaving}/complete", {})

    house.settle()

    plan = house.get(f"/sessions/{staying['session_id']}/plan").json()
    assert plan["is_feasible"] is True
    assert plan["version"] > staying["plan"]["version"]
    assert plan["planned_energy_kwh"] == pytest.approx(10.92, abs=1e-3)
    assert plans_by_cause(house)["session.completed"] == 1
    _deliver_again(house, "session.completed")
    assert plans_by_cause(house)["session.completed"] == 1


def _deliver_again(house: House, event_type: str) -> None:
    """As if the relay had stopped before it could note the delivery."""
    with house.parts.database.transaction() as db:
        changed = update(OutboxEvent).where(OutboxEvent.type == event_type)
        db.execute(changed.values(delivered_at=None))
    house.settle()
    with house.parts.database.reading() as db:
        query = select(func.count()).where(
            OutboxEvent.type == event_type, OutboxEvent.delivered_at.is_(None)
        )
        assert db.scalar(query) == 0


def test_a_lower_limit_has_the_site_planned_again(house: House) -> None:
    house.site(grid_limit_kw=200)
    started = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})
    assert started["plan"]["slots"][0]["power_kw"] == pytest.approx(127.5, abs=1e-3)

    house.client.patch("/api/v1/sites/site_hq", json={"grid_limit_kw": 40})
    house.settle()

    plan = house.get(f"/sessions/{started['session_id']}/plan").json()
    assert max(slot["power_kw"] for slot in plan["slots"]) <= 40
    assert plan["is_feasible"] is True


def test_a_weaker_charger_has_its_session_planned_with_less_power(house: House) -> None:
    house.site()
    started = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})

    house.client.patch(f"/api/v1/chargers/{CHARGER}", json={"max_power_kw": 50})
    house.settle()

    plan = house.get(f"/sessions/{started['session_id']}/plan").json()
    assert max(slot["power_kw"] for slot in plan["slots"]) <= 50 * 0.85 + 1e-6
    assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=1e-3)


def test_a_new_price_has_the_site_planned_again(house: House) -> None:
    house.site()
    started = house.start(soc_percent=10, distance_km=300, hours=8)
    cheap_late = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 16 + [0.05] * 8}

    house.post("/sites/site_hq/tariffs", cheap_late)
    house.settle()

    plan = house.get(f"/sessions/{started['session_id']}/plan").json()
    assert all(when(slot["start"]) >= when("2026-03-10T14:00:00Z") for slot in plan["slots"])


def test_a_session_that_overstays_in_silence_gives_up_its_power_and_keeps_the_charger(
    house: House,
) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=1)["session_id"]
    house.clock.advance(hours=1, minutes=15)
    sweep_now(house.parts)
    status_in_grace = house.get(f"/sessions/{session_id}").json()["status"]

    house.clock.advance(seconds=1)
    sweep_now(house.parts)
    house.settle()

    assert status_in_grace == "active"
    view = house.get(f"/sessions/{session_id}").json()
    assert view["status"] == "suspended"
    assert view["plan"]["slots"] == []
    assert charger_status(house) == "occupied"
    refused(house.post("/sessions/start", house.start_body(number=2)), 409, "charger_in_use")
    house.clock.advance(minutes=59, seconds=59)
    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 57.3}).json()
    assert done["final_cost_eur"] == 17.19
    assert bill_of(house, session_id).idle_eur == 0  # the default tariff has no idle fee


def test_the_idle_fee_runs_from_a_quarter_of_an_hour_after_departure(house: House) -> None:
    house.site()
    house.post(
        "/sites/site_hq/tariffs", {"kind": "sales", "eur_per_kwh": 0, "idle_eur_per_hour": 4}
    )
    in_time = house.start(number=1, hours=1)["session_id"]
    late = house.start(number=2, charger=2, hours=1)["session_id"]
    charging = house.start(number=3, charger=3, hours=1)["session_id"]
    house.clock.advance(hours=1, minutes=15)
    house.post(f"/sessions/{in_time}/complete", {})
    house.clock.advance(minutes=45)
    meter(house, charging, 20)  # still charging an hour after its departure
    house.clock.advance(minutes=30)

    house.post(f"/sessions/{late}/complete", {})
    house.post(f"/sessions/{charging}/complete", {})

    assert bill_of(house, in_time).idle_eur == 0
    assert bill_of(house, late).idle_eur == Decimal("5.00")
    assert bill_of(house, charging).idle_eur == Decimal("1.00")


def test_readings_keep_a_late_session_going_and_wake_it_up(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=1)["session_id"]
    house.clock.advance(hours=1, minutes=10)
    meter(house, session_id, 20)
    house.clock.advance(minutes=10)
    sweep_now(house.parts)
    kept = house.get(f"/sessions/{session_id}").json()["status"]
    house.clock.advance(minutes=6)
    sweep_now(house.parts)
    silent = house.get(f"/sessions/{session_id}").json()["status"]

    meter(house, session_id, 25)

    assert (kept, silent) == ("active", "suspended")
    assert house.get(f"/sessions/{session_id}").json()["status"] == "active"


def test_a_day_later_the_session_expires_and_the_charger_is_free(house: House) -> None:
    house.site()
    session_id = house.start(hours=1)["session_id"]
    house.clock.advance(minutes=30)
    meter(house, session_id, 6)
    house.clock.advance(hours=2)
    sweep_now(house.parts)
    house.clock.advance(hours=22)
    sweep_now(house.parts)
    before = house.get(f"/sessions/{session_id}").json()["status"]

    house.clock.advance(hours=1)
    sweep_now(house.parts)

    assert before == "suspended"
    view = house.get(f"/sessions/{session_id}").json()
    assert view["status"] == "expired"
    assert view["energy_delivered_kwh"] == 6
    assert view["final_cost_eur"] == 1.8
    assert charger_status(house) == "available"
    refused(house.post(f"/sessions/{session_id}/complete", {}), 409, "session_ended")


def test_a_demo_house_asleep_for_days_expires_what_is_left(house: House) -> None:
    house.site()
    session_id = house.start(hours=1)["session_id"]
    house.clock.advance(days=3)

    sweep_now(house.parts)

    assert house.get(f"/sessions/{session_id}").json()["status"] == "expired"


def test_the_regular_replan_follows_the_meter(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, hours=8)["session_id"]
    house.clock.advance(minutes=30)
    meter(house, session_id, 40)

    planned = replan_all(house.parts, open_desk(house.parts), cause="regular")

    plan = house.get(f"/sessions/{session_id}/plan").json()
    assert planned == ["site_hq"]
    left_kwh = sum(slot["energy_kwh"] for slot in plan["slots"])
    assert left_kwh == pytest.approx(17.3, abs=0.01)
    assert all(when(slot["start"]) >= house.clock.now() for slot in plan["slots"])
    assert plan["is_feasible"] is True


def replan_every_five_minutes(house: House, *, hours: float) -> None:
    for _ in range(int(hours * 12)):
        house.clock.advance(minutes=5)
        replan_all(house.parts, open_desk(house.parts), cause="regular")


def test_without_a_meter_the_plan_is_taken_to_be_followed(house: House) -> None:
    house.site(grid_limit_kw=40)
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 13 + [0.10] * 11}
    house.post("/sites/site_hq/tariffs", price)
    wishes = {"carbon_conscious": True}
    started = house.start(soc_percent=10, distance_km=300, hours=6, preferences=wishes)
    session_id = started["session_id"]
    offer_id = started["plan"]["incentive_offers"][0]["offer_id"]
    house.post(f"/sessions/{session_id}/incentives/{offer_id}/accept")
    first = started["plan"]

    replan_every_five_minutes(house, hours=1.75)
    halfway = house.get(f"/sessions/{session_id}/plan").json()
    replan_every_five_minutes(house, hours=4.25)
    last = house.get(f"/sessions/{session_id}/plan").json()
    done = house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 57.3}).json()

    assert halfway["planned_finish_time"] == first["planned_finish_time"]
    for plan in (halfway, last):
        assert plan["is_feasible"] is True
        assert plan["planned_energy_kwh"] == pytest.approx(57.3, abs=0.01)
        assert plan["planned_cost_eur"] == pytest.approx(first["planned_cost_eur"], abs=0.01)
    assert last["slots"] == []
    assert done["reward_points"] == 50  # all of it in solar hours, as planned
    bill = bill_of(house, session_id)
    assert float(bill.purchase_eur) == pytest.approx(57.3 * 0.10, abs=0.01)
    with house.parts.database.reading() as db:
        rows = db.scalars(select(DemandInterval).order_by(DemandInterval.start_at)).all()
    assert [row.energy_kwh for row in rows][4:9] == pytest.approx([10] * 5, abs=0.01)
    assert sum(row.energy_kwh for row in rows) == pytest.approx(57.3)


def test_between_two_readings_the_plan_is_taken_to_be_followed(house: House) -> None:
    house.site(grid_limit_kw=20)
    started = house.start(
        soc_percent=10, distance_km=300, hours=6, preferences={"priority": "speed"}
    )
    session_id = started["session_id"]
    house.clock.advance(minutes=30)
    meter(house, session_id, 9.5)  # half a kWh less than planned
    replan_every_five_minutes(house, hours=0.5)

    plan = house.get(f"/sessions/{session_id}/plan").json()
    left_kwh = sum(slot["energy_kwh"] for slot in plan["slots"])
    assert left_kwh == pytest.approx(57.3 - 9.5 - 10, abs=0.01)
    meter(house, session_id, 19.4)
    house.settle()

    after = house.get(f"/sessions/{session_id}/plan").json()
    assert after["version"] == plan["version"]  # close enough to what was planned meanwhile
    house.clock.advance(minutes=30)
    meter(house, session_id, 19.4)  # it stopped
    house.settle()
    stalled = house.get(f"/sessions/{session_id}/plan").json()
    assert stalled["version"] > plan["version"]
    left_kwh = sum(slot["energy_kwh"] for slot in stalled["slots"])
    assert left_kwh == pytest.approx(57.3 - 19.4, abs=0.01)


def test_what_was_decided_is_in_the_audit_trail_and_in_the_events(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.post(f"/sessions/{session_id}/complete", {})

    with house.parts.database.reading() as db:
        notes = db.scalars(
            select(AuditEvent.action)
            .where(AuditEvent.object_id == session_id)
            .order_by(AuditEvent.id)
        ).all()
        events = db.execute(
            select(OutboxEvent.type, OutboxEvent.site_id, OutboxEvent.data)
            .where(OutboxEvent.session_id == session_id)
            .order_by(OutboxEvent.id)
        ).all()

    assert notes == ["session.started", "session.completed"]
    assert [event.type for event in events] == ["session.started", "session.completed"]
    assert {event.site_id for event in events} == {"site_hq"}
    assert not any("did:denso:driver" in str(event.data) for event in events)


def test_the_stay_and_the_energy_reach_the_demand_history(house: House) -> None:
    house.site()
    session_id = house.start(soc_percent=10, distance_km=300, preferences={"priority": "speed"})[
        "session_id"
    ]
    house.clock.advance(hours=2)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 57.3})

    with house.parts.database.reading() as db:
        rows = db.scalars(select(DemandInterval).order_by(DemandInterval.start_at)).all()

    assert [row.start_at for row in rows] == [
        when("2026-03-10T10:00:00Z") + i * timedelta(minutes=15) for i in range(8)
    ]
    assert [row.occupancy for row in rows] == pytest.approx([1.0] * 8)
    assert [row.sessions_started for row in rows] == [1] + [0] * 7
    assert sum(row.energy_kwh for row in rows) == pytest.approx(57.3)
    assert rows[0].energy_kwh == pytest.approx(127.5 / 4)  # charged as planned: at once
    assert rows[2].energy_kwh == 0
