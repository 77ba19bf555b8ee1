"""Guests: price first, last in line, one link, one pass, one session."""

import threading
from typing import Any

import pytest

from backend.features.credentials.challenges import AddressLimit
from backend.features.sessions import guests_router
from backend.features.sessions.models import ChargingSession, GuestPass, GuestQuote
from tests.conftest import House

CHARGER = "did:denso:charger:site_mall_chr01"


@pytest.fixture
def mall(house: House) -> House:
    """A house with a site that takes guests and one that does not."""
    house.site("site_mall")
    house.site("site_hq")
    body = {"admission": {"guests": True}}
    assert house.client.patch("/api/v1/sites/site_mall", json=body).status_code == 200
    return house


def _ask(**values: Any) -> dict[str, Any]:
    return {
        "charger_did": CHARGER,
        "vehicle": {"battery_capacity_kwh": 60, "current_soc_percent": 40},
        "trip": {"energy_kwh": 40, "departure_time": "2026-03-10T13:00:00Z"},
        **values,
    }


def _started(house: House) -> dict[str, Any]:
    quoted = house.post("/guests/quote", _ask()).json()
    answer = house.post("/guests/sessions", {"quote": quoted["quote"]})
    assert answer.status_code == 201, answer.text
    started: dict[str, Any] = answer.json()
    return started


def _secret(started: dict[str, Any]) -> str:
    return str(started["link"].partition("#")[2])


def test_a_guest_sees_the_price_starts_sees_and_stops(mall: House) -> None:
    quoted = mall.post("/guests/quote", _ask()).json()
    started = mall.post("/guests/sessions", {"quote": quoted["quote"]}).json()
    opened = mall.post("/guests/open", {"secret": _secret(started)}).json()
    key = {"Guest-Pass": opened["guest_pass"]}
    reading = {"values": [{"at": "2026-03-10T10:30:00Z", "energy_delivered_kwh": 10}]}
    mall.clock.advance(minutes=30)
    assert mall.post(f"/sessions/{started['session_id']}/meter-values", reading).status_code == 200
    seen = mall.get("/guests/session", headers=key).json()
    stopped = mall.post("/guests/session/stop", headers=key).json()

    assert quoted["price"]["eur_per_kwh"] == 0.3
    assert quoted["planned_cost_eur"] == started["planned_cost_eur"] > 0
    assert (seen["status"], seen["due_eur"], seen["is_final"]) == ("active", 3.0, False)
    assert (stopped["status"], stopped["due_eur"], stopped["is_final"]) == ("cancelled", 3.0, True)
    assert "did:denso:guest" not in str([quoted, started, opened, seen, stopped])
    assert mall.post("/guests/session/stop", headers=key).json()["code"] == "session_ended"


