"""What planning saved, worked out by hand, over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import NOON, House
from tests.features.test_sessions import refused

PRICES = [0.40] * 15 + [0.10] * 9  # local; 0.10 from 13:00 UTC


def priced_site(house: House, *, demand_charge: float = 0.0) -> None:
    house.site()
    price = {
        "kind": "purchase",
        "eur_per_kwh_by_hour": PRICES,
        "demand_charge_eur_per_kw": demand_charge,
    }
    assert house.post("/sites/site_hq/tariffs", price).status_code == 201


def meter(house: House, session_id: str, *values: tuple[float, float]) -> None:
    """Readings as hours after noon and kWh."""
    readings = [
        {
            "at": f"{NOON + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}",
            "energy_delivered_kwh": energy_kwh,
        }
        for hours, energy_kwh in values
    ]
    answer = house.post(f"/sessions/{session_id}/meter-values", {"values": readings})
    assert answer.status_code == 200, answer.text


def saved(house: House, query: str = "") -> dict[str, Any]:
    answer = house.get(f"/sites/site_hq/savings{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def metered_session(house: House, *, number: int) -> None:
    """51 kWh between 13:00 and 14:00 UTC, where charging at once takes 24 minutes from noon on."""
    session_id = house.start(number=number, charger=number, soc_percent=10, distance_km=300)[
        "session_id"
    ]
    house.clock.shown = NOON + timedelta(hours=5)
    meter(house, session_id, (3, 0), (4, 51))
    house.post(f"/sessions/{session_id}/complete", {})
    house.clock.shown = NOON


def test_energy_savings_are_the_difference_to_charging_at_once(house: House) -> None:
    priced_site(house)
    metered_session(house, number=1)
    metered_session(house, number=2)

    found = saved(house)

    assert found["energy_savings_eur"] == pytest.approx(2 * 51 * (0.40 - 0.10), abs=1e-3)
    assert found["demand_savings_eur"] == 0
    (day,) = found["days"]
    assert day["day"] == "2026-03-10"
    assert day["sessions"] == 2
    assert day["energy_kwh"] == pytest.approx(102)
    assert day["purchase_eur"] == pytest.approx(10.2, abs=1e-3)
    assert day["uncontrolled_purchase_eur"] == pytest.approx(40.8, abs=1e-3)
    assert day["savings_eur"] == pytest.approx(found["energy_savings_eur"])


def test_demand_savings_are_the_lower_peak_at_the_demand_charge(house: House) -> None:
    priced_site(house, demand_charge=8.0)
    metered_session(house, number=1)
    metered_session(house, number=2)

    found = saved(house)

    assert found["peak_kw"] == pytest.approx(102)  # 102 kWh evenly over an hour
    assert found["uncontrolled_peak_kw"] == pytest.approx(255)
    assert found["demand_savings_eur"] == pytest.approx(8 * (255 - 102), rel=1e-3)
    assert "quarter-hour" in found["method"]


def test_charging_at_once_could_draw_no_more_than_the_connection(house: House) -> None:
    priced_site(house, demand_charge=8.0)
    house.client.patch("/api/v1/sites/site_hq", json={"grid_limit_kw": 200})
    metered_session(house, number=1)
    metered_session(house, number=2)

    found = saved(house)

    assert found["uncontrolled_peak_kw"] == 200
    assert found["demand_savings_eur"] == pytest.approx(8 * (200 - 102), rel=1e-3)


def test_base_load_belongs_to_both_peaks(house: House) -> None:
    priced_site(house, demand_charge=8.0)
    base_kw = [0.0] * 12 + [50.0] + [0.0] * 11  # noon in Helsinki, when at once would charge
    house.client.patch("/api/v1/sites/site_hq", json={"base_load_kw_by_hour": base_kw})
    metered_session(house, number=1)

    found = saved(house)

    assert found["peak_kw"] == pytest.approx(51)
    assert found["uncontrolled_peak_kw"] == pytest.approx(127.5 + 50)
    assert found["demand_savings_eur"] == pytest.approx(8 * (177.5 - 51), rel=1e-3)


def test_who_still_charges_is_in_both_peaks(house: House) -> None:
    priced_site(house, demand_charge=8.0)
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    house.clock.advance(hours=1)
    meter(house, session_id, (1, 51))

    found = saved(house)

    assert found["days"] == []
    assert found["peak_kw"] == pytest.approx(51)
    assert found["uncontrolled_peak_kw"] == pytest.approx(127.5)


def test_a_span_takes_the_sessions_that_ended_in_it(house: House) -> None:
    priced_site(house)
    metered_session(house, number=1)

    assert len(saved(house, "?from=2026-03-10T14:00:00Z")["days"]) == 1
    before = saved(house, "?to=2026-03-10T14:00:00Z")

    assert before["days"] == []
    assert before["energy_savings_eur"] == 0


def test_a_site_without_sessions_has_saved_nothing(house: House) -> None:
    house.site()

    found = saved(house)

    assert (found["energy_savings_eur"], found["demand_savings_eur"], found["peak_kw"]) == (0, 0, 0)
    refused(house.get("/sites/site_nowhere/savings"), 404, "site_not_found")


def test_savings_equal_the_sum_of_the_bills(house: House) -> None:
    priced_site(house)
    metered_session(house, number=1)
    metered_session(house, number=2)

    found = saved(house)

    analytics = house.get("/sites/site_hq/analytics").json()
    assert found["energy_savings_eur"] == pytest.approx(analytics["cost_savings_eur"])
    assert sum(day["energy_kwh"] for day in found["days"]) == analytics["total_energy_kwh"]
