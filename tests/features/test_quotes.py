"""Asking before plugging in, over HTTP."""

from typing import Any

import pytest

from tests.conftest import House
from tests.features.test_sessions import refused, when
from tests.tables import row_counts


def question(house: House, **values: Any) -> dict[str, Any]:
    """A question about one charger; `site_id` asks about any of a site instead."""
    site_id = values.pop("site_id", None)
    body = house.start_body(**values)
    if site_id is not None:
        body["site_id"] = site_id
        del body["charger"]
    return body


def ask(house: House, **values: Any) -> dict[str, Any]:
    answer = house.post("/sessions/quote", question(house, **values))
    assert answer.status_code == 200, answer.text
    quote: dict[str, Any] = answer.json()
    return quote


def mixed_site(house: House, *powers_kw: float) -> None:
    """A site with one charger of each power."""
    house.site(chargers=0)
    for number, power_kw in enumerate(powers_kw, 1):
        did = f"did:denso:charger:site_hq_chr{number:02d}"
        new = {"did": did, "site_id": "site_hq", "max_power_kw": power_kw}
        assert house.post("/chargers", new).status_code == 201


def names(quote: dict[str, Any]) -> list[str]:
    return [one["charger_did"].rpartition("_")[2] for one in quote["options"]]


def test_a_quote_stores_nothing(house: House) -> None:
    house.site()
    house.settle()
    before = row_counts(house.parts.database)

    ask(house, soc_percent=10, distance_km=300)
    ask(house, soc_percent=10, distance_km=300, site_id="site_hq")

    assert row_counts(house.parts.database) == before
    assert house.get("/sites/site_hq").json()["chargers_available"] == 4


def test_a_quote_says_what_the_start_then_does(house: House) -> None:
    house.site(grid_limit_kw=100)
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 15 + [0.05] * 9}
    house.post("/sites/site_hq/tariffs", price)
    house.start(number=2, charger=2, soc_percent=5, distance_km=300, hours=5)
    wanted = {"soc_percent": 10, "distance_km": 300, "hours": 5}

    option = ask(house, **wanted)["options"][0]
    plan = house.start(**wanted)["plan"]

    assert option["ready_at"] == plan["planned_finish_time"]
    assert option["departure_time"] == plan["departure_time"]
    assert option["planned_energy_kwh"] == pytest.approx(plan["planned_energy_kwh"], abs=1e-6)
    assert option["planned_cost_eur"] == pytest.approx(plan["planned_cost_eur"], abs=1e-3)
    assert option["planned_purchase_cost_eur"] == pytest.approx(
        plan["planned_purchase_cost_eur"], abs=1e-6
    )
    assert option["reasons"] == plan["reasons"]
    assert option["is_feasible"] is plan["is_feasible"] is True
    assert option["charger_did"] == "did:denso:charger:site_hq_chr01"


def test_chargers_are_ranked_ready_first_then_cheap_then_weak(house: House) -> None:
    mixed_site(house, 150, 50, 11, 100)
    dear = {"kind": "sales", "charger_did": "did:denso:charger:site_hq_chr02", "eur_per_kwh": 0.5}
    assert house.post("/sites/site_hq/tariffs", dear).status_code == 201

    quote = ask(house, site_id="site_hq", soc_percent=10, distance_km=300, hours=2)

    assert names(quote) == ["chr04", "chr01", "chr02", "chr03"]
    assert [one["is_feasible"] for one in quote["options"]] == [True, True, True, False]
    last = quote["options"][-1]
    assert last["short_by_kwh"] == pytest.approx(57.3 - 2 * 11 * 0.85, abs=0.01)
    assert quote["options"][2]["planned_cost_eur"] == pytest.approx(57.3 * 0.5, abs=0.01)
    assert quote["message"].startswith("did:denso:charger:site_hq_chr04 has it ready at ")
    assert quote["extra_energy_needed_kwh"] == pytest.approx(57.3)
    assert quote["assurance"] == "simulated"


def test_equal_chargers_are_all_named(house: House) -> None:
    house.site(chargers=4)
    house.start(number=2, charger=1)

    quote = ask(house, site_id="site_hq")

    assert names(quote) == ["chr02", "chr03", "chr04"]
    assert quote["message"] == "The battery holds enough for the trip; nothing needs to be charged."


def test_where_nobody_can_be_ready_the_least_shortfall_comes_first(house: House) -> None:
    mixed_site(house, 11, 22)

    quote = ask(house, site_id="site_hq", soc_percent=10, distance_km=300, hours=1)

    assert names(quote) == ["chr02", "chr01"]
    assert f"{57.3 - 22 * 0.85:.1f} kWh would be missing" in quote["message"]


def test_a_charger_that_is_reserved_for_another_is_left_out(house: House) -> None:
    house.site(chargers=2)
    window = {"from": "2026-03-10T12:00:00Z", "to": "2026-03-10T14:00:00Z"}
    kept = {
        "charger_did": "did:denso:charger:site_hq_chr01",
        "driver_did": "did:denso:driver:driver009",
        **window,
    }
    assert house.post("/reservations", kept).status_code == 201

    assert names(ask(house, site_id="site_hq")) == ["chr02"]
    assert names(ask(house, site_id="site_hq", number=9)) == ["chr01", "chr02"]
    refused(house.post("/sessions/quote", question(house)), 409, "charger_reserved")


def test_a_departure_in_the_past_moves_and_says_so(house: House) -> None:
    house.site()

    quote = ask(house, hours=-2)

    assert when(quote["options"][0]["departure_time"]) == when("2026-03-11T08:00:00Z")
    assert "lies in the past" in quote["warnings"][0]


def test_what_cannot_be_quoted_is_refused(house: House) -> None:
    house.site(chargers=1)
    body = question(house)
    nowhere = {name: value for name, value in body.items() if name != "charger"}

    refused(house.post("/sessions/quote", nowhere), 409, "where_missing")
    unknown = question(house, site_id="site_nowhere")
    body["charger"]["did"] = "did:denso:charger:none"
    refused(house.post("/sessions/quote", body), 404, "charger_not_found")
    unknown["driver"]["allowed_sites"] = None
    refused(house.post("/sessions/quote", unknown), 404, "site_not_found")
    elsewhere = question(house)
    elsewhere["driver"]["allowed_sites"] = ["site_mall"]
    refused(house.post("/sessions/quote", elsewhere), 403, "site_not_allowed")
    house.start(number=2)
    refused(house.post("/sessions/quote", question(house)), 409, "charger_in_use")
    nothing_free = question(house, site_id="site_hq")
    refused(house.post("/sessions/quote", nothing_free), 409, "nothing_free")


def test_a_vehicle_that_charges_already_is_not_quoted(house: House) -> None:
    house.site()
    house.start()

    answer = house.post("/sessions/quote", question(house, charger=2))

    refused(answer, 409, "vehicle_in_use")
