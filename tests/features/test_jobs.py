"""Long work: its result or its job, its progress, and what becomes of it when something breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backend.database import Database
from backend.features.jobs import service
from backend.features.jobs.models import Job
from backend.features.jobs.service import LOST_AFTER, Report, fail_lost, submit
from backend.problems import NotFound
from tests.conftest import House, house_on
from tests.tables import rows_of

ME = "did:denso:demo:visitor"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _done(database: Database, work: Callable[[Report], dict[str, Any]]) -> dict[str, Any]:
    """The job's row when the work has ended."""
    job_id, future = submit(database, "test", work, caller=ME, parameters={})
    assert future is not None
    future.result(30)
    return _job(database, job_id)


def _job(database: Database, job_id: str) -> dict[str, Any]:
    return next(row for row in rows_of(database, "jobs") if row["id"] == job_id)


def _polled(house: House, job_id: str) -> dict[str, Any]:
    for _ in range(600):
        job: dict[str, Any] = house.get(f"/jobs/{job_id}").json()
        if job["state"] in ("succeeded", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_work_that_ends_leaves_its_result(database: Database) -> None:
    job = _done(database, lambda _: {"answer": [1, None, "ä"]})

    assert (job["state"], job["progress"], job["error"]) == ("succeeded", 1.0, None)
    assert job["result"] == {"answer": [1, None, "ä"]}
    assert job["created_at"] <= job["finished_at"]


def test_progress_is_seen_while_the_work_goes_on(database: Database) -> None:
    seen: list[dict[str, Any]] = []

    def _work(report: Report) -> dict[str, Any]:
        report(0.25, "counting")
        seen.extend(rows_of(database, "jobs"))
        return {}

    _done(database, _work)

    assert (seen[0]["state"], seen[0]["progress"], seen[0]["stage"]) == (
        "running",
        0.25,
        "counting",
    )


def test_a_problem_of_the_work_is_kept_with_its_code(database: Database) -> None:
    def _work(_: Report) -> dict[str, Any]:
        raise NotFound("There is no history.")

    job = _done(database, _work)

    assert job["state"] == "failed"
    assert job["error"] == {"code": "not_found", "detail": "There is no history.", "status": 404}


def test_a_defect_of_the_work_is_kept_without_its_cause(database: Database) -> None:
    def _work(_: Report) -> dict[str, Any]:
        raise ValueError("a secret of the inside")

    job = _done(database, _work)

    assert (job["state"], job["error"]["code"]) == ("failed", "internal_error")
    assert "secret" not in str(job)


def test_twins_with_one_key_get_one_job(database: Database) -> None:
    barrier, found = threading.Barrier(4), []

    def _submit() -> None:
        barrier.wait()
        job_id, future = submit(
            database, "test", lambda _: {}, caller=ME, parameters={}, idempotency_key="k"
        )
        found.append(job_id)
        if future is not None:
            future.result(30)

    threads = [threading.Thread(target=_submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == len(rows_of(database, "jobs")) == 1


def test_jobs_without_a_key_are_all_different(database: Database) -> None:
    ids = {_done(database, lambda _: {})["id"] for _ in range(3)}

    assert len(ids) == 3


def test_a_job_whose_process_died_is_marked_as_failed(database: Database) -> None:
    kept = _done(database, lambda _: {})
    lost = _done(database, lambda _: {})
    running = _done(database, lambda _: {})
    silent_since = datetime.now(UTC) - LOST_AFTER - timedelta(seconds=1)
    with database.transaction() as db:
        set_back = update(Job).values(state="running", finished_at=None)
        db.execute(set_back.where(Job.id == lost["id"]).values(heartbeat_at=silent_since))
        db.execute(set_back.where(Job.id == running["id"]))

    fail_lost(database)

    states = [_job(database, one["id"])["state"] for one in (kept, lost, running)]
    assert states == ["succeeded", "failed", "running"]
    assert _job(database, lost["id"])["error"]["code"] == "job_lost"


def test_a_starting_application_looks_for_lost_jobs(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    job = _done(database, lambda _: {})
    with database.transaction() as db:
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        db.execute(update(Job).values(state="running", heartbeat_at=long_ago))

    with house_on(sqlite_url, tmp_path, sweep_interval_s=0.02) as house:
        found = _polled(house, job["id"])

    assert (found["state"], found["error"]["code"]) == ("failed", "job_lost")
    database.close()


def test_work_shows_that_it_is_alive(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_S", 0.02)
    beats = set()

    def _work(_report: Report) -> dict[str, Any]:
        for _ in range(200):
            beats.add(rows_of(database, "jobs")[0]["heartbeat_at"])
            if len(beats) > 3:
                break
            time.sleep(0.02)
        return {}

    _done(database, _work)

    assert len(beats) > 3


def test_waiting_gives_the_result_itself(house: House) -> None:
    answer = house.post("/demo/generate-data?days=1")

    assert answer.status_code == 200
    assert answer.json()["statistics"]["chargers_created"] == 33
    assert "Location" not in answer.headers


def test_not_waiting_gives_the_job_and_where_to_look(house: House) -> None:
    answer = house.post("/demo/generate-data?days=1&wait=false")

    job = answer.json()
    done = _polled(house, job["id"])
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert (job["kind"], job["result"]) == ("demo.generate", None)
    assert (done["state"], done["progress"]) == ("succeeded", 1)
    assert done["result"]["status"] == "success"


def test_a_problem_of_awaited_work_is_the_answer(house: House) -> None:
    answer = house.post("/forecasts/train")

    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_enough_history"


def test_a_problem_of_work_in_the_background_is_in_the_job(house: House) -> None:
    job_id = house.post("/forecasts/train?wait=false").json()["id"]

    job = _polled(house, job_id)

    assert (job["state"], job["error"]["code"]) == ("failed", "not_enough_history")


def test_the_data_of_a_failed_making_stay_as_they_were(house: House) -> None:
    house.post("/demo/generate-data?days=1")
    before = len(rows_of(house.parts.database, "charging_sessions"))

    refused = house.post("/demo/generate-data?days=0")

    assert refused.status_code == 422
    assert len(rows_of(house.parts.database, "charging_sessions")) == before
