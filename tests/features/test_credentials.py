"""Who may do what, and the chain over everything that was done."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import delete, select, update

from backend.clock import SystemClock
from backend.components import Parts
from backend.database import Database
from backend.features.credentials.audit import close_chain, first_broken_link, note
from backend.features.credentials.holder import DEMO_HOLDER, Holder, Knock, Role, Rule
from backend.features.credentials.listeners import close_chain_now
from backend.features.credentials.models import AuditEvent
from backend.features.credentials.rights import GRANT, Right
from tests.conftest import House, house_on
from tests.tables import rows_of

NOON = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
PUBLIC = {
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/problems/{code}",
    "/auth/challenge",
    "/auth/token",
    "/.well-known/did.json",
    "/.well-known/jwks.json",
    "/dids/denso/{path:path}/did.json",
    "/credentials/status/{list_id}",
    "/guest",
    "/guest.js",
    "/guests/quote",
    "/guests/sessions",
    "/guests/open",
    "/guests/session",
    "/guests/session/stop",
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _note(database: Database, *numbers: int) -> None:
    for number in numbers:
        with database.transaction() as db:
            facts = {"n": number, "share": 0.1, "text": "ä", "none": None}
            note(db, now=NOON, actor="did:x:1", action="tested", object_id="x", facts=facts)


def _closed(database: Database, *numbers: int) -> None:
    _note(database, *numbers)
    close_chain_now(database)


def _broken(database: Database) -> int | None:
    with database.reading() as db:
        return first_broken_link(db)


def _change(database: Database, number: int, values: dict[str, Any]) -> None:
    with database.transaction() as db:
        db.execute(update(AuditEvent).where(AuditEvent.sequence == number).values(values))


def test_a_closed_chain_fits(database: Database) -> None:
    _closed(database, *range(5))

    sequences = [row["sequence"] for row in rows_of(database, "audit_events")]
    assert sorted(sequences) == [1, 2, 3, 4, 5]
    assert _broken(database) is None


def test_the_chain_goes_on_where_it_ended(database: Database) -> None:
    _closed(database, 1, 2)
    _closed(database, 3)
    _closed(database)

    links = sorted(rows_of(database, "audit_events"), key=lambda row: row["sequence"])
    assert [row["facts"]["n"] for row in links] == [1, 2, 3]
    assert links[2]["previous_hash"] == links[1]["hash"]
    assert links[0]["previous_hash"] == "0" * 64
    assert _broken(database) is None


def test_a_long_backlog_is_closed_in_parts(database: Database) -> None:
    _note(database, *range(7))

    with database.transaction() as db:
        first = close_chain(db, limit=4)
    second = close_chain_now(database)

    assert (first, second) == (4, 3)
    assert _broken(database) is None


@pytest.mark.parametrize(
    "change",
    [
        {"facts": {"n": 99}},
        {"facts": {"n": 2, "share": 0.1, "text": "a", "none": None}},
        {"actor": "did:x:2"},
        {"action": "untested"},
        {"object_id": "y"},
        {"at": datetime(2026, 3, 10, 10, 0, 0, 1, tzinfo=UTC)},
        {"hash": "f" * 64},
        {"previous_hash": "f" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_event_is_found(database: Database, change: dict[str, Any]) -> None:
    _closed(database, 1, 2, 3)

    _change(database, 2, change)

    assert _broken(database) == 2


def test_a_deleted_event_is_found(database: Database) -> None:
    _closed(database, 1, 2, 3)

    with database.transaction() as db:
        db.execute(delete(AuditEvent).where(AuditEvent.sequence == 2))

    assert _broken(database) == 2


def test_a_deleted_beginning_is_found(database: Database) -> None:
    _closed(database, 1, 2, 3)

    with database.transaction() as db:
        db.execute(delete(AuditEvent).where(AuditEvent.sequence == 1))

    assert _broken(database) == 1


def test_swapped_events_are_found(database: Database) -> None:
    _closed(database, 1, 2, 3)

    _change(database, 2, {"sequence": 99})
    _change(database, 3, {"sequence": 2})
    _change(database, 99, {"sequence": 3})

    assert _broken(database) == 2


def test_an_inserted_event_is_found(database: Database) -> None:
    _closed(database, 1, 2)

    _note(database, 3)
    with database.transaction() as db:
        forged = {"sequence": 3, "previous_hash": "a" * 64, "hash": "b" * 64}
        db.execute(update(AuditEvent).where(AuditEvent.sequence.is_(None)).values(forged))

    assert _broken(database) == 3


def test_an_event_that_is_not_closed_yet_breaks_nothing(database: Database) -> None:
    _closed(database, 1)
    _note(database, 2)

    assert _broken(database) is None


def test_deeds_of_a_session_are_written_down_and_closed(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 0})

    close_chain_now(house.parts.database)

    with house.parts.database.reading() as db:
        mine = select(AuditEvent.action).where(AuditEvent.object_id == session_id)
        actions = db.scalars(mine.order_by(AuditEvent.sequence)).all()
    assert list(actions) == ["session.started", "session.completed"]
    assert _broken(house.parts.database) is None


def test_the_running_application_closes_the_chain_by_itself(
    sqlite_url: str, tmp_path: Path
) -> None:
    with house_on(sqlite_url, tmp_path, sweep_interval_s=0.02) as house:
        house.site()
        system, until = SystemClock(), SystemClock().now().timestamp() + 10
        while system.now().timestamp() < until:
            rows = rows_of(house.parts.database, "audit_events")
            if rows and all(row["hash"] for row in rows):
                break

    assert all(row["hash"] for row in rows)
    assert rows


def _routes(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of the application, those of its rooms included."""
    yield from _routes_of(app)


