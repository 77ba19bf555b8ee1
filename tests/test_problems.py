"""Bad input: every refusal is a problem that names the field, and changes nothing."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from backend.problems import Problem, every_problem
from tests.conftest import House, house_on
from tests.tables import row_counts

JSON = {"Content-Type": "application/json"}
START = "/api/v1/sessions/start"


@pytest.fixture
def open_house(house: House) -> House:
    """A house with a site and free chargers."""
    house.site()
    return house


@pytest.fixture(scope="module")
def quick_house(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for many requests that must not change it."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "tasco.db").write_bytes(migrated_sqlite.read_bytes())
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        house.site()
        yield house


def _refused(answer: Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem of a refusal, checked in form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["title"]
    assert problem["fix"]
    assert code is None or problem["code"] == code
    return problem


def _body(house: House, path: str, value: object) -> dict[str, Any]:
    """A valid start request with one value replaced."""
    body = deepcopy(house.start_body())
    *outer, last = path.strip("/").split("/")
    place = body
    for step in outer:
        place = place[step]
    place[last] = value
    return body


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/unknown", 1),
        ("/vehicle/colour", "red"),
        ("/vehicle/current_soc_percent", 140),
        ("/vehicle/current_soc_percent", -0.1),
        ("/vehicle/current_soc_percent", "35"),
        ("/vehicle/battery_capacity_kwh", 0),
        ("/vehicle/battery_capacity_kwh", -75),
        ("/vehicle/battery_capacity_kwh", 1e308),
        ("/vehicle/battery_capacity_kwh", 10**400),
        ("/vehicle/battery_capacity_kwh", True),
        ("/vehicle/battery_capacity_kwh", [75]),
        ("/vehicle/max_charge_power_kw", 0),
        ("/vehicle/max_charge_power_kw", 1e-300),
        ("/vehicle/nominal_consumption_wh_per_km", 0),
        ("/vehicle/did", "vehicle001"),
        ("/vehicle/did", "did:denso:vehicle:\x00"),
        ("/vehicle/did", "did:denso:" + "a" * 300),
        ("/driver/did", None),
        ("/driver/did", 7),
        ("/driver/credentials", ["Employee"]),
        ("/driver/credentials", ["Employee:TechCorp"] * 21),
        ("/driver/credentials", "Employee:TechCorp"),
        ("/driver/preferences/priority", "cheapest"),
        ("/driver/preferences/carbon_conscious", "yes"),
        ("/driver/preferences/comfort_soc_percent", 101),
        ("/driver/allowed_sites", ["Site HQ"]),
        ("/charger/did", "chr01"),
        ("/charger/max_power_kw", -1),
        ("/charger/location", {"lat": 91, "lon": 0}),
        ("/charger/location", {"lat": 60}),
        ("/charger/current_availability", 1),
        ("/trip/distance_km", -1),
        ("/trip/distance_km", None),
        ("/trip/distance_km", "120"),
        ("/trip/energy_kwh", None),
        ("/trip/target_soc_percent", 80),
        ("/trip/departure_time", "2026-03-10T18:00:00"),
        ("/trip/departure_time", "2026-03-10"),
        ("/trip/departure_time", "18:00"),
        ("/trip/departure_time", 1_773_165_600),
        ("/trip/departure_time", "2026-02-30T18:00:00Z"),
        ("/trip/departure_time", "2026-03-10T23:59:60Z"),
        ("/trip/departure_time", "\u0662026-03-10T18:00:00Z"),
        ("/trip", {}),
        ("/trip", []),
        ("/billing_party", ""),
        ("/billing_party", "a\x00b"),
        ("/cost_center", "x" * 121),
    ],
)
def test_a_value_outside_the_schema_is_named_and_changes_nothing(
    quick_house: House, path: str, value: object
) -> None:
    before = row_counts(quick_house.parts.database)

    answer = quick_house.client.post(
        START, content=json.dumps(_body(quick_house, path, value)), headers=JSON
    )

    problem = _refused(answer, 422, "malformed_request")
    where = [error["pointer"] for error in problem["errors"]]
    trip = ("/body/trip",) if path.startswith("/trip") else ()
    assert any(one.startswith((f"/body{path}", *trip)) for one in where), where
    assert all(error["reason"] for error in problem["errors"])
    assert row_counts(quick_house.parts.database) == before


@pytest.mark.parametrize("missing", ["driver", "vehicle", "charger", "trip"])
def test_a_missing_part_is_named(quick_house: House, missing: str) -> None:
    body = quick_house.start_body()
    del body[missing]

    problem = _refused(quick_house.post("/sessions/start", body), 422)

    assert problem["errors"] == [{"pointer": f"/body/{missing}", "reason": "Field required"}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(quick_house: House, number: str) -> None:
    text = json.dumps(_body(quick_house, "/trip/distance_km", "@")).replace('"@"', number)

    problem = _refused(quick_house.client.post(START, content=text, headers=JSON), 422)

    assert problem["errors"][0]["pointer"] == "/body/trip/distance_km"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"nothing",
        b"{'driver': 1}",
        b'{"driver": 1,}',
        b"\xff\xfe{}",
        b'{"driver": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * 5_000,
        b'"\\ud800"',
        b'{"\\ud800": 1}',
        b'{"trip": {"\\udfff": "\\ud800"}}',
        b"null",
        b"[]",
        b'"text"',
        b"12",
    ],
    ids=lambda body: f"{body[:12]!r}…{len(body)}",
)
def test_a_body_that_is_no_request_is_refused(quick_house: House, body: bytes) -> None:
    before = row_counts(quick_house.parts.database)

    answer = quick_house.client.post(START, content=body, headers=JSON)

    assert answer.status_code in (400, 422)
    _refused(answer, answer.status_code)
    assert row_counts(quick_house.parts.database) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_another_content_type_is_refused(quick_house: House, kind: str) -> None:
    body = json.dumps(quick_house.start_body())

    answer = quick_house.client.post(START, content=body, headers={"Content-Type": kind})

    assert "Content-Type: application/json" in _refused(answer, 400, "unreadable_body")["fix"]


def test_a_huge_body_is_refused_before_it_is_read_whole(quick_house: House) -> None:
    sent = []

    def _endless() -> Iterator[bytes]:
        for _ in range(64):
            sent.append(1)
            yield b" " * 65_536

    answer = quick_house.client.post(START, content=_endless(), headers=JSON)

    _refused(answer, 413, "body_too_large")
    assert "Connection" not in answer.headers or answer.headers["Connection"] == "close"


def test_a_body_of_two_megabytes_is_refused(quick_house: House) -> None:
    body = json.dumps({**quick_house.start_body(), "billing_party": "x" * 2_000_000})

    _refused(quick_house.client.post(START, content=body, headers=JSON), 413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/sessions/ses_unknown", "session_not_found"),
        ("GET", "/sessions/ses_unknown/plan", "session_not_found"),
        ("GET", "/sessions/ses_unknown/events", "session_not_found"),
        ("POST", "/sessions/ses_unknown/cancel", "session_not_found"),
        ("POST", "/sessions/ses_unknown/complete", "session_not_found"),
        ("POST", "/sessions/ses_unknown/incentives/off_1/accept", "session_not_found"),
        ("GET", "/sites/nowhere", "site_not_found"),
        ("GET", "/sites/nowhere/tariffs", "site_not_found"),
        ("GET", "/sites/nowhere/analytics", "site_not_found"),
        ("GET", "/sites/nowhere/events", "site_not_found"),
        ("PATCH", "/sites/nowhere", "site_not_found"),
        ("GET", "/chargers/did:denso:charger:none", "charger_not_found"),
        ("PATCH", "/chargers/did:denso:charger:none", "charger_not_found"),
        ("GET", "/forecasts/site/nowhere", "site_not_found"),
        ("GET", "/jobs/job_unknown", "not_found"),
        ("GET", "/no/such/path", "not_found"),
    ],
)
def test_what_does_not_exist_is_not_found(
    quick_house: House, method: str, path: str, code: str
) -> None:
    before = row_counts(quick_house.parts.database)

    body: dict[str, Any] | None = {} if method != "GET" and not path.endswith("/accept") else None
    answer = quick_house.client.request(method, f"/api/v1{path}", json=body)

    _refused(answer, 404, code)
    assert row_counts(quick_house.parts.database) == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/sites", "GET, POST"),
        ("PUT", "/api/v1/sites/site_hq", "GET, PATCH"),
        ("DELETE", "/api/v1/sessions/start", "POST"),
        ("POST", "/api/v1/sessions/ses_1", "GET, PATCH"),
        ("POST", "/health", "GET"),
        ("DELETE", "/docs", "GET"),
        ("DELETE", "/static-offline-docs/swagger-ui.css", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    quick_house: House, method: str, path: str, allowed: str
) -> None:
    answer = quick_house.client.request(method, path)

    _refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=101", "/query/limit"),
        ("limit=ten", "/query/limit"),
        ("limit=99999999999999999999999", "/query/limit"),
        ("limit=%D9%A1%D9%A0", "/query/limit"),
        ("from=2026-03-10T10:00:00", "/query/from"),
        ("from=yesterday", "/query/from"),
        ("to=1773165600", "/query/to"),
        ("status=done", "/query/status"),
        ("format=xml", "/query/format"),
        ("site_id=%00", "/query/site_id"),
        ("driver_did=" + "x" * 300, "/query/driver_did"),
        ("cursor=" + "x" * 500, "/query/cursor"),
    ],
)
def test_a_query_outside_the_schema_is_named(quick_house: House, query: str, pointer: str) -> None:
    problem = _refused(quick_house.get(f"/sessions?{query}"), 422)

    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("cursor", ["x", "YWZ0ZXI6AA==", "b3RoZXI6YQ==", "%ff", "////", "ä"])
def test_a_cursor_from_elsewhere_is_refused(open_house: House, cursor: str) -> None:
    for path in ("/sites", "/chargers", "/sessions", "/forecasts/models"):
        _refused(open_house.get(f"{path}?cursor={cursor}"), 409, "cursor_invalid")


@pytest.mark.parametrize("ending", ["%00", "%0A", "a%7Fb"])
@pytest.mark.parametrize("path", ["/sites/{}", "/sessions/{}", "/jobs/{}", "/chargers/{}"])
def test_an_id_with_control_characters_is_refused(
    open_house: House, path: str, ending: str
) -> None:
    problem = _refused(open_house.get(path.format(ending)), 422)

    assert problem["errors"][0]["pointer"].startswith("/path/")


def test_pointers_escape_what_a_pointer_uses_itself(quick_house: House) -> None:
    problem = _refused(quick_house.post("/sites", {"a/b~c": 1}), 422)

    assert "/body/a~1b~0c" in [error["pointer"] for error in problem["errors"]]


def test_pointers_name_fields_and_not_kinds_of_schemas(quick_house: House) -> None:
    body = {"kind": "purchase", "eur_per_kwh_by_hour": [0.1] * 23 + ["x"]}

    problem = _refused(quick_house.post("/sites/site_hq/tariffs", body), 422)

    assert [one["pointer"] for one in problem["errors"]] == ["/body/eur_per_kwh_by_hour/23"]


def test_a_person_or_value_of_the_body_is_not_repeated(quick_house: House) -> None:
    answer = quick_house.post("/sessions/start", _body(quick_house, "/driver/did", "secret person"))

    assert "secret person" not in answer.text


def _json_values() -> st.SearchStrategy[Any]:
    texts = st.text(st.characters(codec=None), max_size=20)
    numbers = st.floats() | st.integers()
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    place=st.sampled_from(
        [
            "driver",
            "vehicle",
            "charger",
            "trip",
            "driver/did",
            "trip/departure_time",
            "trip/energy_kwh",
        ]
    ),
    value=_json_values(),
)
@example(place="driver/did", value="did:x:\ud800")
@example(place="trip", value={"\ud800/~": 1})
def test_no_json_makes_a_start_fail_with_a_defect(
    quick_house: House, place: str, value: object
) -> None:
    text = json.dumps(_body(quick_house, place, value))

    answer = quick_house.client.post(START, content=text, headers=JSON)

    if answer.status_code != 200:  # null stands for the usual stay
        assert answer.status_code in (400, 409, 422), answer.text
        _refused(answer, answer.status_code)


def test_every_kind_of_problem_explains_itself(quick_house: House) -> None:
    kinds = set(every_problem())

    for kind in kinds:
        page = quick_house.client.get(f"/problems/{kind.code()}").json()
        assert page["title"] == kind.title() != ""
        assert page["title"].endswith(".")
        assert page["fix"]
    assert len({kind.code() for kind in kinds}) == len(kinds) > 30


def test_an_unknown_kind_of_problem_is_not_found(quick_house: House) -> None:
    _refused(quick_house.client.get("/problems/none"), 404, "not_found")


def test_a_defect_answers_without_a_word_of_its_cause(open_house: House) -> None:
    @open_house.app.get("/broken")
    def _broken() -> None:
        raise ValueError("a secret of the inside")

    answer = open_house.client.get("/broken")

    _refused(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_a_database_that_is_away_answers_503_with_the_time_to_wait(open_house: House) -> None:
    @open_house.app.get("/away")
    def _away() -> None:
        raise OperationalError("SELECT 1", {}, Exception("connection refused by 10.0.0.1"))

    answer = open_house.client.get("/away")

    problem = _refused(answer, 503, "database_unavailable")
    assert problem["retryable"] is True
    assert int(answer.headers["Retry-After"]) > 0
    assert "10.0.0.1" not in answer.text


def test_problems_share_no_code() -> None:
    codes = [kind.code() for kind in set(every_problem(Problem))]

    assert len(codes) == len(set(codes))
