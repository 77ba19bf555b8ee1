"""Routes about the service itself."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy import text

from backend import __version__
from backend.components import CurrentParts, ReadDb
from backend.problems import NotFound, described, every_problem
from backend.units import PRINTABLE

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The process is up."""

    status: Literal["healthy"] = "healthy"
    version: str
    profile: str


class Readiness(BaseModel):
    """The process can serve."""

    status: Literal["ready"] = "ready"
    database: str
    outbox_pending: int


class ProblemPage(BaseModel):
    """What a kind of problem means."""

    code: str
    title: str
    status: int
    fix: str


@router.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """Lead to the documentation."""
    return RedirectResponse("/docs")


@router.get("/health", summary="Is the process up?")
def health(parts: CurrentParts) -> Health:
    """Say that the process is up and which profile it serves."""
    return Health(version=__version__, profile=parts.settings.profile)


@router.get("/ready", summary="Can it serve?")
def ready(db: ReadDb, parts: CurrentParts) -> Readiness:
    """Ask the database; 503 while it does not answer."""
    db.execute(text("SELECT 1"))
    return Readiness(
        database=parts.database.url.get_backend_name(), outbox_pending=parts.relay.pending
    )


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
def metrics(parts: CurrentParts) -> Response:
    """Counters and histograms in Prometheus' text format."""
    parts.metrics.outbox_pending.set(parts.relay.pending)
    return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems/{code}", summary="What a problem means", responses=described(NotFound))
def problem(
    code: Annotated[str, Path(max_length=80, pattern=PRINTABLE, examples=["charger_in_use"])],
) -> ProblemPage:
    """Explain the `code` of a problem: its `type` leads here."""
    for kind in every_problem():
        if kind.code() == code:
            return ProblemPage(code=code, title=kind.title(), status=kind.status, fix=kind.fix)
    raise NotFound
