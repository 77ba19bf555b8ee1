"""Starting with credentials, inline or by token: what they change, what they do not open."""

import hashlib
import threading
from typing import Any

import pytest

from backend.features.credentials.grants import assign_vehicle
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.sessions.models import ChargingSession
from backend.proofs.canonical import canonical_bytes
from tests.conftest import House
from tests.features.town import BATTERY, CAR, CHARGER, SPEC, Town
from tests.identities import Caller, administrator_of, challenge_for, trusted_issuer


def test_a_stranger_with_credentials_starts_inline_and_the_makers_word_counts(town: Town) -> None:
    anna = town.driver()

    started = town.start(anna, soc_percent=10)

    assert started.status_code == 200, started.text
    said = started.json()
    assert said["assurance"] == "verified"
    assert said["plan"]["needed_trip_energy_kwh"] == pytest.approx(120 * 0.2 * 1.2)
    assert said["plan"]["current_energy_kwh"] == pytest.approx(6.0)
    assert said["plan"]["effective_charge_power_kw"] == pytest.approx(100 * 0.85)
    changed = {one["field"]: one["used"] for one in said["overridden"]}
    assert changed["vehicle.battery_capacity_kwh"] == 60
    assert changed["vehicle.nominal_consumption_wh_per_km"] == 200
    assert changed["vehicle.max_charge_power_kw"] == 100
    assert changed["driver.credentials"] == []
    kinds = {(one["credential_type"], one["issuer"]): one["used"] for one in said["proved"]}
    assert kinds == {
        ("SiteAccessCredential", town.issuer.did): True,
        ("VehicleSpecCredential", town.maker.did): True,
    }
    read = anna.log_in(town.house).get(town.house, f"/sessions/{said['session_id']}").json()
    assert read["proved"] == said["proved"]
    assert read["assurance"] == "verified"


def test_a_token_opens_the_sites_of_its_credentials_and_no_other(town: Town) -> None:
    anna = town.driver()
    assert town.start(anna).status_code == 200  # registers driver and vehicle
    anna.log_in(town.house)

    elsewhere = anna.post(town.house, "/sessions/start", town.body(anna, site_id="site_b"))
    quoted = anna.post(
        town.house,
        "/sessions/quote",
        {name: town.body(anna)[name] for name in ("driver", "vehicle", "trip")}
        | {"site_id": "site_b"},
    )
    reserved = anna.post(
        town.house,
        "/reservations",
        {
            "driver_did": anna.did,
            "site_id": "site_b",
            "from": "2026-03-10T12:00:00Z",
            "to": "2026-03-10T13:00:00Z",
        },
    )

    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "site_not_allowed")
    assert quoted.status_code in (403, 409)
    assert reserved.status_code == 403


def test_a_presentation_for_one_charger_starts_no_other(town: Town) -> None:
    anna = town.driver()
    given = challenge_for(town.house, f"session-start:{CHARGER}")
    proof = {"presentation": anna.present(given), "challenge": given["challenge"]}

    answer = town.house.post("/sessions/start", town.body(anna, charger=2) | proof)

    assert (answer.status_code, answer.json()["code"]) == (401, "challenge_refused")


