"""Idempotency-Key: one effect, the same bytes, however often and however fast."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, ParamSpec, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx2 import Response
from sqlalchemy import delete, update

from backend.components import Parts
from backend.compute import InPlace
from backend.features.credentials.holder import Holder, Knock
from backend.features.jobs.service import await_all
from backend.features.sessions.desk import open_desk
from backend.features.vehicles.models import TelemetryPoint
from backend.federation.signing import did_of
from backend.idempotency import KEPT, StoredAnswer, forget_old
from tests.conftest import NOON, House, house_on
from tests.features.fleets import commuters, put
from tests.tables import row_counts, rows_of

P = ParamSpec("P")
R = TypeVar("R")
KEY = {"Idempotency-Key": "key-1"}
ROUNDS = "/federated/rounds"
WAITING = {"engine": "edge", "deadline_s": 86_400, "min_available_clients": 3}


class SlowCompute(InPlace):
    """Computes in place after a while, and counts."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s, self.runs = delay_s, 0

    def run(
        self, function: Callable[P, R], timeout_s: float, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self.runs += 1
        time.sleep(self.delay_s)
        return super().run(function, timeout_s, *args, **kwargs)


def _at_once(*calls: Callable[[], Response]) -> list[Response]:
    """The answers of calls that begin together."""
    barrier = Barrier(len(calls))

    def _call(call: Callable[[], Response]) -> Response:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(_call, calls))


def _start(house: House, body: dict[str, Any] | None = None, key: str = "key-1") -> Response:
    answer: Response = house.post(
        "/sessions/start", body or house.start_body(), headers={"Idempotency-Key": key}
    )
    return answer


def test_the_same_key_gets_the_same_bytes_and_acts_once(house: House) -> None:
    house.site()
    first = _start(house)
    before = row_counts(house.parts.database)

    again = _start(house)

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert row_counts(house.parts.database) == before


def test_a_replay_survives_a_change_of_what_it_describes(house: House) -> None:
    house.site()
    first = _start(house)
    house.post(f"/sessions/{first.json()['session_id']}/complete", {"energy_delivered_kwh": 1})

    again = _start(house)

    assert again.content == first.content


def test_a_replay_keeps_the_status(house: House) -> None:
    site = {"site_id": "site_a", "name": "A", "kind": "depot", "timezone": "UTC"}
    body = {**site, "grid_limit_kw": 100}

    first = house.post("/sites", body, headers=KEY)
    again = house.post("/sites", body, headers=KEY)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert house.post("/sites", body).status_code == 409


def test_a_replay_repeats_location_and_etag(house: House) -> None:
    site = {"site_id": "site_a", "name": "A", "kind": "depot", "timezone": "UTC"}
    url, change = "/api/v1/sites/site_a", {"grid_limit_kw": 300}

    made = [house.post("/sites", {**site, "grid_limit_kw": 100}, headers=KEY) for _ in range(2)]
    changed = [house.client.patch(url, json=change, headers=KEY) for _ in range(2)]
    house.client.patch(url, json={"grid_limit_kw": 400})
    later = house.client.patch(url, json=change, headers=KEY)

    assert [one.headers["Location"] for one in made] == [url, url]
    assert changed[0].headers["ETag"] == changed[1].headers["ETag"] == later.headers["ETag"]
    assert later.content == changed[0].content
    assert later.headers["ETag"] != house.client.get(url).headers["ETag"]


def test_an_answer_stored_without_headers_is_still_replayed(house: House) -> None:
    house.site()
    first = _start(house)
    with house.parts.database.transaction() as db:
        db.execute(update(StoredAnswer).values(body=first.content))

    again = _start(house)

    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_key_with_another_body_is_refused(house: House) -> None:
    house.site()
    _start(house)
    before = row_counts(house.parts.database)

    other = _start(house, house.start_body(number=2, charger=2))

    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert row_counts(house.parts.database) == before


def test_a_key_with_another_precondition_is_refused(house: House) -> None:
    house.site()
    change = {"grid_limit_kw": 300}
    url = "/api/v1/sites/site_hq"
    first = house.client.patch(url, json=change, headers=KEY)

    other = house.client.patch(url, json=change, headers={**KEY, "If-Match": '"old"'})

    assert first.status_code == 200
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_request_leaves_its_key_free(house: House) -> None:
    house.site()
    refused = _start(house, house.start_body(charger=9))

    accepted = _start(house)

    assert refused.status_code == 404
    assert accepted.status_code == 200
    assert "Idempotent-Replayed" not in accepted.headers


def test_a_conflict_leaves_its_key_free(house: House) -> None:
    house.site()
    blocking = house.start()
    refused = _start(house, house.start_body(number=2, charger=1))
    house.post(f"/sessions/{blocking['session_id']}/cancel")

    accepted = _start(house, house.start_body(number=2, charger=1))

    assert (refused.status_code, accepted.status_code) == (409, 200)


