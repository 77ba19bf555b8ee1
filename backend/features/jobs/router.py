"""`/jobs`."""

from typing import Annotated

from fastapi import APIRouter, Path

from backend.components import ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.jobs.models import Job
from backend.features.jobs.schemas import JobView
from backend.idempotency import Route
from backend.problems import NotFound, described
from backend.units import PRINTABLE

router = APIRouter(tags=["jobs"], route_class=Route)
JobId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["job_01KAF0000000000000000000"])
]


@router.get(
    "/jobs/{job_id}",
    summary="State and result of long work",
    dependencies=[allow("operator", "fleet", "driver", "auditor")],
    responses=described(NotAuthenticated, NotAllowed, NotFound),
)
def get_job(job_id: JobId, db: ReadDb, holder: CurrentHolder) -> JobView:
    """See how far long work has come, and its result."""
    job = db.get(Job, job_id)
    if job is None or not (holder.sees_everything or job.caller == holder.did):
        raise NotFound
    return JobView.model_validate(job)
