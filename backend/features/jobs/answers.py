"""Answering with the result of long work, or with the job that will have it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import select

from backend.database import Database
from backend.features.credentials.holder import Holder
from backend.features.jobs.models import Job
from backend.features.jobs.schemas import JobView
from backend.features.jobs.service import Beginning, Work, submit
from backend.idempotency import Claim, IdempotencyKeyReused
from backend.problems import Problem, every_problem

JobAnswer = JSONResponse
WaitForResult = Annotated[
    bool, Query(description="Wait for the result; false answers 202 with the job at once")
]


class WorkFailed(Problem):
    """The work failed."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    fix = "Report the job's id to the operator."


def job_answers(result: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that starts long work."""
    return {
        200: {"model": result, "description": "The result"},
        202: {"model": JobView, "description": "The work goes on; see `GET /jobs/{id}`"},
    }


def answer_of(
    database: Database,
    kind: str,
    work: Work,
    *,
    holder: Holder,
    parameters: dict[str, Any],
    claim: Claim | None,
    wait: bool,
    is_patient: bool = False,
    beginning: Beginning | None = None,
) -> JobAnswer:
    """Start the work and answer with its result, or with its job when the caller will not wait.

    The same Idempotency-Key finds the same job, whatever became of it; what might refuse the
    second of two equal requests is therefore done in `beginning`, as in `submit`.
    """
    if claim is not None:
        parameters = {**parameters, "route": claim.route, "fingerprint": claim.fingerprint}
    job_id, future = submit(
        database,
        kind,
        work,
        caller=holder.did,
        parameters=parameters,
        idempotency_key=claim.key if claim else None,
        is_patient=is_patient,
        beginning=beginning,
    )
    if wait and future is not None:
        future.result()
    return _shown(database, job_id, claim, replayed=future is None)


def known_answer(database: Database, *, holder: Holder, claim: Claim | None) -> JobAnswer | None:
    """The answer of the job that this key started before, if it did.

    For routes that look at more than the request: what they see may have changed since.
    """
    if claim is None:
        return None
    started = select(Job.id).where(Job.caller == holder.did, Job.idempotency_key == claim.key)
    with database.reading() as db:
        job_id = db.scalar(started)
    return None if job_id is None else _shown(database, job_id, claim, replayed=True)


def _shown(database: Database, job_id: str, claim: Claim | None, *, replayed: bool) -> JobAnswer:
    with database.reading() as db:
        job = db.get_one(Job, job_id)
        if replayed and claim and job.parameters.get("fingerprint") != claim.fingerprint:
            raise IdempotencyKeyReused
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        if job.state == "succeeded":
            return JSONResponse(job.result, headers=headers)
        if job.state == "failed":
            raise _as_problem(job.error or {})
        headers |= {"Location": f"/api/v1/jobs/{job.id}", "Retry-After": "1"}
        view = JobView.model_validate(job).model_dump(mode="json")
        return JSONResponse(view, HTTPStatus.ACCEPTED, headers)


def _as_problem(error: Mapping[str, Any]) -> Problem:
    """The problem that ended the work."""
    for kind in every_problem():
        if kind.code() == error.get("code"):
            return kind(error.get("detail"))
    return WorkFailed(error.get("detail"))
