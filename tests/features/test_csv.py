"""Sessions as CSV over HTTP: for a spreadsheet, and equal to the bills."""

import csv
import io
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import select

from backend.features.sessions.models import ChargeDetailRecord
from tests.conftest import House


def rows_of(house: House, query: str = "") -> list[dict[str, str]]:
    answer = house.get(f"/sessions?format=csv{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="sessions.csv"'
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_times_are_given_in_utc_and_as_the_site_has_them(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 25.5})

    [row] = rows_of(house)

    assert row["session_id"] == session_id
    assert row["start_time_utc"] == "2026-03-10T10:00:00+00:00"
    assert row["end_time_utc"] == "2026-03-10T11:00:00+00:00"
    assert row["start_time_local"] == "2026-03-10T12:00:00+02:00"
    assert row["end_time_local"] == "2026-03-10T13:00:00+02:00"
    assert row["timezone"] == "Europe/Helsinki"
    assert row["energy_delivered_kwh"] == "25.5000"
    assert row["final_cost_eur"] == "7.65"


def test_local_times_follow_the_change_of_the_clocks(house: House) -> None:
    house.clock.shown = datetime.fromisoformat("2026-03-29T00:30:00+00:00")  # summer time at 01:00
    house.site()
    session_id = house.start(hours=2)["session_id"]
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {})

    [row] = rows_of(house)

    assert row["start_time_local"] == "2026-03-29T02:30:00+02:00"
    assert row["end_time_local"] == "2026-03-29T04:30:00+03:00"


def test_an_open_session_has_neither_end_nor_bill(house: House) -> None:
    house.site()
    house.start()

    [row] = rows_of(house)

    assert row["status"] == "active"
    assert row["end_time_utc"] == row["end_time_local"] == row["final_cost_eur"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(
    sqlite_house: House, start: str
) -> None:
    sqlite_house.site()
    text = f'{start}HYPERLINK("http://x","y"),1'
    body = sqlite_house.start_body() | {"billing_party": text, "cost_center": text}
    assert sqlite_house.post("/sessions/start", body).status_code == 200

    [row] = rows_of(sqlite_house)

    assert row["billing_party"] == f"'{text}"
    assert row["cost_center"] == f"'{text}"
    assert (
        sqlite_house.get("/sessions").json()["data"][0]["billing_party"] == text
    )  # data is not changed


def test_cells_with_commas_quotes_and_other_scripts_survive(house: House) -> None:
    house.site()
    text = 'Kauppa "Ääni", 充電 Oy'
    house.post("/sessions/start", house.start_body() | {"billing_party": text})

    [row] = rows_of(house)

    assert row["billing_party"] == text


def test_the_sums_equal_the_bills_to_the_cent(house: House) -> None:
    house.site(chargers=8)
    tariff = {"kind": "sales", "eur_per_kwh": 0.3337, "eur_per_session": 0.35}
    house.post("/sites/site_hq/tariffs", tariff)
    started = [house.start(number=i, charger=i)["session_id"] for i in range(1, 9)]
    house.clock.advance(hours=1)
    for number, session_id in enumerate(started):
        energy_kwh = 7.777 * number
        house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": energy_kwh})

    rows = rows_of(house)

    total_eur = sum(Decimal(row["final_cost_eur"]) for row in rows)
    energy_kwh_sum = sum(Decimal(row["energy_delivered_kwh"]) for row in rows)
    with house.parts.database.reading() as db:
        bills = db.scalars(select(ChargeDetailRecord)).all()
    assert len(rows) == len(bills) == 8
    assert total_eur == sum(bill.total_eur for bill in bills)
    assert energy_kwh_sum == sum(bill.energy_kwh for bill in bills)
    analytics = house.get("/sites/site_hq/analytics").json()
    assert Decimal(str(analytics["total_revenue_eur"])) == total_eur


def test_the_file_holds_what_the_filters_choose_beyond_one_page(house: House) -> None:
    house.site("site_hq", chargers=30)
    house.site("site_mall")
    for number in range(1, 29):
        house.start(number=number, charger=number)
    house.start(number=29, site_id="site_mall")

    rows = rows_of(house, "&site_id=site_hq&limit=5")

    assert len(rows) == 28
    assert {row["site_id"] for row in rows} == {"site_hq"}
    assert [row["session_id"] for row in rows] == sorted(
        (row["session_id"] for row in rows), reverse=True
    )
