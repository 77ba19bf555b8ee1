"""`/credentials/verify` and `/presentations/verify`: what this service says about a document."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from backend.components import CurrentParts, WritableDatabase
from backend.features.credentials import verifying
from backend.features.credentials.counter import CurrentCounter
from backend.features.credentials.holder import (
    CurrentHolder,
    Holder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.schemas import VerdictView, VerifyRequest
from backend.features.credentials.verifying import (
    ChallengeMissing,
    ProfileUnfit,
    TrustListUnreadable,
)
from backend.problems import described

# Nothing changes here, so no answer is kept for a repetition.
router = APIRouter(tags=["identity"])
REFUSED = (NotAuthenticated, NotAllowed)
VERIFYING = allow("operator", "fleet", "auditor")


async def _repeats_a_member(request: Request) -> bool:
    return verifying.has_duplicates(await request.body())


RepeatsMember = Annotated[bool, Depends(_repeats_a_member)]


def _may(asked: VerifyRequest, holder: CurrentHolder, parts: CurrentParts) -> Holder:
    """Foreign trust lists are for administrators and the demo.

    Raises:
        NotAllowed: If somebody else brings one.
    """
    is_free = asked.profile == "tasco" or parts.settings.profile == "demo"
    if not (is_free or "administrator" in holder.roles):
        raise NotAllowed
    return holder


Verifying = Annotated[Holder, Depends(_may)]


@router.post(
    "/credentials/verify",
    summary="Verify a credential",
    dependencies=[VERIFYING],
    responses=described(*REFUSED, ProfileUnfit, TrustListUnreadable),
)
def verify_credential(
    asked: VerifyRequest,
    holder: Verifying,
    repeats_member: RepeatsMember,
    counter: CurrentCounter,
    parts: CurrentParts,
    _database: WritableDatabase,
) -> VerdictView:
    """Judge a credential by our own profile, or any by an explicit trust list (`generic`)."""
    verifying.require_fitting(asked)
    refused = verifying.refused_at_once(asked, repeats_member=repeats_member)
    return refused or verifying.verify_credential(
        counter, asked, by=holder.did, now=parts.clock.now()
    )


@router.post(
    "/presentations/verify",
    summary="Verify a presentation",
    dependencies=[VERIFYING],
    responses=described(*REFUSED, ProfileUnfit, TrustListUnreadable, ChallengeMissing),
)
def verify_presentation(
    asked: VerifyRequest,
    holder: Verifying,
    repeats_member: RepeatsMember,
    counter: CurrentCounter,
    parts: CurrentParts,
    _database: WritableDatabase,
) -> VerdictView:
    """Judge a presentation and all in it, by our own profile or an explicit trust list."""
    verifying.require_fitting(asked)
    refused = verifying.refused_at_once(asked, repeats_member=repeats_member)
    return refused or verifying.verify_presentation(
        counter, asked, by=holder.did, now=parts.clock.now()
    )
