"""Everything of identity: who calls, whose word counts, what was issued, what verifies."""

from fastapi import APIRouter

from backend.features.credentials import (
    auth_router,
    cards_router,
    dids_router,
    issuing_router,
    trust_router,
    verifying_router,
)

router = APIRouter()
for part in (
    auth_router.entrance,
    auth_router.router,
    dids_router.router,
    verifying_router.router,
    issuing_router.router,
    trust_router.router,
    cards_router.router,
):
    router.include_router(part)
well_known = dids_router.well_known
