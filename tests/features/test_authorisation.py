"""Every route with every role: what its rule says is what happens, and no rule says too much."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.components import Parts
from backend.features.credentials.grants import assign_vehicle
from backend.features.credentials.holder import EVERYONE, Holder, Knock, NotAuthenticated, Role
from backend.features.federated.models import FederatedParticipant
from backend.features.sessions.models import ChargingSession
from tests.conftest import NOON, House, house_on
from tests.tables import rows_of

# Who may call what, by the first rule that fits: method, path, roles beside administrators. A new
# route that no line covers fails the test; a line is a decision, not a copy of the code.
LETTERS: dict[str, Role] = {
    "d": "driver",
    "f": "fleet",
    "o": "operator",
    "c": "charger",
    "a": "auditor",
    "p": "participant",
}
MATRIX = """
POST   /auth/(challenge|token)                      public
*      /guests/.*                                   public
*      /drivers/.*/tokens.*                         do
*      /drivers/.*                                  d
POST   /sessions/start-by-card                      oc
GET    /credentials/status/.*                       public
GET    /auth/me                                     dfocap
GET    /role-grants                                 a
*      /role-grants.*                               -
GET    /fleets/.*/vehicles                          fa
*      /fleets/.*                                   -
POST   /dids                                        o
GET    /dids/.*                                     dfocap
POST   /dids/.*/(rotate|deactivate)                 dfocap
POST   /(credentials|presentations)/verify          foa
GET    /issuers.*                                   dfocap
*      /issuers.*                                   o
GET    /credentials.*                               dfocap
POST   /credentials/(issue|revoke|suspend|resume|reinstate|lift).*   fo
POST   /sessions/[^/]*/meter-values                 oc
GET    /sessions(/[^/]*(/(plan|events))?)?          dfoca
GET    /(sessions|reservations)/.*                  dfoa
*      /(sessions|reservations).*                   dfo
GET    /sites/.*/(analytics|savings|schedule|events|status)   oa
GET    /sites/.*/availability                       dfoa
GET    /(sites|chargers).*                          dfocap
*      /(sites|chargers).*                          o
*      /vehicles/.*/telemetry.*                     df
GET    /fleet/.*                                    foa
*      /(fleet|vehicles).*                          fo
GET    /forecasts/site/.*/(accuracy|explanation)    oa
GET    /forecasts/site/.*                           dfocap
GET    /forecasts/vehicles/.*                       df
GET    /forecasts/models/.*/edge                    foap
GET    /forecasts.*                                 oa
*      /forecasts.*                                 o
POST   /federated/fleet/runs                        fo
GET    /federated/fleet/runs/.*                     foa
POST   /federated/fleet/decide                      dfop
POST   /federated/trees/runs                        o
GET    /federated/trees/runs/.*                     oap
GET    /federated/rounds/.*/task                    p
POST   /federated/participants/.*/reinstate         o
DELETE /federated/participants/.*                   op
POST   /federated/(participants|rounds/.*/(updates|scores|judgement|letters))   p
POST   /federated/rounds                            o
DELETE /federated/experiments/.*                    o
GET    /federated/newcomer                          oa
GET    /federated/(rounds|experiments|participants|model).*   oap
GET    /jobs/.*                                     dfoa
POST   /anchors/verify                              dfoa
GET    /anchors.*                                   dfoa
GET    /ledger/(pending|blocks/.*)                  oa
GET    /ledger.*                                    dfoa
*      /demo/.*                                     dfocap
"""
# Where a rule is stricter or wider than its line for a reason of its own, the room's tests say why.
API = "/api/v1"


def _lines() -> Iterator[tuple[str, str, str]]:
    for line in MATRIX.strip().splitlines():
        method, path, letters = line.split()
        yield method, path, letters


def _wanted(method: str, path: str) -> frozenset[Role] | None:
    """Roles that may call a route; None if nobody is asked who they are."""
    for verb, pattern, letters in _lines():
        if verb in ("*", method) and re.fullmatch(pattern, path):
            if letters == "public":
                return None
            given = "" if letters == "-" else letters
            return frozenset({LETTERS[letter] for letter in given}) | {"administrator"}
    pytest.fail(f"no line of the matrix covers {method} {path}")


def _by_name(knock: Knock, _parts: Parts) -> Holder:
    """A caller whose token is the role they have."""
    if knock.token is None:
        raise NotAuthenticated
    role, did = (*knock.token.split(), "did:x:nobody")[:2]
    roles = frozenset({role}) & frozenset(EVERYONE)
    return Holder(did, roles, "verified")  # type: ignore[arg-type]


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """A house whose callers are who they say."""
    with house_on(sqlite_url, tmp_path) as house:
        house.app.state.parts = replace(house.parts, door=_by_name)
        yield house


def _routes(house: House) -> Iterator[tuple[str, str]]:
    for path, methods in house.app.openapi()["paths"].items():
        if path.startswith(API):
            for method in methods:
                yield method.upper(), path.removeprefix(API)


def _answer(house: House, method: str, path: str, who: str | None) -> Any:
    filled = re.sub(r"\{\w+\}", "some-id", path)
    headers = {} if who is None else {"Authorization": f"Bearer {who}"}
    # Rules are asked before bodies are judged, and {} is what next to no route makes use of.
    body: Any = None if method == "GET" else {}
    return house.client.request(method, f"{API}{filled}", json=body, headers=headers)


# What makes data, which takes its time: the demo shows these to every role anyway.
LONG = {"/demo/generate-data", "/demo/reset"}


def test_every_route_lets_in_the_roles_of_the_matrix_and_no_other(house: House) -> None:
    wrong = []
    for method, path in _routes(house):
        wanted = _wanted(method, path)
        if wanted is None or path.endswith("/events") or path in LONG:
            continue
        for role in EVERYONE:
            let_in = _answer(house, method, path, role).status_code != 403
            if let_in != (role in wanted):
                wrong.append(f"{method} {path}: {role} {'is let in' if let_in else 'is refused'}")

    assert not wrong, "\n".join(wrong)


def test_streams_ask_the_same(house: House) -> None:
    for method, path in _routes(house):
        if path.endswith("/events"):
            wanted = _wanted(method, path)
            for role in EVERYONE:
                status = _answer(house, method, path, role).status_code
                assert (status != 403) == (role in (wanted or ())), (path, role)
                assert status in (403, 404)


def test_nobody_is_let_in_without_a_proof_and_nobody_without_a_role(house: House) -> None:
    for method, path in _routes(house):
        if _wanted(method, path) is None:
            continue
        assert _answer(house, method, path, None).status_code == 401, path
        assert _answer(house, method, path, "nobody").status_code == 403, path


ASKING = (
    "/dids/.*/(rotate|deactivate)",
    "/(credentials|presentations)/verify",
    "/anchors/verify",
    "/demo/.*",
    "/federated/fleet/decide",
    "/federated/participants/.*",  # itself, out of it
    # Theirs to send; rounds judge it.
    "/federated/(participants|rounds/.*/(updates|scores|judgement|letters))",
)


def test_auditors_and_trainers_change_nothing() -> None:
    """Whatever lines are added: these two ask, and end or renew their own DID."""
    for verb, pattern, letters in _lines():
        if verb != "GET" and pattern not in ASKING and letters != "public":
            assert not set(letters) & set("ap"), pattern


ANNA, BERT = "did:denso:driver:driver001", "did:denso:driver:driver002"
CAR, CHARGER = "did:denso:vehicle:vehicle001", "did:denso:charger:site_a_chr01"


def _holder(did: str, role: Role, **reach: Any) -> Holder:
    return Holder(did, frozenset({role}), "verified", **reach)


@pytest.fixture
def session_id(house: House) -> str:
    """A session of Anna's at site_a, in a vehicle of the fleet `north`."""
    parts = house.parts
    house.app.state.parts = replace(parts, door=lambda _knock, _parts: ADMIN)
    house.site("site_a")
    house.site("site_b")
    started = house.start(site_id="site_a")["session_id"]
    with parts.database.transaction() as db:
        assign_vehicle(db, "north", CAR, holder=ADMIN, now=house.clock.now())
        assert db.get_one(ChargingSession, started).driver_did == ANNA
    return str(started)


