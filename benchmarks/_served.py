"""The application with two bare endpoints beside its own, for comparison in the same process."""

from fastapi import APIRouter
from pydantic import BaseModel

from backend.features.sessions.schemas import SessionStart
from backend.main import create_app
from backend.settings import read_settings

router = APIRouter(prefix="/bare", include_in_schema=False)


class Bare(BaseModel):
    """An answer that costs next to nothing."""

    status: str


@router.post("")
def bare_start(start: SessionStart) -> Bare:
    """Take the body of a start and do nothing."""
    return Bare(status=start.charger.did)


@router.get("")
def bare_get() -> Bare:
    """Do nothing."""
    return Bare(status="ok")


app = create_app(read_settings())
app.include_router(router)
