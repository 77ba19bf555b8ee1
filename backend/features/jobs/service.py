"""Long work in threads of this process, its state in the database for everyone to see."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.database import Database, insert_missing, new_id
from backend.features.jobs.models import Job
from backend.problems import Problem

log = structlog.get_logger("tasco.jobs")
HEARTBEAT_S = 5.0
LOST_AFTER = timedelta(minutes=1)
Report = Callable[[float, str], None]
Work = Callable[[Report], dict[str, Any]]
Beginning = Callable[[Session], object]
_under_way: dict[Database, set[Future[None]]] = {}
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="job")
# Work that waits for others, for hours perhaps, and should not keep other work waiting.
_patient_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="patient job")


def submit(
    database: Database,
    kind: str,
    work: Work,
    *,
    caller: str,
    parameters: dict[str, Any],
    idempotency_key: str | None = None,
    is_patient: bool = False,
    beginning: Beginning | None = None,
) -> tuple[str, Future[None] | None]:
    """Start long work, or find the work that the same key started.

    The work is called with a function that takes progress (0 to 1) and stage; it gives the result.
    What is patient mostly waits for others, and has threads of its own. `beginning` is done once,
    in the transaction of the job's row: if it refuses, there is no job, and the key is free.

    Returns:
        The job's id, and a future to wait for unless the job was there before.
    """
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        "id": new_id("job"),
        "kind": kind,
        "state": "queued",
        "progress": 0.0,
        "stage": "waiting",
        "parameters": parameters,
        "caller": caller,
        "idempotency_key": idempotency_key,
        "created_at": now,
        "heartbeat_at": now,
    }
    with database.transaction() as db:
        if insert_missing(db, Job, row) == 0:
            return _known(db, caller, idempotency_key), None
        if beginning is not None:
            beginning(db)
    threads = _patient_threads if is_patient else _threads
    future = threads.submit(_run, database, row["id"], work)
    _under_way.setdefault(database, set()).add(future)
    future.add_done_callback(_under_way[database].discard)
    return row["id"], future


def await_all(database: Database, *, timeout_s: float) -> None:
    """Let the work that this process does on a database come to its end."""
    wait(_under_way.pop(database, set()).copy(), timeout_s)


def _known(db: Session, caller: str, key: str | None) -> str:
    query = select(Job.id).where(Job.caller == caller, Job.idempotency_key == key)
    return db.scalars(query).one()


def _run(database: Database, job_id: str, work: Work) -> None:
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(database, job_id, stop), daemon=True)
    beat.start()
    try:
        _update(database, job_id, state="running", stage="starting")
        result = work(lambda share, stage: _update(database, job_id, progress=share, stage=stage))
        _update(database, job_id, state="succeeded", progress=1.0, stage="done", result=result)
    except Problem as problem:
        error = {"code": problem.code(), "detail": str(problem), "status": int(problem.status)}
        _update(database, job_id, state="failed", error=error)
    except Exception:
        log.exception("job.failed", job_id=job_id)
        error = {"code": "internal_error", "detail": "The work failed.", "status": 500}
        _update(database, job_id, state="failed", error=error)
    finally:
        stop.set()


def _beat(database: Database, job_id: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            _update(database, job_id)
        except SQLAlchemyError as error:  # the work itself may hold the one writer
            log.warning("job.heartbeat_missed", job_id=job_id, reason=type(error).__name__)


def _update(database: Database, job_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
    now = datetime.now(UTC)
    if values.get("state") in ("succeeded", "failed"):
        values["finished_at"] = now
    with database.transaction() as db:
        db.execute(update(Job).where(Job.id == job_id).values(heartbeat_at=now, **values))


def fail_lost(database: Database) -> None:
    """Mark jobs whose process is gone, so that nobody waits for them."""
    now = datetime.now(UTC)
    error = {"code": "job_lost", "detail": "Its process ended.", "status": 503}
    is_lost = Job.state.in_(("queued", "running")) & (Job.heartbeat_at < now - LOST_AFTER)
    with database.reading() as db:
        if db.scalar(select(Job.id).where(is_lost).limit(1)) is None:
            return
    with database.transaction() as db:
        lost = update(Job).where(is_lost).values(state="failed", error=error, finished_at=now)
        db.execute(lost)
