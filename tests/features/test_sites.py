"""Sites, chargers, tariffs and prices over HTTP."""

from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select

from backend.adapters.events.outbox import OutboxEvent
from backend.features.credentials.models import AuditEvent
from tests.conftest import House

CHARGER = "did:denso:charger:site_hq_chr01"
NEW_SITE = {
    "site_id": "site_harbour",
    "name": "Harbour car park",
    "kind": "public",
    "timezone": "Europe/Helsinki",
    "country": "FI",
    "grid_limit_kw": 120,
    "location": {"lat": 60.1, "lon": 24.9},
}


def patch(house: House, path: str, body: dict[str, Any], etag: str | None = None) -> Response:
    headers = {} if etag is None else {"If-Match": etag}
    return house.client.patch(f"/api/v1{path}", json=body, headers=headers)


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


def test_a_site_reads_as_it_was_created(house: House) -> None:
    created = house.post("/sites", NEW_SITE)

    assert created.status_code == 201
    assert created.headers["Location"] == "/api/v1/sites/site_harbour"
    site = house.get("/sites/site_harbour").json()
    assert site == created.json()
    assert NEW_SITE.items() <= site.items()
    assert site["currency"] == "EUR"
    assert (site["chargers"], site["chargers_available"]) == (0, 0)


def test_a_site_id_is_taken_once(house: House) -> None:
    house.post("/sites", NEW_SITE)

    again = house.post("/sites", {**NEW_SITE, "name": "Another"})

    refused(again, 409, "site_exists")
    assert house.get("/sites/site_harbour").json()["name"] == "Harbour car park"


@pytest.mark.parametrize(
    "change",
    [
        {"site_id": "Site HQ"},
        {"site_id": "x"},
        {"name": ""},
        {"name": "a\x00b"},
        {"kind": "garage"},
        {"timezone": "Europe/Atlantis"},
        {"country": "Finland"},
        {"grid_limit_kw": 0},
        {"grid_limit_kw": -5},
        {"grid_limit_kw": 1e308},
        {"location": {"lat": 91, "lon": 0}},
        {"colour": "blue"},
    ],
)
def test_a_malformed_site_is_refused(sqlite_house: House, change: dict[str, Any]) -> None:
    answer = sqlite_house.post("/sites", {**NEW_SITE, **change})

    problem = refused(answer, 422, "malformed_request")
    assert problem["errors"][0]["pointer"].startswith(f"/body/{next(iter(change))}")
    assert sqlite_house.get("/sites").json()["data"] == []


def test_the_list_counts_chargers_and_those_that_are_free(house: House) -> None:
    house.site("site_hq", chargers=3)
    house.site("site_mall", chargers=2)
    house.site("site_void", chargers=0)
    house.start()
    patch(house, "/chargers/did:denso:charger:site_mall_chr01", {"status": "faulted"})

    sites = house.get("/sites").json()["data"]

    assert [(one["site_id"], one["chargers"], one["chargers_available"]) for one in sites] == [
        ("site_hq", 3, 2),
        ("site_mall", 2, 1),
        ("site_void", 0, 0),
    ]


def test_chargers_are_listed_by_site_and_by_state(house: House) -> None:
    house.site("site_hq", chargers=3)
    house.site("site_mall", chargers=1)
    house.start()

    def listed(query: str) -> list[str]:
        data = house.get(f"/chargers{query}").json()["data"]
        return [one["did"].rpartition(":")[2] for one in data]

    assert listed("") == ["site_hq_chr01", "site_hq_chr02", "site_hq_chr03", "site_mall_chr01"]
    assert listed("?site_id=site_mall") == ["site_mall_chr01"]
    assert listed("?site_id=site_hq&available_only=true") == ["site_hq_chr02", "site_hq_chr03"]
    assert listed("?available_only=false&site_id=site_hq") == [
        "site_hq_chr01",
        "site_hq_chr02",
        "site_hq_chr03",
    ]


def test_sites_and_chargers_come_a_hundred_at_a_time(house: House) -> None:
    house.site(chargers=101)

    first = house.get("/chargers").json()
    second = house.get(f"/chargers?cursor={first['next_cursor']}").json()

    assert (len(first["data"]), first["has_more"]) == (100, True)
    assert (len(second["data"]), second["has_more"]) == (1, False)
    dids = [one["did"] for one in first["data"] + second["data"]]
    assert dids == sorted(set(dids))