def test_a_key_counts_for_one_route_only(house: House) -> None:
    house.site()
    first, second = house.start(), house.start(number=2, charger=2)
    complete = "/sessions/{}/complete"

    one = house.post(complete.format(first["session_id"]), {}, headers=KEY)
    two = house.post(complete.format(second["session_id"]), {}, headers=KEY)

    assert one.status_code == two.status_code == 200
    assert one.json()["session_id"] != two.json()["session_id"]


def test_a_key_counts_for_one_caller_only(database_url: str, tmp_path: Path) -> None:
    def _door(knock: Knock, _parts: Parts) -> Holder:
        return Holder(f"did:x:{knock.token}", frozenset({"operator", "auditor"}), "simulated")

    with house_on(database_url, tmp_path) as house:
        house.app.state.parts = replace(house.parts, door=_door)
        body = {"site_id": "site_a", "name": "A", "kind": "depot", "timezone": "UTC"}
        by = [{**KEY, "Authorization": f"Bearer {name}"} for name in ("ann", "bob")]

        of_ann = house.post("/sites", {**body, "grid_limit_kw": 100}, headers=by[0])
        of_bob = house.post("/sites", {**body, "grid_limit_kw": 100}, headers=by[1])

    assert of_ann.status_code == 201
    assert (of_bob.status_code, of_bob.json()["code"]) == (409, "site_exists")


def test_twins_at_the_same_moment_make_one_session(house: House) -> None:
    house.site()
    body = house.start_body()

    answers = _at_once(*[lambda: _start(house, body)] * 6)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(rows_of(house.parts.database, "charging_sessions")) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 5


def test_a_conflict_with_its_own_twin_is_answered_with_the_twins_answer(house: House) -> None:
    house.site()
    slow = SlowCompute(0.4)
    house.parts.shared["desk"] = replace(open_desk(house.parts), compute=slow)
    body = house.start_body()

    first, second = _at_once(lambda: _start(house, body), lambda: _start(house, body))

    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert slow.runs == 1  # the other one found the charger taken, by itself
    assert row_counts(house.parts.database)["charging_sessions"] == 1


def test_a_conflict_with_somebody_else_stays_a_conflict(house: House) -> None:
    house.site()
    bodies = [house.start_body(number=number, charger=1) for number in (1, 2)]

    answers = _at_once(
        lambda: _start(house, bodies[0], "key-a"), lambda: _start(house, bodies[1], "key-b")
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert row_counts(house.parts.database)["charging_sessions"] == 1


def test_twin_completions_bill_once(house: House) -> None:
    house.site()
    url = f"/sessions/{house.start()['session_id']}/complete"

    answers = _at_once(*[lambda: house.post(url, {"energy_delivered_kwh": 1}, headers=KEY)] * 4)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(rows_of(house.parts.database, "charge_detail_records")) == 1


def test_twins_that_nothing_else_tells_apart_act_once(house: House) -> None:
    house.site()
    url, tariff = "/sites/site_hq/tariffs", {"kind": "sales", "eur_per_kwh": 0.4}
    before = len(rows_of(house.parts.database, "sales_tariffs"))

    answers = _at_once(*[lambda: house.post(url, tariff, headers=KEY)] * 8)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(rows_of(house.parts.database, "sales_tariffs")) == before + 1


def test_different_keys_at_the_same_moment_do_not_disturb_each_other(house: House) -> None:
    house.site(chargers=5)
    bodies = [house.start_body(number=number, charger=number) for number in range(1, 6)]

    answers = _at_once(
        *[
            lambda number=number: _start(house, bodies[number], f"key-{number}")
            for number in range(5)
        ]
    )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["session_id"] for answer in answers}) == 5