def _routes_of(owner: FastAPI | APIRouter) -> Iterator[APIRoute]:
    for route in owner.routes:
        router = getattr(route, "original_router", None)
        if isinstance(router, APIRouter):
            yield from _routes_of(router)
        elif isinstance(route, APIRoute):
            yield route


def _rules(route: APIRoute) -> list[Rule]:
    return [one.dependency for one in route.dependencies if isinstance(one.dependency, Rule)]


def test_every_route_states_one_rule_or_is_known_to_be_public(house: House) -> None:
    routes = list(_routes(house.app))
    public = {route.path for route in routes if not _rules(route)}

    assert len(routes) > 25
    assert public == PUBLIC | {"/docs"}
    assert all(len(_rules(route)) <= 1 for route in routes)


def test_an_administrator_is_covered_by_every_rule(house: House) -> None:
    for route in _routes(house.app):
        for rule in _rules(route):
            assert "administrator" in rule.roles


@pytest.fixture
def guarded(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """A house whose callers are who their token says: `role did site,site`."""
    with house_on(sqlite_url, tmp_path) as house:
        house.site("site_a")
        house.site("site_b")
        house.app.state.parts = replace(house.parts, door=_by_token)
        yield house


def _by_token(knock: Knock, _parts: Parts) -> Holder:
    role, did, *sites = (knock.token or "nobody did:x:nobody").split()
    roles: frozenset[Role] = frozenset() if role == "nobody" else frozenset({role})  # type: ignore[arg-type]
    reach = frozenset(sites[0].split(",")) if sites else frozenset()
    return Holder(did, roles, "verified", reach, rights=frozenset({Right(GRANT, "did:x:admin")}))


def _as(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {who}"}


DRIVER = "driver did:denso:driver:driver001"
OTHER_DRIVER = "driver did:denso:driver:driver002"
OPERATOR_A = "operator did:x:op site_a"
OPERATOR_B = "operator did:x:op site_b"
AUDITOR = "auditor did:x:aud"


def _session_of(house: House) -> str:
    body = house.start_body(site_id="site_a")
    answer = house.post("/sessions/start", body, headers=_as(DRIVER))
    assert answer.status_code == 200, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


@pytest.mark.parametrize(
    ("who", "status"),
    [(DRIVER, 200), (OTHER_DRIVER, 404), (OPERATOR_A, 200), (OPERATOR_B, 404), (AUDITOR, 200)],
)
def test_a_session_is_seen_by_its_driver_and_its_sites_operator(
    guarded: House, who: str, status: int
) -> None:
    session_id = _session_of(guarded)

    answers = [
        guarded.get(f"/sessions/{session_id}{path}", headers=_as(who)) for path in ("", "/plan")
    ]

    assert [answer.status_code for answer in answers] == [status, status]


@pytest.mark.parametrize(
    ("who", "count"),
    [(DRIVER, 1), (OTHER_DRIVER, 0), (OPERATOR_A, 1), (OPERATOR_B, 0), (AUDITOR, 1)],
)
def test_lists_hold_what_the_caller_may_see(guarded: House, who: str, count: int) -> None:
    _session_of(guarded)

    rows = guarded.get("/sessions", headers=_as(who)).json()["data"]
    csv = guarded.get("/sessions?format=csv", headers=_as(who)).text

    assert len(rows) == count
    assert len(csv.strip().splitlines()) == 1 + count


@pytest.mark.parametrize("who", [OTHER_DRIVER, OPERATOR_B])
def test_what_one_may_not_see_looks_like_what_does_not_exist(guarded: House, who: str) -> None:
    session_id = _session_of(guarded)

    forbidden = guarded.post(f"/sessions/{session_id}/cancel", headers=_as(who))
    unknown = guarded.post("/sessions/ses_unknown/cancel", headers=_as(who))

    varying = ("instance", "request_id")
    bodies = [
        {name: value for name, value in answer.json().items() if name not in varying}
        for answer in (forbidden, unknown)
    ]
    assert forbidden.status_code == unknown.status_code == 404
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("method", "path", "who", "status"),
    [
        ("PATCH", "/sites/site_a", OPERATOR_A, 200),
        ("PATCH", "/sites/site_a", OPERATOR_B, 404),
        ("PATCH", "/sites/site_a", DRIVER, 403),
        ("PATCH", "/chargers/did:denso:charger:site_a_chr01", OPERATOR_A, 200),
        ("PATCH", "/chargers/did:denso:charger:site_a_chr01", OPERATOR_B, 404),
        ("GET", "/sites/site_a/analytics", OPERATOR_A, 200),
        ("GET", "/sites/site_a/analytics", OPERATOR_B, 404),
        ("GET", "/sites/site_a/analytics", AUDITOR, 200),
        ("GET", "/sites/site_a/analytics", DRIVER, 403),
        ("GET", "/sites", DRIVER, 200),
        ("POST", "/forecasts/train", DRIVER, 403),
        ("POST", "/sessions/start", AUDITOR, 403),
        ("GET", "/sites", "nobody did:x:nobody", 403),
    ],
)
def test_roles_and_sites_decide(
    guarded: House, method: str, path: str, who: str, status: int
) -> None:
    body = guarded.start_body(site_id="site_a") if path == "/sessions/start" else {}

    answer = guarded.client.request(
        method, f"/api/v1{path}", json=body if method != "GET" else None, headers=_as(who)
    )

    assert answer.status_code == status, answer.text


def test_an_auditor_reads_everything_and_changes_nothing(guarded: House) -> None:
    session_id = _session_of(guarded)

    read = guarded.get(f"/sessions/{session_id}", headers=_as(AUDITOR))
    changed = guarded.post(f"/sessions/{session_id}/cancel", headers=_as(AUDITOR))

    assert (read.status_code, changed.status_code) == (200, 403)


def test_an_auditor_who_drives_does_not_change_the_sessions_of_others(guarded: House) -> None:
    session_id = _session_of(guarded)

    def _both(_knock: Knock, _parts: Parts) -> Holder:
        return Holder("did:x:both", frozenset({"auditor", "driver"}), "verified")

    guarded.app.state.parts = replace(guarded.parts, door=_both)

    answer = guarded.post(f"/sessions/{session_id}/cancel")

    assert answer.status_code == 404


def test_the_demos_visitor_is_simulated_and_may_try_everything(house: House) -> None:
    house.site()

    started = house.start()

    assert started["assurance"] == "simulated"
    assert DEMO_HOLDER.assurance == "simulated"
    assert "verified" not in str(started)


def test_reading_and_running_a_site_are_not_the_same() -> None:
    auditor = Holder("did:x:a", frozenset({"auditor"}), "verified")
    operator = Holder("did:x:o", frozenset({"operator"}), "verified", frozenset({"site_a"}))

    assert auditor.sees(site_id="site_a", driver_did="did:x:d")
    assert operator.runs("site_a")
    assert not operator.runs("site_b")
    assert not operator.sees(site_id="site_b", driver_did="did:x:d")
