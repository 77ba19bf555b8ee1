"""Answering with the result of long work, or with the job that will have it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from backend.database import Database
from backend.features.credentials.holder import Holder
from backend.features.jobs.models import Job
from backend.features.jobs.schemas import JobView
from backend.features.jobs.service import Work, submit
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
) -> JobAnswer:
    """Start the work and answer with its result, or with its job when the caller will not wait.

    The same Idempotency-Key finds the same job, whatever became of it.
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
    )
    if wait and future is not None:
        future.result()
    return _shown(database, job_id, parameters, replayed=future is None)


def _shown(
    database: Database, job_id: str, parameters: Mapping[str, Any], *, replayed: bool
) -> JobAnswer:
    with database.reading() as db:
        job = db.get_one(Job, job_id)
        if replayed and job.parameters != parameters:
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