def test_a_presentation_works_once_however_many_bring_it(town: Town) -> None:
    anna = town.driver()
    given = challenge_for(town.house, f"session-start:{CHARGER}")
    body = town.body(anna) | {
        "presentation": anna.present(given),
        "challenge": given["challenge"],
    }
    answers: list[int] = []

    def _send() -> None:
        answers.append(town.house.post("/sessions/start", body).status_code)

    threads = [threading.Thread(target=_send) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(answers) == [200, 401, 401, 401, 401, 401]


def test_a_challenge_bound_to_a_body_takes_no_other_body(town: Town) -> None:
    anna = town.driver()
    body = town.body(anna)
    digest = hashlib.sha256(canonical_bytes(body)).hexdigest()
    purpose = f"session-start:{CHARGER}"

    def _with(changed: dict[str, Any]) -> Any:
        given = challenge_for(town.house, purpose, body_sha256=digest)
        proof = {"presentation": anna.present(given), "challenge": given["challenge"]}
        return town.house.post("/sessions/start", changed | proof)

    other = _with(body | {"trip": {**body["trip"], "distance_km": 500}})
    same = _with(body)

    assert (other.status_code, same.status_code) == (401, 200)


def test_a_repetition_with_a_new_presentation_is_the_same_request(town: Town) -> None:
    anna = town.driver()
    body = town.body(anna)

    def _send(one: Caller, said: dict[str, Any]) -> Any:
        given = challenge_for(town.house, f"session-start:{CHARGER}")
        proof = {"presentation": one.present(given), "challenge": given["challenge"]}
        headers = {"Idempotency-Key": "again"}
        return town.house.post("/sessions/start", said | proof, headers=headers)

    first, second = _send(anna, body), _send(anna, body)
    other = _send(anna, body | {"cost_center": "other"})
    thief = _send(town.driver(), body)

    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert other.json()["code"] == "idempotency_key_reused"
    assert thief.status_code == 403


def test_what_does_not_verify_is_refused_with_its_reason(town: Town) -> None:
    def _refusal(credential: str | None) -> tuple[int, set[str]]:
        one = Caller()
        one.credentials = [] if credential is None else [credential]
        if credential == "forged":
            one.credentials = [town.driver().credentials[0][:-8] + "AAAAAAAA"]
        answer = town.start(one)
        return answer.status_code, {found["reason"] for found in answer.json()["errors"]}

    access, now = {"site": "site_hq"}, town.house.clock.now()
    by_nobody = Caller().say(Caller().did, "SiteAccessCredential", access, now=now)
    anothers = town.driver().credentials[0]

    assert _refusal(None) == (403, set())
    for credential, reason in (
        ("forged", "signature_invalid"),
        (by_nobody, "untrusted_issuer"),
        (anothers, "holder_not_subject"),
    ):
        status, reasons = _refusal(credential)
        assert status == 401
        assert reason in reasons
    anna = town.driver()
    town.house.clock.advance(days=366)
    refused = town.start(anna)
    assert refused.status_code == 401
    assert "expired" in {found["reason"] for found in refused.json()["errors"]}


def test_nobody_starts_in_anothers_name_or_bills_whom_they_like(town: Town) -> None:
    anna, bert = town.driver(), town.driver()

    in_annas_name = town.start(bert, town.body(anna))
    paid_by_acme = town.start(bert, town.body(bert) | {"billing_party": "Acme"})

    assert in_annas_name.status_code == 403
    assert paid_by_acme.status_code == 200
    changed = {one["field"]: one for one in paid_by_acme.json()["overridden"]}
    assert changed["billing_party"] == {"field": "billing_party", "stated": "Acme", "used": None}


def test_a_contract_says_who_pays(town: Town) -> None:
    anna = town.driver()
    contract = {"provider": "Ringcharge", "contractHash": "ab" * 32}
    anna.credentials.append(town.says(anna.did, "ChargingContract", **contract))

    started = town.start(anna).json()
    read = anna.log_in(town.house).get(town.house, f"/sessions/{started['session_id']}").json()

    assert read["billing_party"] == "Ringcharge"


RATES = {"IN USE": 1.5, "SECOND_LIFE": 0.7, "END_OF_LIFE": 0.3, "MANUFACTURED": 1.0}


def test_the_state_of_life_of_a_battery_caps_its_power(town: Town) -> None:
    for status, rate in RATES.items():
        anna = town.driver()
        certificate = BATTERY | {"lifecycleStatus": status}
        anna.credentials.append(town.says(CAR, "BatteryBirthCertificate", **certificate))

        plan = town.end(town.start(anna, soc_percent=10))["plan"]

        assert plan["effective_charge_power_kw"] == pytest.approx(min(100 * 0.85, rate * 60))
        assert max(one["power_kw"] for one in plan["slots"]) <= rate * 60 + 1e-6


def test_a_chargers_own_specification_lowers_its_power_and_never_raises_it(town: Town) -> None:
    weak, strong, wrong = town.driver(), town.driver(), town.driver()
    spec = {"site": "site_hq", "connector": "ccs2"}
    weak.credentials.append(town.says(CHARGER, "ChargerSpec", maxPowerW=50_000, **spec))
    other = "did:denso:charger:site_hq_chr02"
    strong.credentials.append(town.says(other, "ChargerSpec", maxPowerW=400_000, **spec))
    wrong.credentials.append(town.says(other, "ChargerSpec", maxPowerW=20_000, **spec))

    def _power_kw(answer: Any) -> Any:
        return town.end(answer)["plan"]["effective_charge_power_kw"]

    assert _power_kw(town.start(weak)) == pytest.approx(50 * 0.85)
    assert _power_kw(town.start(strong, charger=2)) == pytest.approx(100 * 0.85)
    answer = town.start(wrong)
    assert _power_kw(answer) == pytest.approx(100 * 0.85)
    shown = {one["credential_type"]: one for one in answer.json()["proved"]}
    assert shown["ChargerSpecCredential"]["reason"] == "another_charger"


SLOT = {"slotFrom": "2026-03-10T09:00:00Z", "slotUntil": "2026-03-10T11:00:00Z", "tier": 1}


SLOTS: list[tuple[dict[str, Any], str | None]] = [
    ({"site": "site_hq"}, None),
    ({"site": "site_b"}, "another_site"),
    ({"site": "site_hq", "charger": "did:denso:charger:site_hq_chr02"}, "another_charger"),
    ({"site": "site_hq", "slotUntil": "2026-03-10T10:00:00Z"}, "outside_slot"),
    ({"site": "site_hq", "slotFrom": "2026-03-10T10:00:01Z"}, "outside_slot"),
]


def _stored(town: Town, started: dict[str, Any]) -> ChargingSession:
    with town.house.parts.database.reading() as db:
        return db.get_one(ChargingSession, started["session_id"])


def test_a_priority_slot_counts_here_and_now_alone(town: Town) -> None:
    for claims, reason in SLOTS:
        anna = town.driver()
        anna.credentials.append(town.says(anna.did, "PrioritySlot", **(SLOT | claims)))

        started = town.end(town.start(anna))

        shown = {one["credential_type"]: one for one in started["proved"]}["PrioritySlotCredential"]
        assert (shown["used"], shown["reason"]) == (reason is None, reason)
        stored = _stored(town, started)
        assert stored.priority_tier == (1 if reason is None else None)
        assert stored.has_priority_slot is (reason is None)


def test_naming_a_priority_slot_counts_for_nothing_in_production(town: Town) -> None:
    anna = town.driver()
    body = town.body(anna)
    body["driver"]["credentials"] = ["PrioritySlot:site_hq"]

    started = town.start(anna, body).json()

    assert not _stored(town, started).has_priority_slot


def test_a_vehicle_of_a_fleet_is_taken_by_its_drivers_alone(town: Town) -> None:
    with town.house.parts.database.transaction() as db:
        assign_vehicle(db, "north", CAR, holder=DEMO_HOLDER, now=town.house.clock.now())
    stranger, driver, of_south = town.driver(), town.driver(), town.driver()
    driver.credentials.append(town.says(driver.did, "FleetDriver", fleet="north"))
    of_south.credentials.append(town.says(of_south.did, "FleetDriver", fleet="south"))

    refused = [town.start(one) for one in (stranger, of_south)]
    taken = town.start(driver)

    assert {one.json()["code"] for one in refused} == {"vehicle_not_allowed"}
    assert taken.status_code == 200, taken.text


def test_a_site_admits_the_fleets_it_names(town: Town) -> None:
    admission = {"admission": {"guests": False, "fleets": ["north"]}}
    assert town.admin.send(town.house, "PATCH", "/sites/site_hq", admission).status_code == 200
    north, south = Caller(), Caller()
    for one, fleet in ((north, "north"), (south, "south")):
        one.credentials = [
            town.says(one.did, "FleetDriver", fleet=fleet),
            town.says(CAR, "VehicleSpec", **SPEC),
        ]

    assert town.start(south).status_code == 403
    assert town.start(north).status_code == 200


def test_a_token_and_a_presentation_are_of_one_caller(town: Town) -> None:
    anna, bert = town.driver().log_in(town.house), town.driver()
    given = challenge_for(town.house, f"session-start:{CHARGER}")
    body = town.body(anna)

    mixed = anna.post(
        town.house,
        "/sessions/start",
        body | {"presentation": bert.present(given), "challenge": given["challenge"]},
    )
    given = challenge_for(town.house, f"session-start:{CHARGER}")
    both = anna.post(
        town.house,
        "/sessions/start",
        body | {"presentation": anna.present(given), "challenge": given["challenge"]},
    )

    assert (mixed.status_code, mixed.json()["code"]) == (403, "presenter_is_another")
    assert both.status_code == 200


ODD: list[dict[str, Any]] = [
    {"presentation": "x" * 200_000, "challenge": "c" * 20},
    {"presentation": 7, "challenge": "c" * 20},
    {"presentation": "eyJ", "challenge": "c"},
    {"presentation": "eyJ"},
    {"challenge": "c" * 20},
    {"presentation": "eyJ", "challenge": "never-given-never-given"},
    {"presentation": {"a": {"b": {}}}, "challenge": "never-given-never-given"},
]


def test_odd_proofs_are_refused_also_where_nothing_needs_proof(sqlite_house: House) -> None:
    sqlite_house.site()

    for proof in ODD:
        answer = sqlite_house.post("/sessions/start", sqlite_house.start_body() | proof)
        assert answer.status_code in (401, 422), answer.text


def test_in_the_demo_a_real_presentation_makes_a_start_verified(sqlite_house: House) -> None:
    town_admin = administrator_of(sqlite_house)
    sqlite_house.site()
    issuer = trusted_issuer(sqlite_house, town_admin, "SiteAccessCredential")
    anna, now = Caller(), sqlite_house.clock.now()
    anna.credentials = [issuer.say(anna.did, "SiteAccessCredential", {"site": "site_hq"}, now=now)]
    body = sqlite_house.start_body()
    body["driver"]["did"] = anna.did
    given = challenge_for(sqlite_house, f"session-start:{CHARGER}")
    proof = {"presentation": anna.present(given), "challenge": given["challenge"]}

    verified = sqlite_house.post("/sessions/start", body | proof)
    simulated = sqlite_house.start(number=2, charger=2)

    assert verified.status_code == 200, verified.text
    assert verified.json()["assurance"] == "verified"
    assert simulated["assurance"] == "simulated"
    assert simulated["proved"] == []


def test_a_driver_does_not_meter_what_they_pay_for(town: Town) -> None:
    anna = town.driver()
    session_id = town.start(anna, soc_percent=10).json()["session_id"]
    anna.log_in(town.house)
    reading = {"values": [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": 0}]}
    path = f"/sessions/{session_id}/meter-values"

    assert anna.post(town.house, path, reading).status_code == 403
    assert town.admin.post(town.house, path, reading).status_code == 200
