"""What a site did and saved, over HTTP: equal to sums made by hand."""

import pytest

from tests.conftest import House

GREEN = {"priority": "cost", "carbon_conscious": True}


def busy_day(house: House) -> None:
    """Two ended sessions, one cancelled, one open; dear mornings, cheap afternoons.

    First: 10:00 to 14:00 UTC, 30 kWh; planned after 13:00, which is 15:00 at the site.
    Second: 12:00 to 13:00 UTC, 20 kWh by meter.
    """
    house.site(chargers=8)
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.30] * 15 + [0.10] * 9}
    house.post("/sites/site_hq/tariffs", price)
    first = house.start(number=1, soc_percent=10, distance_km=200, hours=5, preferences=GREEN)
    cancelled = house.start(number=3, charger=3, preferences=GREEN)
    for started, decision in ((first, "accept"), (cancelled, "decline")):
        [offer] = [
            one for one in started["plan"]["incentive_offers"] if one["type"] == "reward_points"
        ]
        path = f"/sessions/{started['session_id']}/incentives/{offer['offer_id']}/{decision}"
        assert house.post(path).status_code == 200
    house.post(f"/sessions/{cancelled['session_id']}/cancel")
    house.clock.advance(hours=2)
    second = house.start(number=2, charger=2, soc_percent=10)
    house.clock.advance(hours=1)
    value = {"at": "2026-03-10T13:00:00Z", "energy_delivered_kwh": 20}
    house.post(f"/sessions/{second['session_id']}/meter-values", {"values": [value]})
    house.post(f"/sessions/{second['session_id']}/complete", {})
    house.clock.advance(hours=1)
    house.post(f"/sessions/{first['session_id']}/complete", {"energy_delivered_kwh": 30})
    house.start(number=4, charger=4)


def test_the_numbers_equal_sums_made_by_hand(house: House) -> None:
    busy_day(house)

    report = house.get("/sites/site_hq/analytics").json()

    assert report["site_id"] == "site_hq"
    assert report["total_sessions"] == 3
    assert report["total_energy_kwh"] == 50
    assert report["total_revenue_eur"] == 15  # 50 kWh at 0.30 EUR
    assert report["avg_session_duration_hours"] == pytest.approx((4 + 1 + 0) / 3)
    assert report["peak_hour"] == 15  # 13:00 UTC: the first session's 30 kWh
    assert report["peak_demand_kwh"] == pytest.approx(30)
    # At once the first had cost 30 x 0.30 and cost 30 x 0.10; the second was metered at 0.30.
    assert report["cost_savings_eur"] == pytest.approx(6, abs=1e-3)
    assert report["incentive_acceptance_rate"] == 0.5


def test_a_site_without_sessions_has_a_report_of_nothing(house: House) -> None:
    house.site()

    report = house.get("/sites/site_hq/analytics").json()

    assert report == {
        "site_id": "site_hq",
        "total_sessions": 0,
        "total_energy_kwh": 0,
        "total_revenue_eur": 0,
        "avg_session_duration_hours": 0,
        "peak_hour": None,
        "peak_demand_kwh": 0,
        "cost_savings_eur": 0,
        "incentive_acceptance_rate": 0,
    }


def test_sessions_count_in_the_span_in_which_they_ended(house: House) -> None:
    busy_day(house)

    def report(query: str) -> dict[str, float]:
        answer: dict[str, float] = house.get(f"/sites/site_hq/analytics?{query}").json()
        return answer

    until_13 = report("to=2026-03-10T13:00:00Z")
    from_13 = report("from=2026-03-10T13:00:00Z&to=2026-03-10T14:00:00Z")
    from_14 = report("from=2026-03-10T14:00:00Z")
    assert [one["total_sessions"] for one in (until_13, from_13, from_14)] == [1, 1, 1]
    assert [one["total_energy_kwh"] for one in (until_13, from_13, from_14)] == [0, 20, 30]
    assert from_13["peak_demand_kwh"] == pytest.approx(30)  # demand counts when it was drawn
    assert until_13["peak_demand_kwh"] == pytest.approx(20)
    # The offers were decided at 10:00.
    assert until_13["incentive_acceptance_rate"] == 0.5
    assert from_13["incentive_acceptance_rate"] == 0


def test_other_sites_do_not_count(house: House) -> None:
    house.site("site_mall")
    busy_day(house)

    report = house.get("/sites/site_mall/analytics").json()

    assert report["total_sessions"] == 0
    assert report["peak_hour"] is None


def test_a_naive_span_is_malformed(house: House) -> None:
    house.site()

    answer = house.get("/sites/site_hq/analytics?from=2026-03-10T10:00:00")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/from"
