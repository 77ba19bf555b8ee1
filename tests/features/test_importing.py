"""Charging sessions from somebody else's CSV."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy import func, select

from backend.database import Base
from backend.features.credentials.models import Driver
from backend.features.forecasts.models import DemandInterval, DemandSeries
from backend.features.sessions.importing import import_file
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from backend.features.sessions.records import ids
from backend.features.sessions.records.outcome import Outcome
from backend.features.sessions.records.reading import (
    ImportRefused,
    Record,
    RecordTable,
    RowRefused,
    record_of,
)
from backend.features.sites.schemas import ChargerDid, SiteId
from backend.features.vehicles.models import Vehicle
from tests.conftest import DATA, House, house_on

NOW = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
US_WORKPLACES = DATA / "sessions" / "us_workplaces_2014_2015.csv"
ROW = {
    "session_id": "S1",
    "site": "yard",
    "station": "A-1",
    "user": "000123",
    "arrival": "2026-01-14T10:05:00+00:00",
    "departure": "2026-01-14T11:00:00+00:00",
    "done_charging": "2026-01-14T10:35:00+00:00",
    "energy_kwh": "6",
    "requested_kwh": "",
    "requested_departure": "",
    "max_kw": "22",
}
Write = Callable[..., Path]


def row(**changes: str) -> dict[str, str]:
    """A good row with some values changed."""
    return ROW | changes


def text_of(*rows: dict[str, str], separator: str = ",") -> str:
    """Rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows into a CSV and gives its path."""

    def _write(*rows: dict[str, str]) -> Path:
        path = tmp_path / "records.csv"
        path.write_text(text_of(*rows), encoding="utf-8")
        return path

    return _write


def imported(house: House, file: Path, **options: Any) -> Outcome:
    """Import a file into a house; times are UTC unless told otherwise."""
    chosen = {"columns": {}, "timezone": "UTC", "now": NOW, "report": lambda *_: None, **options}
    return import_file(house.parts.database, file, **chosen)


def read(content: str | bytes, **columns: str) -> list[Record]:
    """The records of a CSV, refused rows raise."""
    raw = content.encode() if isinstance(content, str) else content
    table = RecordTable(io.BytesIO(raw), columns)
    comma = table.separator != ","
    return [record_of(one, has_decimal_comma=comma, now=NOW) for one in table]


def everything(house: House) -> dict[str, int]:
    """Rows of every table."""
    with house.parts.database.reading() as db:
        return {
            name: db.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def demand(house: House, site_id: str = "yard") -> list[DemandInterval]:
    """The demand history of a site."""
    with house.parts.database.reading() as db:
        query = select(DemandInterval).where(DemandInterval.site_id == site_id)
        return list(db.scalars(query.order_by(DemandInterval.start_at)))


# What a record becomes


def test_a_record_becomes_an_ended_session_with_its_bill(house: House, write: Write) -> None:
    outcome = imported(house, write(row()))

    listed = house.get("/sessions", params={"site_id": "yard"}).json()["data"]
    session = house.get(f"/sessions/{listed[0]['session_id']}").json()
    assert (outcome.read, outcome.kept, outcome.refusals) == (1, 1, 0)
    assert len(listed) == 1
    assert session["status"] == "completed"
    assert session["charger_did"] == "did:denso:charger:yard_A-1"
    assert session["start_time"] == "2026-01-14T10:05:00Z"
    assert session["end_time"] == "2026-01-14T11:00:00Z"
    assert session["energy_delivered_kwh"] == 6
    assert session["final_cost_eur"] == 1.80  # 6 kWh at the 0.30 EUR/kWh of a new site
    assert session["plan"] is None
    assert session["assurance"] == "record"
    assert session["plausibility"] == "plausible"


def test_a_new_site_may_draw_what_its_chargers_can(house: House, write: Write) -> None:
    file = write(
        row(session_id="1", station="A", max_kw="11"),
        row(session_id="2", station="A", max_kw="50", arrival="2026-01-14T10:20:00Z"),
        row(session_id="3", station="B", max_kw="22"),
    )

    imported(house, file, kind="retail", timezone="Europe/Helsinki")

    site = house.get("/sites/yard").json()
    chargers = house.get("/chargers", params={"site_id": "yard"}).json()["data"]
    assert {one["did"][-1]: one["max_power_kw"] for one in chargers} == {"A": 50, "B": 22}
    assert site["grid_limit_kw"] == 72
    assert (site["kind"], site["timezone"]) == ("retail", "Europe/Helsinki")
    assert site["chargers_available"] == 2


def test_energy_flows_evenly_until_charging_is_done(house: House, write: Write) -> None:
    imported(house, write(row()))

    quarters = demand(house)
    assert [f"{one.start_at:%H:%M}" for one in quarters] == ["10:00", "10:15", "10:30", "10:45"]
    assert [one.energy_kwh for one in quarters] == pytest.approx([2, 3, 1, 0])
    assert [one.occupancy for one in quarters] == pytest.approx([2 / 3, 1, 1, 1])
    assert [one.sessions_started for one in quarters] == [1, 0, 0, 0]
    assert {one.available_at for one in quarters} == {datetime(2026, 1, 14, 11, tzinfo=UTC)}


def test_the_site_counts_as_observed_from_first_arrival_to_last_departure(
    house: House, write: Write
) -> None:
    later = {"arrival": "2026-01-15T09:00:00Z", "departure": "2026-01-15T17:00:00Z"}
    imported(house, write(row(session_id="2", done_charging="", **later), row()))

    with house.parts.database.reading() as db:
        series = db.get_one(DemandSeries, "yard")
    assert series.observed_from == datetime(2026, 1, 14, 10, 5, tzinfo=UTC)
    assert series.observed_to == datetime(2026, 1, 15, 17, tzinfo=UTC)


def test_demand_adds_to_what_is_there(house: House, write: Write) -> None:
    imported(house, write(row()))

    imported(house, write(row(session_id="2", station="B", departure="2026-01-14T10:50:00Z")))

    quarters = demand(house)
    assert [one.energy_kwh for one in quarters] == pytest.approx([4, 6, 2, 0])
    assert [one.occupancy for one in quarters] == pytest.approx([4 / 3, 2, 2, 1 + 1 / 3])
    assert [one.sessions_started for one in quarters] == [2, 0, 0, 0]
    assert {one.available_at.hour for one in quarters} == {11}  # the later of the two


def test_energy_and_starts_in_the_history_are_those_of_the_sessions(
    house: House, write: Write
) -> None:
    start = datetime(2025, 6, 1, tzinfo=UTC)
    rows = [
        row(
            session_id=str(number),
            station=str(number % 7),
            arrival=(start + timedelta(minutes=97 * number)).isoformat(),
            departure=(start + timedelta(minutes=97 * number + 61 * (1 + number % 9))).isoformat(),
            done_charging="",
            energy_kwh=f"{0.5 + number % 13}",
        )
        for number in range(1100)
    ]

    outcome = imported(house, write(*rows))

    quarters = demand(house)
    assert outcome.kept == 1100
    assert sum(one.energy_kwh for one in quarters) == pytest.approx(outcome.energy_kwh)
    assert sum(one.sessions_started for one in quarters) == 1100
    stays_h = sum(61 * (1 + number % 9) for number in range(1100)) / 60
    assert sum(one.occupancy for one in quarters) / 4 == pytest.approx(stays_h)


def test_unrecorded_charging_takes_full_power_from_arrival_but_never_beyond_departure() -> None:
    fast, slow = read(
        text_of(row(done_charging="", max_kw="12"), row(done_charging="", max_kw="6"))
    )

    assert fast.charged_until - fast.arrival == timedelta(minutes=30)
    assert slow.charged_until == slow.departure


def test_charging_that_ends_after_departure_is_cut_and_remarked() -> None:
    [record] = read(text_of(row(done_charging="2026-01-14T12:00:00Z")))

    assert record.charged_until == record.departure
    assert record.remarks == ("done_charging is after departure: departure taken",)


def test_energy_beyond_what_the_charger_can_deliver_marks_the_bill(
    house: House, write: Write
) -> None:
    outcome = imported(house, write(row(energy_kwh="60")))

    with house.parts.database.reading() as db:
        bill = db.scalars(select(ChargeDetailRecord)).one()
    assert outcome.kept == 1
    assert "line 2" in outcome.text()
    assert bill.plausibility == "implausible"
    assert bill.plausibility_reason is not None
    assert "60.00 kWh in 0.92 h" in bill.plausibility_reason


def test_a_request_that_was_not_met_is_the_bills_shortfall(house: House, write: Write) -> None:
    request = {"requested_kwh": "10", "requested_departure": "2026-01-14T12:30:00Z"}
    imported(house, write(row(**request)))

    with house.parts.database.reading() as db:
        bill = db.scalars(select(ChargeDetailRecord)).one()
        session = db.scalars(select(ChargingSession)).one()
    assert bill.shortfall_kwh == Decimal(4)
    assert session.departure_at == datetime(2026, 1, 14, 12, 30, tzinfo=UTC)
    assert session.ended_at == datetime(2026, 1, 14, 11, tzinfo=UTC)


def test_nothing_is_claimed_to_be_saved(house: House, write: Write) -> None:
    imported(house, write(row()))

    analytics = house.get("/sites/yard/analytics").json()
    assert analytics["total_sessions"] == 1
    assert analytics["total_revenue_eur"] == 1.80
    assert analytics["cost_savings_eur"] == 0
    assert analytics["peak_hour"] == 10


def test_a_site_that_exists_keeps_limit_and_tariff(house: House, write: Write) -> None:
    house.site("yard", chargers=1, grid_limit_kw=40)
    tariff = {"kind": "sales", "eur_per_kwh": 0.5, "valid_from": "2026-01-01T00:00:00Z"}
    assert house.post("/sites/yard/tariffs", tariff).status_code == 201

    outcome = imported(house, write(row(station="chr01"), row(session_id="2", station="new")))

    bills = house.get("/sessions", params={"site_id": "yard"}).json()["data"]
    assert (outcome.sites, outcome.chargers) == ([], 1)
    assert house.get("/sites/yard").json()["grid_limit_kw"] == 40
    assert [one["final_cost_eur"] for one in bills] == [3.0, 3.0]
    assert "keep their grid limit: yard" in outcome.text()


# People


def test_users_become_pseudonyms_that_need_the_salt(house: House, write: Write) -> None:
    rows = (row(), row(session_id="2", station="B"), row(session_id="3", station="C", user="9"))

    imported(house, write(*rows), salt="pepper")

    with house.parts.database.reading() as db:
        drivers = set(db.scalars(select(Driver.did)))
        vehicles = set(db.scalars(select(Vehicle.did)))
    expected = ids.pseudonym_of("000123", charger_did="", salt="pepper")
    assert len(drivers) == len(vehicles) == 2
    assert f"did:denso:driver:{expected}" in drivers
    assert not any("000123" in did for did in drivers | vehicles)
    assert expected != ids.pseudonym_of("000123", charger_did="", salt="")


def test_rows_without_user_share_a_driver_by_station(house: House, write: Write) -> None:
    outcome = imported(
        house,
        write(
            row(user=""),
            row(user="", session_id="2", arrival="2026-01-14T10:50:00Z", done_charging=""),
            row(user="", session_id="3", station="B"),
        ),
    )

    assert (outcome.drivers, outcome.vehicles) == (2, 2)


def test_a_vehicle_is_as_large_as_its_largest_session(house: House, write: Write) -> None:
    long = {"departure": "2026-01-14T20:00:00Z", "done_charging": ""}
    imported(house, write(row(energy_kwh="85", max_kw="50", **long)))
    imported(house, write(row(session_id="2", station="B")))

    with house.parts.database.reading() as db:
        vehicle = db.scalars(select(Vehicle)).one()
    assert (vehicle.battery_capacity_kwh, vehicle.max_charge_power_kw) == (85, 50)


# Twice


def test_the_same_file_twice_adds_nothing(house: House, write: Write) -> None:
    file = write(row(), row(session_id="2", station="B"))
    imported(house, file)
    before, energy = everything(house), [one.energy_kwh for one in demand(house)]

    outcome = imported(house, file)

    assert (outcome.read, outcome.kept, outcome.known, outcome.refusals) == (2, 0, 2, 0)
    assert everything(house) == before
    assert [one.energy_kwh for one in demand(house)] == energy


def test_a_session_is_known_again_by_its_id_whatever_its_times(house: House, write: Write) -> None:
    imported(house, write(row()))

    outcome = imported(house, write(row(arrival="2026-01-14T10:10:00Z"), row(session_id="2")))

    assert (outcome.kept, outcome.known) == (1, 1)


def test_a_repeated_session_id_is_refused_however_far_apart(house: House, write: Write) -> None:
    rows = [row(session_id=str(number % 600), station=str(number)) for number in range(601)]
    rows.append(row(session_id="600", station="600"))
    rows.append(row(session_id="600", station="601"))

    outcome = imported(house, write(*rows))

    [tally] = outcome.refused.values()
    assert outcome.kept == 601
    assert tally.examples == ["line 602", "line 604"]


def test_sessions_are_listed_by_arrival_not_by_their_place_in_the_file(
    house: House, write: Write
) -> None:
    days = ("2026-01-14", "2026-01-12", "2026-01-13")
    times = [
        {"arrival": f"{day}T10:00:00Z", "departure": f"{day}T11:00:00Z", "done_charging": ""}
        for day in days
    ]
    imported(house, write(*(row(session_id=one["arrival"], **one) for one in times)))

    listed = house.get("/sessions").json()["data"]
    assert [one["start_time"][:10] for one in listed] == sorted(days, reverse=True)


def test_a_crash_half_way_stores_nothing(house: House, write: Write) -> None:
    before = everything(house)
    rows = [row(session_id=str(number), station=str(number)) for number in range(600)]

    def crash(share: float, _stage: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imported(house, write(*rows), report=crash)

    assert everything(house) == before


# Rows that are no sessions


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"session_id": ""}, "session_id is missing"),
        ({"station": "  "}, "station is missing"),
        ({"departure": ""}, "departure is missing"),
        ({"arrival": "yesterday"}, "arrival is not an ISO 8601 time"),
        ({"arrival": "2026-02-30T10:00:00Z"}, "arrival is not an ISO 8601 time"),
        ({"arrival": "0001-01-01T00:00:00+14:00"}, "arrival is not an ISO 8601 time"),
        ({"arrival": "2026-01-14T10:05:00"}, "arrival has no UTC offset, such as +02:00 or Z"),
        ({"departure": "2026-01-14"}, "departure has no UTC offset, such as +02:00 or Z"),
        ({"arrival": "1999-12-31T23:00:00Z"}, "arrival is before the year 2000"),
        ({"departure": "2026-01-14T10:05:00Z"}, "departure is not after arrival"),
        ({"departure": "2026-01-14T11:00:00+01:00"}, "departure is not after arrival"),
        ({"departure": "2026-01-28T10:05:01Z"}, "stay is longer than 14 days"),
        (
            {"arrival": "2026-03-09T10:00:00Z", "departure": "2026-03-10T10:00:01Z"},
            "departure lies in the future",
        ),
        ({"energy_kwh": "much"}, "energy_kwh is not a number"),
        ({"energy_kwh": "nan"}, "energy_kwh is not a number"),
        ({"energy_kwh": "1e999"}, "energy_kwh is not a number"),
        ({"energy_kwh": "1_0"}, "energy_kwh is not a number"),
        ({"energy_kwh": "0"}, "energy_kwh is not above 0"),
        ({"energy_kwh": "-3"}, "energy_kwh is not above 0"),
        ({"energy_kwh": "2000.1"}, "energy_kwh is above 2000"),
        ({"max_kw": "0"}, "max_kw is not a power that chargers have"),
        ({"max_kw": "1e-300"}, "max_kw is not a power that chargers have"),
        ({"max_kw": "strong"}, "max_kw is not a power that chargers have"),
    ],
)
def test_a_row_that_is_no_session_is_refused(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(RowRefused) as refused:
        read(text_of(row(**changes)))

    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"departure": "2026-01-28T10:05:00Z"},
        {"energy_kwh": "2000"},
        {"energy_kwh": "1e-9"},
        {"max_kw": "0.1"},
        {"arrival": "2026-01-14 10:05:00.123456+00:00"},
        {"arrival": "2026-01-14T12:05:00+02:00"},
    ],
)
def test_a_row_at_the_edge_is_kept(house: House, write: Write, changes: dict[str, str]) -> None:
    outcome = imported(house, write(row(**changes)))

    energy_kwh = float(row(**changes)["energy_kwh"])
    assert outcome.kept == 1
    assert sum(one.energy_kwh for one in demand(house)) == pytest.approx(energy_kwh)


def test_odd_values_nobody_needs_are_ignored_and_remarked() -> None:
    [record] = read(
        text_of(
            row(
                done_charging="2026-01-14T09:00:00Z",
                requested_kwh="-5",
                requested_departure="soon",
                max_kw="",
            )
        )
    )

    assert (record.requested_kwh, record.requested_departure, record.max_kw) == (None, None, 22)
    assert {re.split("[ :]", remark)[0] for remark in record.remarks} == {
        "max_kw",
        "done_charging",
        "requested_kwh",
        "requested_departure",
    }


def test_the_summary_counts_each_reason_and_names_its_first_lines(
    house: House, write: Write
) -> None:
    bad = [row(session_id=str(number), energy_kwh="0") for number in range(7)]

    outcome = imported(house, write(row(), *bad, row(session_id="x", arrival="never")))

    lines = [line.strip() for line in outcome.text().splitlines()]
    assert outcome.kept == 1
    assert "8  refused" in lines
    assert "7  energy_kwh is not above 0: line 3, line 4, line 5, line 6, line 7, …" in lines
    assert "1  arrival is not an ISO 8601 time: line 10" in lines


def test_sessions_that_overlap_at_a_charger_are_kept_and_remarked(
    house: House, write: Write
) -> None:
    outcome = imported(
        house,
        write(
            row(session_id="late", arrival="2026-01-14T10:59:00Z", done_charging="",
                energy_kwh="0.1"),
            row(session_id="early"),
            row(session_id="next", arrival="2026-01-14T11:00:00Z", departure="2026-01-14T12:00:00Z",
                done_charging=""),
            row(session_id="other", station="B"),
        ),
    )  # fmt: skip

    [(remark, tally)] = outcome.remarks.items()
    assert outcome.kept == 4
    assert "another session" in remark
    assert tally.examples == ["did:denso:charger:yard_A-1 at 2026-01-14 10:59 UTC"]


def test_a_charger_of_another_site_is_not_taken_over(house: House, write: Write) -> None:
    house.site("elsewhere", chargers=0)
    charger = {"did": "did:denso:charger:yard_A-1", "site_id": "elsewhere", "max_power_kw": 22}
    assert house.post("/chargers", charger).status_code == 201

    outcome = imported(house, write(row()))

    assert outcome.kept == 0
    assert list(outcome.refused) == ["the charger is registered at another site"]
    assert house.get("/sites/yard").status_code == 404


def test_odd_names_become_ids_that_the_api_finds(house: House, write: Write) -> None:
    imported(house, write(row(site="Café \x01 Nord", station="Säule 1/2")))

    [site] = house.get("/sites").json()["data"]
    [charger] = house.get("/chargers").json()["data"]
    assert site["name"] == "Café   Nord"
    assert site["site_id"].startswith("caf_nord_")
    assert charger["did"] == f"did:denso:charger:{site['site_id']}_S%C3%A4ule%201%2F2"
    assert house.get(f"/sites/{site['site_id']}/analytics").json()["total_sessions"] == 1


def test_old_records_beside_new_ones_are_said_to_be_left_out_of_forecasts(
    house: House, write: Write
) -> None:
    imported(house, write(row()))
    old = {"arrival": "2024-01-14T10:00:00Z", "departure": "2024-01-14T11:00:00Z"}

    outcome = imported(house, write(row(session_id="old", done_charging="", **old)))

    assert "forecasts use those from 2026-01-14 on" in outcome.text()


# Files


def test_columns_may_have_other_names(house: House, tmp_path: Path) -> None:
    file = tmp_path / "mapped.csv"
    file.write_text(text_of(row()).replace("energy_kwh", "kWhDelivered", 1))

    outcome = imported(house, file, columns={"energy_kwh": "kWhDelivered"})

    assert outcome.kept == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + text_of(row()).encode(),
        text_of(row(energy_kwh="6,0"), separator=";").encode(),
        text_of(row(), separator="\t").encode(),
        text_of(row()).replace("\r\n", "\n").encode() + b"\n\n,,,,,,,,,,\n",
        text_of({" " + name: f" {value} " for name, value in row().items()}).encode(),
        text_of(row() | {"note": "caf\udce9"}).encode("utf-8", "surrogateescape"),
    ],
    ids=["bom", "semicolons", "tabs", "blank lines", "spaces", "bytes in columns nobody reads"],
)
def test_usual_kinds_of_csv_are_read(content: bytes) -> None:
    records = read(content)

    assert [(one.session_id, one.station, one.energy_kwh) for one in records] == [("S1", "A-1", 6)]


def test_bytes_that_are_not_utf8_refuse_their_row_only(house: House, tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    rows = (row(), row(session_id="2", station="caf\udce9"), row(session_id="3", station="café"))
    file.write_text(text_of(*rows), encoding="utf-8", errors="surrogateescape")

    outcome = imported(house, file)

    assert outcome.kept == 2
    assert outcome.refused["holds bytes that are not UTF-8"].examples == ["line 3"]


def test_rows_of_another_length_are_refused(house: House, tmp_path: Path) -> None:
    file = tmp_path / "ragged.csv"
    file.write_text(text_of(row()) + "1,yard,A\r\n" + ",".join("x" * 12) + "\r\n")

    outcome = imported(house, file)

    [tally] = outcome.refused.values()
    assert outcome.kept == 1
    assert tally.examples == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "found no columns"),
        (b"id,kWh\n1,2\n", "found 'id', 'kWh'. Say what a column is called with --map"),
        (text_of(row()).replace("user", "site", 1).encode(), "one column is called 'site'"),
        (text_of(row()).encode("utf-16"), "UTF-16"),
        (text_of(row()).encode() + b"x" * 1_000_001, "Line 3 is longer than a megabyte"),
        (text_of(row()).encode() + b'"' + b"x\n" * 100_000, "Line 3 cannot be read as CSV"),
        (text_of(row()).replace("\r\n", "\r").encode(), "Line 1 cannot be read as CSV"),
    ],
    ids=["empty", "missing", "twice", "utf-16", "long line", "open quote", "old line ends"],
)  # fmt: skip
def test_a_file_that_is_no_table_of_sessions_is_refused_as_a_whole(
    house: House, tmp_path: Path, content: bytes, sentence: str
) -> None:
    before = everything(house)
    file = tmp_path / "bad.csv"
    file.write_bytes(content)

    with pytest.raises(ImportRefused) as refused:
        imported(house, file)

    assert sentence in str(refused.value)
    assert everything(house) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"columns": {"kWh": "energy_kwh"}}, "No such field: kWh. Fields: session_id, site"),
        ({"columns": {"max_kw": "power"}}, "Missing 'power'"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is not an IANA time zone"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    house: House, write: Write, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ImportRefused) as refused:
        imported(house, write(row()), **options)

    assert sentence in str(refused.value)


# Ids

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
SITE_ID, CHARGER_DID = TypeAdapter(SiteId), TypeAdapter(ChargerDid)


@settings(deadline=None)
@given(st.sets(names, min_size=2, max_size=6))
def test_every_site_name_has_a_valid_id_of_its_own(sites: set[str]) -> None:
    made = {ids.site_id_of(name) for name in sites}

    assert len(made) == len(sites)
    assert all(SITE_ID.validate_python(one) for one in made)


@settings(deadline=None)
@given(st.sets(st.tuples(names, names), min_size=2, max_size=6))
def test_every_charger_has_a_valid_did_of_its_own(places: set[tuple[str, str]]) -> None:
    made = {ids.charger_did_of(ids.site_id_of(site), station) for site, station in places}

    assert len(made) == len(places)
    assert all(CHARGER_DID.validate_python(one) for one in made)


def test_underlines_do_not_let_two_chargers_share_a_did() -> None:
    one = ids.charger_did_of("north", "yard_1")
    other = ids.charger_did_of("north_yard", "1")

    assert one == "did:denso:charger:north_yard%5F1"
    assert other == "did:denso:charger:north_yard_1"


def test_names_that_are_ids_stay_as_they_are() -> None:
    assert ids.site_id_of("workplace_461655") == "workplace_461655"
    assert ids.site_id_of("Café Ö").startswith("caf_")


# The command line


def command(database: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m backend import sessions …`."""
    environment = {**os.environ, "TASCO_DATABASE_URL": f"sqlite:///{database}"}
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "backend", "import", "sessions", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def test_the_command_makes_its_database_and_prints_what_it_did(
    write: Write, tmp_path: Path
) -> None:
    file = write(row(), row(session_id="2", energy_kwh="-1"))

    done = command(tmp_path / "new.db", str(file), "--timezone", "Europe/Helsinki")

    assert done.returncode == 0, done.stderr
    assert "2 rows read" in done.stdout
    assert "energy_kwh is not above 0: line 3" in done.stdout
    assert done.stderr == ""