def test_a_charger_reads_as_it_was_created(house: House) -> None:
    house.post("/sites", NEW_SITE)
    new = {
        "did": "did:denso:charger:site_harbour_chr01",
        "site_id": "site_harbour",
        "max_power_kw": 22,
        "location": {"lat": 60.1, "lon": 24.9},
    }

    created = house.post("/chargers", new)

    assert created.status_code == 201
    charger = house.get(f"/chargers/{new['did']}").json()
    assert charger == created.json()
    assert new.items() <= charger.items()
    assert charger["status"] == "available"
    assert charger["is_available"] is True
    assert charger["tariff_eur_per_kwh"] == 0.3
    refused(house.post("/chargers", new), 409, "charger_exists")
    elsewhere = {**new, "did": "did:denso:charger:x", "site_id": "site_nowhere"}
    refused(house.post("/chargers", elsewhere), 404, "site_not_found")


def test_what_does_not_exist_is_not_found(house: House) -> None:
    refused(house.get("/sites/site_nowhere"), 404, "site_not_found")
    refused(house.get("/sites/site_nowhere/tariffs"), 404, "site_not_found")
    refused(house.get("/sites/site_nowhere/analytics"), 404, "site_not_found")
    refused(patch(house, "/sites/site_nowhere", {"name": "x"}), 404, "site_not_found")
    refused(house.get("/chargers/did:denso:charger:none"), 404, "charger_not_found")
    gone = patch(house, "/chargers/did:denso:charger:none", {"max_power_kw": 5})
    refused(gone, 404, "charger_not_found")


def test_a_site_changed_since_it_was_read_is_not_overwritten(house: House) -> None:
    house.site()
    read = house.get("/sites/site_hq").headers["ETag"]

    first = patch(house, "/sites/site_hq", {"grid_limit_kw": 450}, read)
    second = patch(house, "/sites/site_hq", {"grid_limit_kw": 60}, read)
    third = patch(house, "/sites/site_hq", {"name": "HQ"}, first.headers["ETag"])

    assert first.status_code == 200
    refused(second, 412, "precondition_failed")
    assert third.status_code == 200
    site = house.get("/sites/site_hq").json()
    assert (site["grid_limit_kw"], site["name"]) == (450, "HQ")


def test_a_charger_changed_since_it_was_read_is_not_overwritten(house: House) -> None:
    house.site()
    read = house.get(f"/chargers/{CHARGER}").headers["ETag"]

    first = patch(house, f"/chargers/{CHARGER}", {"max_power_kw": 50}, read)
    second = patch(house, f"/chargers/{CHARGER}", {"max_power_kw": 22}, read)
    house.start()
    third = patch(house, f"/chargers/{CHARGER}", {"max_power_kw": 11}, first.headers["ETag"])

    assert first.status_code == 200
    refused(second, 412, "precondition_failed")
    refused(third, 412, "precondition_failed")  # a session began there meanwhile
    assert house.get(f"/chargers/{CHARGER}").json()["max_power_kw"] == 50


def test_without_an_etag_or_with_a_star_the_change_is_made(house: House) -> None:
    house.site()

    assert patch(house, "/sites/site_hq", {"name": "A"}).status_code == 200
    assert patch(house, "/sites/site_hq", {"name": "B"}, "*").status_code == 200

    assert house.get("/sites/site_hq").json()["name"] == "B"


def test_the_state_of_an_occupied_charger_is_not_changed_by_hand(house: House) -> None:
    house.site()
    house.start()

    answer = patch(house, f"/chargers/{CHARGER}", {"status": "available"})

    refused(answer, 409, "charger_occupied")
    assert house.get(f"/chargers/{CHARGER}").json()["status"] == "occupied"
    assert patch(house, f"/chargers/{CHARGER}", {"max_power_kw": 100}).status_code == 200


def test_a_charger_cannot_be_made_occupied_by_hand(house: House) -> None:
    house.site()

    answer = patch(house, f"/chargers/{CHARGER}", {"status": "occupied"})

    refused(answer, 422, "malformed_request")


def test_changes_are_told_and_noted(house: House) -> None:
    house.site(chargers=1)
    patch(house, "/sites/site_hq", {"grid_limit_kw": 450})
    patch(house, f"/chargers/{CHARGER}", {"status": "faulted"})
    house.post("/sites/site_hq/tariffs", {"kind": "sales", "eur_per_kwh": 0.4})

    with house.parts.database.reading() as db:
        events = db.scalars(select(OutboxEvent.type).order_by(OutboxEvent.id)).all()
        notes = db.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()

    assert events == [
        "site.created",
        "charger.created",
        "site.changed",
        "charger.changed",
        "price.changed",
    ]
    assert notes == [
        "site.created",
        "charger.created",
        "site.changed",
        "charger.changed",
        "tariff.added",
    ]


def price_of(house: House, did: str = CHARGER) -> float:
    return float(house.get(f"/chargers/{did}").json()["tariff_eur_per_kwh"])


def add(house: House, **tariff: Any) -> dict[str, Any]:
    answer = house.post("/sites/site_hq/tariffs", {"kind": "sales", **tariff})
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


