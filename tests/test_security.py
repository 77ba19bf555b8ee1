"""What strangers get: refusals in production, headers on every answer, a page without others."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Response

from tests.conftest import House, house_on
from tests.tables import row_counts

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
APP = "https://app.example"


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on SQLite: which database it is plays no part here."""
    with house_on(sqlite_url, tmp_path) as house:
        yield house


ENTRANCES = {
    "/api/v1/auth/challenge",
    "/api/v1/auth/token",
    "/api/v1/credentials/status/{list_id}",
    "/api/v1/guests/quote",
    "/api/v1/guests/sessions",
    "/api/v1/guests/open",
    "/api/v1/guests/session",
    "/api/v1/guests/session/stop",
}


def _operations(house: House) -> Iterator[tuple[str, str]]:
    """Method and path of every API route that asks who calls, its parameters filled in."""
    for path, methods in house.app.openapi()["paths"].items():
        if path.startswith("/api/") and path not in ENTRANCES:
            for method in methods:
                yield method.upper(), re.sub(r"\{\w+\}", "some-id", path)


def test_production_refuses_everybody_on_every_route(closed_house: House) -> None:
    answers = [
        closed_house.client.request(method, path, json=None if method == "GET" else {})
        for method, path in _operations(closed_house)
    ]

    assert len(answers) > 20
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["code"] for answer in answers} == {"not_authenticated"}
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in answers)
    assert sum(row_counts(closed_house.parts.database).values()) == 0


@pytest.mark.parametrize(
    "header", ["Bearer x", "Bearer", "Basic dXNlcjpwYXNz", "bearer demo", "Bearer \xff"]
)
def test_what_is_no_token_opens_nothing(closed_house: House, header: str) -> None:
    answer = closed_house.get("/sites", headers={"Authorization": header.encode("latin-1")})

    assert answer.status_code == 401
    assert answer.json()["code"] in ("not_authenticated", "token_not_accepted")


@pytest.mark.parametrize("path", ["/clock", "/sample-dids", "/generate-data", "/reset", "/faults"])
def test_production_has_no_demonstration(closed_house: House, path: str) -> None:
    answers = [closed_house.get(f"/demo{path}"), closed_house.post(f"/demo{path}")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not [one for one in closed_house.app.openapi()["paths"] if "demo" in one]


def test_production_says_in_its_document_that_a_token_is_needed(closed_house: House) -> None:
    operations = [
        operation
        for path, methods in closed_house.app.openapi()["paths"].items()
        for operation in methods.values()
        if path.startswith("/api/") and path not in ENTRANCES
    ]

    assert {str(operation["security"]) for operation in operations} == {
        "[{'HTTPBearer': [], 'DPoP': []}]"
    }


def test_production_shows_no_id_that_exists_to_strangers(closed_house: House) -> None:
    document = closed_house.client.get("/openapi.json").text

    assert "ses_01KAF0000000000000000000" in document


def test_production_tells_strangers_only_that_it_is_up(closed_house: House) -> None:
    open_paths = ["/health", "/ready", "/metrics", "/docs", "/openapi.json", "/problems/not_found"]

    answers = [closed_house.client.get(path) for path in open_paths]

    assert [answer.status_code for answer in answers] == [200] * len(open_paths)
    assert closed_house.client.get("/health").json()["profile"] == "production"


def _answers_of_all_kinds(house: House) -> dict[str, Response]:
    @house.app.get("/broken")
    def _broken() -> None:
        raise ValueError

    client = house.client
    json_type = {"Content-Type": "application/json"}
    return {
        "200": client.get("/api/v1/sites"),
        "200 csv": client.get("/api/v1/sessions?format=csv"),
        "200 page": client.get("/docs"),
        "200 static": client.get("/static-offline-docs/swagger-ui.css"),
        "200 metrics": client.get("/metrics"),
        "307": client.get("/", follow_redirects=False),
        "400": client.post("/api/v1/sites", content="{", headers=json_type),
        "404": client.get("/nothing"),
        "404 static": client.get("/static-offline-docs/nothing"),
        "405": client.delete("/api/v1/sites"),
        "413": client.post("/api/v1/sites", content="x" * 2_000_000, headers=json_type),
        "422": client.post("/api/v1/sites", json={}),
        "500": client.get("/broken"),
    }


def test_every_answer_carries_the_security_headers(house: House) -> None:
    answers = _answers_of_all_kinds(house)

    for kind, answer in answers.items():
        assert str(answer.status_code) == kind[:3]
        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS, kind
        assert answer.headers["X-Request-Id"].startswith("req_"), kind
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"], kind
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], kind
        assert answer.headers["Cache-Control"], kind
        assert "Server" not in answer.headers, kind


def test_request_ids_are_all_different(house: House) -> None:
    ids = {house.client.get("/health").headers["X-Request-Id"] for _ in range(20)}

    assert len(ids) == 20


def test_the_documentation_page_allows_exactly_its_own_script(house: House) -> None:
    page = house.client.get("/docs")

    policy = dict(
        part.strip().partition(" ")[::2]
        for part in page.headers["Content-Security-Policy"].split(";")
    )
    scripts = re.findall(r"<script(?![^>]*src=)[^>]*>(.*?)</script>", page.text, re.DOTALL)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in scripts
    ]
    assert len(scripts) == 1
    assert policy["script-src"].split() == ["'self'", *hashes]
    assert policy["connect-src"] == "'self'"
    assert policy["default-src"] == "'none'"


def test_the_documentation_page_needs_nobody_else(house: House) -> None:
    page = house.client.get("/docs").text

    links = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert len(links) >= 4
    assert "//" not in page.replace("//-->", "").replace("<!-- ", "")
    for link in links:
        assert link.startswith("/")
        assert house.client.get(link).status_code == 200


def test_handlers_in_attributes_are_not_used_by_the_page(house: House) -> None:
    page = house.client.get("/docs").text

    assert not re.findall(r"<[^>]+\son\w+=", page)
    assert "javascript:" not in page


@pytest.fixture
def shared_house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """A house that one browser application may call."""
    with house_on(sqlite_url, tmp_path, cors_origins=(APP,)) as house:
        yield house


def _preflight(house: House, origin: str) -> Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    wanted = {"Access-Control-Request-Headers": "authorization, content-type, idempotency-key"}
    return house.client.options("/api/v1/sessions/start", headers={**asked, **wanted})


def test_a_configured_origin_may_call(shared_house: House) -> None:
    preflight = _preflight(shared_house, APP)
    answer = shared_house.get("/sites", headers={"Origin": APP})

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == APP
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_refusal_is_readable_by_a_configured_origin(shared_house: House) -> None:
    answer = shared_house.post("/sites", {}, headers={"Origin": APP})

    assert answer.status_code == 422
    assert answer.headers["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize("origin", ["https://other.example", "null", f"{APP}.evil.example", "*"])
def test_another_origin_may_not(shared_house: House, origin: str) -> None:
    preflight = _preflight(shared_house, origin)
    answer = shared_house.get("/sites", headers={"Origin": origin})

    assert preflight.status_code == 400
    assert "Access-Control-Allow-Origin" not in preflight.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_configured_origins_no_browser_application_may_call(closed_house: House) -> None:
    answer = _preflight(closed_house, APP)

    assert answer.status_code == 405
    assert "Access-Control-Allow-Origin" not in answer.headers