def test_the_command_refuses_in_one_sentence(write: Write, tmp_path: Path) -> None:
    file = write({"[/odd] id": "1", "kWh": "2"})

    done = command(tmp_path / "new.db", str(file))

    assert done.returncode == 2
    assert "found '[/odd] id', 'kWh'" in done.stdout
    assert done.stderr == ""


# Real sessions


@pytest.fixture(scope="module")
def workplaces(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[House, Outcome]]:
    """A house with the 25 workplaces imported."""
    if not US_WORKPLACES.exists():
        pytest.skip(f"no real data: {US_WORKPLACES} (TASCO_DATA says where)")
    folder = tmp_path_factory.mktemp("workplaces")
    database = folder / "tasco.db"
    database.write_bytes(migrated_sqlite.read_bytes())
    with house_on(f"sqlite:///{database}", folder) as house:
        yield house, imported(house, US_WORKPLACES)


def test_real_workplaces_are_imported_quickly_and_whole(
    workplaces: tuple[House, Outcome],
) -> None:
    house, outcome = workplaces

    with US_WORKPLACES.open() as file:
        energy_kwh = sum(float(one["energy_kwh"]) for one in csv.DictReader(file))
    assert (outcome.read, outcome.kept, outcome.refusals) == (3325, 3325, 0)
    assert (len(outcome.sites), outcome.chargers, outcome.drivers) == (25, 105, 84)
    assert outcome.energy_kwh == pytest.approx(energy_kwh)
    with house.parts.database.reading() as db:
        stored_kwh = db.scalar(select(func.sum(DemandInterval.energy_kwh)))
    assert stored_kwh == pytest.approx(energy_kwh)
    assert outcome.duration_s < 15  # about 1.5 s on a free core


def test_training_forecast_and_analytics_work_on_real_workplaces(
    workplaces: tuple[House, Outcome],
) -> None:
    house, outcome = workplaces
    busiest = "workplace_461655"

    trained = house.post("/forecasts/train")
    forecast = house.get(f"/forecasts/site/{busiest}").json()
    analytics = [house.get(f"/sites/{site}/analytics").json() for site in outcome.sites]

    assert trained.status_code == 200, trained.text
    assert trained.json()["metrics"]["mae"] > 0
    assert forecast["source"] == "lightgbm"
    assert forecast["is_stale"] is True
    assert forecast["history_until"].startswith("2015-")
    assert forecast["forecasts"][0]["time_slot"] == forecast["history_until"]
    assert len(forecast["forecasts"]) == 24
    assert all(
        slot["confidence_lower"] <= slot["predicted_total_kwh"] <= slot["confidence_upper"]
        for slot in forecast["forecasts"]
    )
    assert sum(one["total_sessions"] for one in analytics) == 3325
    assert sum(one["total_energy_kwh"] for one in analytics) == pytest.approx(19723.0, abs=0.5)
    assert all(one["peak_hour"] is not None for one in analytics)