def test_long_work_has_one_job_per_key(house: House) -> None:
    first = house.post("/demo/generate-data?days=1&wait=false", headers=KEY)

    again = house.post("/demo/generate-data?days=1&wait=false", headers=KEY)
    other = house.post("/demo/generate-data?days=2&wait=false", headers=KEY)

    jobs = rows_of(house.parts.database, "jobs")
    assert first.status_code == 202
    assert again.status_code in (200, 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert [job["id"] for job in jobs] == [first.json()["id"]]
    _until_done(house, first.json()["id"])


def test_twins_of_long_work_find_the_same_job(house: House) -> None:
    url = "/forecasts/train?wait=false"

    answers = _at_once(*[lambda: house.post(url, headers=KEY)] * 4)

    assert {answer.status_code for answer in answers} <= {202, 409}  # no history: it may have ended
    assert len(rows_of(house.parts.database, "jobs")) == 1
    _until_done(house, rows_of(house.parts.database, "jobs")[0]["id"])


def test_a_key_of_failed_work_gets_the_same_problem_again(house: House) -> None:
    first = house.post("/forecasts/train", headers=KEY)
    again = house.post("/forecasts/train", headers=KEY)

    assert (first.status_code, first.json()["code"]) == (409, "not_enough_history")
    assert (again.status_code, again.json()["code"]) == (409, "not_enough_history")
    assert len(rows_of(house.parts.database, "jobs")) == 1


def _enrol(house: House, *numbers: int) -> None:
    """Gateways that will send nothing: rounds wait for them until they are stopped."""
    for number in numbers:
        did = did_of(Ed25519PrivateKey.generate())
        body = {"site_id": f"site_{number}", "did": did}
        assert house.post("/federated/participants", body).status_code == 200


def _stop_rounds(house: House) -> None:
    for row in rows_of(house.parts.database, "federated_experiments"):
        house.client.delete(f"/api/v1/federated/experiments/{row['id']}")
    await_all(house.parts.database, timeout_s=30)


def test_twins_that_start_rounds_get_one_job_of_one_experiment(house: House) -> None:
    _enrol(house, 0, 1, 2)

    answers = _at_once(*[lambda: house.post(ROUNDS, WAITING, headers=KEY)] * 6)
    later = house.post(ROUNDS, WAITING, headers=KEY)

    jobs = rows_of(house.parts.database, "jobs")
    experiments = rows_of(house.parts.database, "federated_experiments")
    _stop_rounds(house)
    assert [answer.status_code for answer in (*answers, later)] == [202] * 7
    assert {answer.json()["id"] for answer in (*answers, later)} == {jobs[0]["id"]}
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 5
    link = f'</api/v1/federated/experiments/{experiments[0]["id"]}>; rel="related"'
    assert {answer.headers["Link"] for answer in (*answers, later)} == {link}
    assert (len(jobs), len(experiments)) == (1, 1)


def test_rounds_under_another_key_stay_a_conflict(house: House) -> None:
    _enrol(house, 0, 1, 2)
    keys = [{"Idempotency-Key": name} for name in ("a", "b")]

    answers = _at_once(
        lambda: house.post(ROUNDS, WAITING, headers=keys[0]),
        lambda: house.post(ROUNDS, WAITING, headers=keys[1]),
    )

    jobs = rows_of(house.parts.database, "jobs")
    _stop_rounds(house)
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert len(jobs) == 1


def test_rounds_that_were_refused_leave_their_key_free_and_no_job(house: House) -> None:
    _enrol(house, 0, 1)
    refused = house.post(ROUNDS, WAITING, headers=KEY)
    left = rows_of(house.parts.database, "jobs")
    _enrol(house, 2)

    accepted = house.post(ROUNDS, WAITING, headers=KEY)
    other = house.post(ROUNDS, {**WAITING, "seed": 8}, headers=KEY)

    _stop_rounds(house)
    assert (refused.status_code, refused.json()["code"], left) == (409, "too_few_participants", [])
    assert (accepted.status_code, "Idempotent-Replayed" in accepted.headers) == (202, False)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_twins_that_start_a_fleet_get_one_job_and_one_run(house: House) -> None:
    asked = {"vehicles": 10, "steps": 20}

    answers = _at_once(*[lambda: house.post("/federated/fleet/runs", asked, headers=KEY)] * 4)

    await_all(house.parts.database, timeout_s=60)
    again = house.post("/federated/fleet/runs", asked, headers=KEY)
    (job,), (run,) = (rows_of(house.parts.database, name) for name in ("jobs", "fleet_runs"))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} <= {job["id"]}
    assert (again.status_code, again.json()["run_id"]) == (200, run["id"])


def test_a_key_finds_its_run_of_trees_when_the_telemetry_is_gone(house: House) -> None:
    asked = {"target": "plug_availability", "rounds": 1, "trees_per_round": 1}
    put(house.parts.database, commuters(until=NOON, days=2, vehicles=8), now=NOON)
    runs = "/federated/trees/runs"

    first = house.post(f"{runs}?wait=true", asked, headers=KEY)
    with house.parts.database.transaction() as db:
        db.execute(delete(TelemetryPoint))
    again = house.post(f"{runs}?wait=true", asked, headers=KEY)
    anew = house.post(f"{runs}?wait=true", asked)

    assert (first.status_code, again.status_code) == (409, 409)
    assert again.json()["detail"] == first.json()["detail"] != anew.json()["detail"]
    assert len(rows_of(house.parts.database, "jobs")) == 1


def _until_done(house: House, job_id: str) -> dict[str, Any]:
    for _ in range(300):
        job: dict[str, Any] = house.get(f"/jobs/{job_id}").json()
        if job["state"] in ("succeeded", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "tab\there", "two words"])
def test_a_key_that_cannot_be_kept_is_refused(house: House, key: str) -> None:
    house.site()

    answer = _start(house, key=key)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert row_counts(house.parts.database)["charging_sessions"] == 0


def test_answers_are_forgotten_after_a_week(house: House) -> None:
    house.site()
    _start(house)
    now = datetime.now(UTC)

    with house.parts.database.transaction() as db:
        forget_old(db, now + KEPT - timedelta(minutes=1))
    kept = len(rows_of(house.parts.database, "idempotency_keys"))
    with house.parts.database.transaction() as db:
        forget_old(db, now + KEPT + timedelta(minutes=1))

    assert kept == 1
    assert rows_of(house.parts.database, "idempotency_keys") == []


def test_a_path_that_no_database_can_store_is_refused_with_its_key(house: House) -> None:
    house.site()

    answer = house.post("/sessions/%00/cancel", headers=KEY)

    assert answer.status_code == 422
    assert row_counts(house.parts.database)["idempotency_keys"] == 0