def test_a_quote_starts_once_even_when_many_try(mall: House) -> None:
    quoted = mall.post("/guests/quote", _ask()).json()
    answers: list[int] = []

    def _start() -> None:
        answers.append(mall.post("/guests/sessions", {"quote": quoted["quote"]}).status_code)

    threads = [threading.Thread(target=_start) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(answers) == [201, 409, 409, 409]
    with mall.parts.database.reading() as db:
        assert db.query(ChargingSession).count() == 1


def test_a_link_opens_once_and_only_its_own_session(mall: House) -> None:
    started = _started(mall)
    secret = _secret(started)

    first = mall.post("/guests/open", {"secret": secret})
    second = mall.post("/guests/open", {"secret": secret})
    guessed = mall.post("/guests/open", {"secret": "A" * 43})
    as_pass = mall.get("/guests/session", headers={"Guest-Pass": secret})

    assert first.json()["session"]["session_id"] == started["session_id"]
    assert (second.status_code, guessed.status_code, as_pass.status_code) == (404, 404, 404)
    bodies = [second.json(), guessed.json()]
    for body in bodies:
        del body["request_id"]
    assert bodies[0] == bodies[1]


def test_quotes_links_and_passes_expire(mall: House) -> None:
    late = mall.post("/guests/quote", _ask()).json()
    mall.clock.advance(minutes=5)
    assert (
        mall.post("/guests/sessions", {"quote": late["quote"]}).json()["code"] == "quote_not_good"
    )
    unopened = _secret(_started(mall))
    mall.clock.advance(hours=1)
    assert mall.post("/guests/open", {"secret": unopened}).status_code == 404


def test_a_pass_ends_two_days_after_the_departure(mall: House) -> None:
    opened = mall.post("/guests/open", {"secret": _secret(_started(mall))}).json()
    key = {"Guest-Pass": opened["guest_pass"]}
    mall.clock.advance(days=2, hours=2)
    assert mall.get("/guests/session", headers=key).status_code == 200
    mall.clock.advance(hours=2)
    assert mall.get("/guests/session", headers=key).status_code == 404


def test_no_secret_is_kept(mall: House) -> None:
    quoted = mall.post("/guests/quote", _ask()).json()
    started = mall.post("/guests/sessions", {"quote": quoted["quote"]}).json()
    opened = mall.post("/guests/open", {"secret": _secret(started)}).json()

    with mall.parts.database.reading() as db:
        kept = [db.query(GuestQuote).one().__dict__, db.query(GuestPass).one().__dict__]
    for secret in (quoted["quote"], _secret(started), opened["guest_pass"]):
        assert secret not in repr(kept)


def test_a_new_price_has_to_be_shown_again(mall: House) -> None:
    quoted = mall.post("/guests/quote", _ask()).json()
    tariff = {"kind": "sales", "eur_per_kwh": 0.9}
    assert mall.post("/sites/site_mall/tariffs", tariff).status_code in (200, 201)

    answer = mall.post("/guests/sessions", {"quote": quoted["quote"]})

    assert answer.json()["code"] == "quote_not_good"


def test_a_site_has_to_allow_guests_and_may_stop_to(mall: House) -> None:
    elsewhere = _ask(charger_did="did:denso:charger:site_hq_chr01")
    assert mall.post("/guests/quote", elsewhere).json()["code"] == "guests_not_admitted"
    quoted = mall.post("/guests/quote", _ask()).json()
    mall.client.patch("/api/v1/sites/site_mall", json={"admission": {"guests": False}})

    answer = mall.post("/guests/sessions", {"quote": quoted["quote"]})

    assert answer.json()["code"] == "guests_not_admitted"


def test_a_guest_is_served_after_everybody_else(mall: House) -> None:
    mall.client.patch("/api/v1/sites/site_mall", json={"grid_limit_kw": 20})
    guest = _started(mall)
    driver = mall.start(
        number=1, site_id="site_mall", charger=2, soc_percent=0, distance_km=250, hours=3
    )

    with mall.parts.database.reading() as db:
        tier = db.get_one(ChargingSession, guest["session_id"]).priority_tier
    short = mall.get(f"/sessions/{guest['session_id']}").json()["plan"]["short_by_kwh"]
    assert tier == 4
    assert driver["plan"]["planned_energy_kwh"] == pytest.approx(54, abs=0.2)
    assert short == pytest.approx(16 + 54 - 60, abs=0.5)


def test_guests_are_limited(mall: House) -> None:
    mall.parts.shared["guest_limit"] = AddressLimit(3)

    answers = [mall.post("/guests/open", {"secret": "A" * 43}) for _ in range(5)]

    assert [one.status_code for one in answers] == [404, 404, 404, 429, 429]
    assert answers[-1].json()["code"] == "too_many_guests"
    assert answers[-1].headers["Retry-After"]
    assert guests_router.PER_MINUTE <= 60


def test_odd_guests_are_refused(mall: House) -> None:
    for body in (
        _ask(charger_did="x"),
        _ask(trip={}),
        _ask(driver={"did": "did:denso:driver:driver001"}),
        _ask(vehicle={"did": "did:denso:vehicle:vehicle001"}),
        {"quote": "A" * 43},
    ):
        assert mall.post("/guests/quote", body).status_code == 422
    assert mall.post("/guests/sessions", {"quote": "A" * 4_000}).status_code == 422
    assert mall.get("/guests/session").status_code == 422


def test_guests_never_take_more_than_half_of_the_chargers(mall: House) -> None:
    for number in (1, 2):
        asked = _ask(charger_did=f"did:denso:charger:site_mall_chr{number:02d}")
        quoted = mall.post("/guests/quote", asked).json()
        assert mall.post("/guests/sessions", {"quote": quoted["quote"]}).status_code == 201

    third = mall.post("/guests/quote", _ask(charger_did="did:denso:charger:site_mall_chr03"))

    assert third.json()["code"] == "guests_not_admitted"


def test_the_link_leads_to_a_page_that_holds_no_secret(mall: House) -> None:
    started = _started(mall)

    page, script = mall.client.get(started["link"]), mall.client.get("/guest.js")

    assert (page.status_code, script.status_code) == (200, 200)
    assert 'src="/guest.js"' in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert _secret(started) not in page.text
    assert "innerHTML" not in script.text