ADMIN = Holder("did:x:admin", frozenset({"administrator"}), "simulated")
SEEING = [
    (_holder(ANNA, "driver"), 200),
    (_holder(BERT, "driver"), 404),
    (_holder("did:x:o", "operator", sites=frozenset({"site_a"})), 200),
    (_holder("did:x:o", "operator", sites=frozenset({"site_b"})), 404),
    (_holder("did:x:f", "fleet", fleets=frozenset({"north"}), vehicles=frozenset({CAR})), 200),
    (_holder("did:x:f", "fleet", fleets=frozenset({"south"})), 404),
    (_holder(CHARGER, "charger", chargers=frozenset({CHARGER})), 200),
    (_holder("did:x:c", "charger", chargers=frozenset({"did:x:c"})), 404),
    (_holder("did:x:a", "auditor"), 200),
    (ADMIN, 200),
]
WHO = [f"{next(iter(one.roles))}-{status}" for one, status in SEEING]


def _let_in(house: House, holder: Holder) -> None:
    house.app.state.parts = replace(house.parts, door=lambda _knock, _parts: holder)


@pytest.mark.parametrize(("holder", "status"), SEEING, ids=WHO)
def test_a_session_is_seen_by_those_it_concerns(
    house: House, session_id: str, holder: Holder, status: int
) -> None:
    _let_in(house, holder)

    answer = house.get(f"/sessions/{session_id}")
    listed = house.get("/sessions").json()["data"]

    assert answer.status_code == status
    assert [one["session_id"] for one in listed] == ([session_id] if status == 200 else [])