def test_tariffs_are_versioned_and_the_newest_is_in_force(house: House) -> None:
    house.site()

    added = [add(house, eur_per_kwh=0.31), add(house, eur_per_kwh=0.32)]

    assert [one["version"] for one in added] == [2, 3]
    assert price_of(house) == 0.32
    known = house.get("/sites/site_hq/tariffs").json()
    assert [one["eur_per_kwh"] for one in known["sales"]] == [0.32, 0.31, 0.3]
    assert [one["version"] for one in known["sales"]] == [3, 2, 1]


def test_a_tariff_begins_when_it_is_valid(house: House) -> None:
    house.site()
    add(house, eur_per_kwh=0.5, valid_from="2026-03-10T11:00:00Z")

    before = price_of(house)
    house.clock.advance(hours=1)
    after = price_of(house)

    assert (before, after) == (0.3, 0.5)


def test_a_chargers_own_tariff_beats_the_sites(house: House) -> None:
    house.site()
    add(house, eur_per_kwh=0.2, charger_did=CHARGER)
    add(house, eur_per_kwh=0.6)

    own = house.start(number=1, soc_percent=10)
    sites = house.start(number=2, charger=2, soc_percent=10)

    assert price_of(house) == 0.2
    assert price_of(house, "did:denso:charger:site_hq_chr02") == 0.6
    listed = {
        one["did"]: one["tariff_eur_per_kwh"] for one in house.get("/chargers").json()["data"]
    }
    assert listed[CHARGER] == 0.2
    assert own["plan"]["formula"]["cost_eur"] == pytest.approx(18.42 * 0.2)
    assert own["plan"]["planned_cost_eur"] == pytest.approx(18.42 * 0.2, abs=0.01)
    assert sites["plan"]["planned_cost_eur"] == pytest.approx(18.42 * 0.6, abs=0.01)


def test_a_tariff_of_a_charger_elsewhere_is_refused(house: House) -> None:
    house.site("site_hq")
    house.site("site_mall")
    tariff = {"kind": "sales", "eur_per_kwh": 0.2, "charger_did": CHARGER}

    answer = house.post("/sites/site_mall/tariffs", tariff)

    refused(answer, 404, "charger_not_found")


@pytest.mark.parametrize(
    "tariff",
    [
        {"eur_per_kwh": 0.2},
        {"kind": "gift", "eur_per_kwh": 0.2},
        {"kind": "sales"},
        {"kind": "sales", "eur_per_kwh": -0.1},
        {"kind": "sales", "eur_per_kwh": 0.2, "vat_percent": 101},
        {"kind": "sales", "eur_per_kwh": 0.2, "valid_from": "2026-03-10T10:00:00"},
        {"kind": "purchase", "eur_per_kwh_by_hour": [0.1] * 23},
        {"kind": "purchase", "eur_per_kwh_by_hour": [0.1] * 25},
        {"kind": "purchase", "eur_per_kwh": 0.2},
    ],
)
def test_a_malformed_tariff_is_refused(sqlite_house: House, tariff: dict[str, Any]) -> None:
    sqlite_house.site()

    answer = sqlite_house.post("/sites/site_hq/tariffs", tariff)

    refused(answer, 422, "malformed_request")
    assert len(sqlite_house.get("/sites/site_hq/tariffs").json()["sales"]) == 1


def test_a_purchase_price_is_versioned_and_changes_the_next_plan(house: House) -> None:
    house.site()
    before = house.start(number=1, soc_percent=10, distance_km=300, hours=8)["plan"]

    added = house.post(
        "/sites/site_hq/tariffs",
        {"kind": "purchase", "eur_per_kwh_by_hour": [0.4] * 16 + [0.1] * 8},
    ).json()
    after = house.start(number=2, charger=2, soc_percent=10, distance_km=300, hours=8)["plan"]

    assert (added["kind"], added["version"]) == ("purchase", 2)
    assert before["slots"][0]["purchase_price_eur_per_kwh"] == 0.12
    assert before["planned_start_time"] == "2026-03-10T10:00:00Z"
    assert after["planned_start_time"] >= "2026-03-10T14:00:00Z"  # 16:00 in Helsinki
    assert {one["purchase_price_eur_per_kwh"] for one in after["slots"]} == {0.1}
    known = house.get("/sites/site_hq/tariffs").json()["purchase"]
    assert [one["version"] for one in known] == [2, 1]


def test_a_purchase_price_waits_until_it_is_valid(house: House) -> None:
    house.site()
    price = {
        "kind": "purchase",
        "valid_from": "2026-03-11T00:00:00Z",
        "eur_per_kwh_by_hour": [0.4] * 24,
    }
    assert house.post("/sites/site_hq/tariffs", price).status_code == 201

    plan = house.start(soc_percent=10)["plan"]

    assert {one["purchase_price_eur_per_kwh"] for one in plan["slots"]} == {0.12}
