"""Lists of sessions, sites, chargers and models: filters, pages, ETags."""

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import House


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["session_id"] for one in answer.json()["data"]]


def many(house: House, count: int) -> list[str]:
    """Ended sessions at one charger, a minute apart, newest first."""
    house.site(chargers=1)
    started = []
    for _ in range(count):
        started.append(house.start()["session_id"])
        house.post(f"/sessions/{started[-1]}/cancel")
        house.clock.advance(minutes=1)
    return started[::-1]


def test_an_empty_list_is_a_page(house: House) -> None:
    answer = house.get("/sessions")

    assert answer.json() == {"data": [], "next_cursor": None, "has_more": False}
    assert "Link" not in answer.headers


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_the_pages_hold_every_session_once_newest_first(house: House, limit: int) -> None:
    expected = many(house, 7)
    walked: list[str] = []
    cursor: str | None = None

    for _ in range(10):
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = house.get("/sessions", params=query).json()
        walked += [one["session_id"] for one in page["data"]]
        assert len(page["data"]) <= limit
        assert page["has_more"] == (page["next_cursor"] is not None)
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert walked == expected


def test_a_session_that_begins_while_pages_are_read_moves_nothing(house: House) -> None:
    expected = many(house, 4)
    first = house.get("/sessions?limit=2").json()

    house.start()
    second = house.get(f"/sessions?limit=2&cursor={first['next_cursor']}").json()

    walked = [one["session_id"] for one in first["data"] + second["data"]]
    assert walked == expected


def test_the_link_header_leads_to_the_next_page_with_the_same_filters(house: House) -> None:
    many(house, 3)

    answer = house.get("/sessions?limit=2&status=cancelled")

    link = answer.headers["Link"]
    assert link.endswith('; rel="next"')
    target = urlsplit(link[1 : link.index(">")])
    assert target.path == "/api/v1/sessions"
    query = parse_qs(target.query)
    assert query["status"] == ["cancelled"]
    assert query["limit"] == ["2"]
    assert query["cursor"] == [answer.json()["next_cursor"]]
    following = house.client.get(f"{target.path}?{target.query}")
    assert len(following.json()["data"]) == 1
    assert "Link" not in following.headers


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5"])
def test_a_limit_out_of_bounds_is_malformed(sqlite_house: House, limit: str) -> None:
    answer = sqlite_house.get(f"/sessions?limit={limit}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/limit"


@pytest.mark.parametrize(
    "cursor", ["nonsense", base64.urlsafe_b64encode(b"after:ses_1").decode(), "%00", "é"]
)
def test_a_cursor_that_was_not_given_out_is_refused(sqlite_house: House, cursor: str) -> None:
    answer = sqlite_house.get("/sessions", params={"cursor": cursor})

    assert answer.status_code == 409
    assert answer.json()["code"] == "cursor_invalid"


def test_a_cursor_of_another_list_is_refused(house: House) -> None:
    house.site("site_hq")
    house.site("site_mall")
    cursor = house.get("/sites?limit=1").json()["next_cursor"]

    for path in ("/sessions", "/chargers", "/forecasts/models"):
        answer = house.get(path, params={"cursor": cursor})
        assert answer.status_code == 409
        assert answer.json()["code"] == "cursor_invalid"
    assert house.get("/sites", params={"cursor": cursor}).status_code == 200


def test_filters_choose_sessions(house: House) -> None:
    house.site("site_hq")
    house.site("site_mall")
    first = house.start(number=1)["session_id"]
    house.clock.advance(hours=1)
    second = house.start(number=2, site_id="site_mall")["session_id"]
    house.clock.advance(hours=1)
    third = house.start(number=3, charger=2)["session_id"]
    house.post(f"/sessions/{second}/complete", {})

    def listed(**query: str) -> list[str]:
        return ids(house.get("/sessions", params=query))

    assert listed() == [third, second, first]
    assert listed(site_id="site_mall") == [second]
    assert listed(driver_did="did:denso:driver:driver003") == [third]
    assert listed(vehicle_did="did:denso:vehicle:vehicle001") == [first]
    assert listed(status="completed") == [second]
    assert listed(status="active") == [third, first]
    assert listed(status="active", site_id="site_mall") == []
    assert listed(site_id="site_nowhere") == []
    assert listed(**{"from": "2026-03-10T11:00:00Z"}) == [third, second]
    assert listed(to="2026-03-10T11:00:00Z") == [first]  # the end is not included
    assert listed(**{"from": "2026-03-10T13:00:00+02:00", "to": "2026-03-10T12:00:00Z"}) == [second]


@pytest.mark.parametrize(
    "query", ["status=charging", "from=2026-03-10T10:00:00", "from=yesterday", "format=xml"]
)
def test_a_filter_in_another_form_is_malformed(sqlite_house: House, query: str) -> None:
    answer = sqlite_house.get(f"/sessions?{query}")

    assert answer.status_code == 422


def test_the_list_shows_the_bill(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 25.5})

    row = house.get("/sessions").json()["data"][0]

    assert row["final_cost_eur"] == 7.65
    assert row["energy_delivered_kwh"] == 25.5
    assert row["end_time"] == "2026-03-10T11:00:00Z"


def etag(house: House, path: str) -> str:
    answer = house.get(path)
    assert answer.status_code == 200
    return str(answer.headers["ETag"])


def test_an_unchanged_session_is_not_sent_again(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    tag = etag(house, f"/sessions/{session_id}")

    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = house.get(f"/sessions/{session_id}", headers={"If-None-Match": known})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == tag
    other = house.get(f"/sessions/{session_id}", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_every_change_of_a_session_changes_its_tag(house: House) -> None:
    house.site()
    wishes = {"carbon_conscious": True}
    started = house.start(soc_percent=10, distance_km=300, preferences=wishes)
    session_id = started["session_id"]
    offer_id = started["plan"]["incentive_offers"][0]["offer_id"]
    path = f"/sessions/{session_id}"
    tags = [etag(house, path)]

    house.post(f"{path}/incentives/{offer_id}/decline")
    tags.append(etag(house, path))
    house.clock.advance(hours=1)
    at = f"{house.clock.now() - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    house.post(f"{path}/meter-values", {"values": [{"at": at, "energy_delivered_kwh": 5}]})
    tags.append(etag(house, path))
    house.settle()
    tags.append(etag(house, path))
    house.post(f"{path}/complete", {})
    tags.append(etag(house, path))

    assert len(set(tags)) == len(tags)