@pytest.mark.parametrize(("holder", "status"), SEEING, ids=WHO)
def test_forbidden_and_unknown_look_alike(
    house: House, session_id: str, holder: Holder, status: int
) -> None:
    if status == 200:
        return
    _let_in(house, holder)

    forbidden = house.get(f"/sessions/{session_id}").json()
    unknown = house.get("/sessions/ses_unknown").json()

    for body in (forbidden, unknown):
        del body["instance"], body["request_id"]
    assert forbidden == unknown


def test_a_charger_meters_what_stands_at_it_and_nothing_else(house: House, session_id: str) -> None:
    reading = {"values": [{"at": "2026-03-10T10:00:00Z", "energy_delivered_kwh": 0}]}
    path = f"/sessions/{session_id}/meter-values"

    _let_in(house, _holder(CHARGER, "charger", chargers=frozenset({CHARGER})))
    own = house.post(path, reading)
    _let_in(house, _holder("did:x:c", "charger", chargers=frozenset({"did:x:c"})))
    foreign = house.post(path, reading)

    assert (own.status_code, foreign.status_code) == (200, 404)


RUNNING = [
    (_holder("did:x:o", "operator", sites=frozenset({"site_a"})), 200),
    (_holder("did:x:o", "operator", sites=frozenset({"site_b"})), 404),
    (ADMIN, 200),
]


@pytest.mark.parametrize("engine", ["edge", "embedded", "flower"])
@pytest.mark.parametrize(("holder", "status"), RUNNING)
def test_a_participant_is_reinstated_by_who_runs_its_site(
    house: House, holder: Holder, status: int, engine: str
) -> None:
    suspended = {"state": "suspended", "strikes": 3, "standing": {}, "enrolled_at": NOON}
    of_site = {"site_id": "site_a", "engine": engine, "did": "did:x:p", "assurance": "verified"}
    with house.parts.database.transaction() as db:
        db.add(FederatedParticipant(**of_site, **suspended))
    _let_in(house, holder)

    answer = house.post(f"/federated/participants/site_a/reinstate?engine={engine}")

    [row] = rows_of(house.parts.database, "federated_participants")
    is_lifted = status == 200
    assert answer.status_code == status
    assert (answer.json().get("code") == "participant_not_found") != is_lifted
    assert (row["state"], row["strikes"]) == (("active", 0) if is_lifted else ("suspended", 3))


def test_a_fleet_plans_and_reads_its_own_vehicles_alone(house: House, session_id: str) -> None:
    assert session_id
    trips = {
        "trips": [{"vehicle_did": CAR, "departure_time": "2026-03-11T08:00:00Z", "distance_km": 10}]
    }
    north = _holder("did:x:n", "fleet", fleets=frozenset({"north"}), vehicles=frozenset({CAR}))

    _let_in(house, north)
    own = (house.post("/fleet/trips", trips), house.get(f"/vehicles/{CAR}"))
    _let_in(house, _holder("did:x:s", "fleet", fleets=frozenset({"south"})))
    foreign = (house.post("/fleet/trips", trips), house.get(f"/vehicles/{CAR}"))
    seen = house.get("/vehicles").json()["data"]

    assert own[0].json()["created"] == 1
    assert own[1].status_code == 200
    assert foreign[0].json()["created"] == 0
    assert "not registered" in foreign[0].json()["results"][0]["reason"]
    assert foreign[1].status_code == 404
    assert seen == []


def test_a_trainer_reads_no_sessions_of_the_site_it_trains_for(
    house: House, session_id: str
) -> None:
    trainer = _holder("did:x:p", "participant", training_sites=frozenset({"site_a"}))
    _let_in(house, trainer)

    assert house.get(f"/sessions/{session_id}").status_code == 403
    assert house.get("/sites/site_a/analytics").status_code == 403
    assert not trainer.reads("site_a")
