"""The planning desk of the application and a caller's turn at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Body, Depends, Path, Request

from backend.components import Parts, Unanswered
from backend.features.sessions.changing import site_of_session
from backend.features.sessions.examples import OPENAPI_EXAMPLES, SESSION_ID
from backend.features.sessions.intake import site_of
from backend.features.sessions.schemas import SessionStart
from backend.features.sessions.turns import Desk, Turns
from backend.units import PRINTABLE

SessionId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=[SESSION_ID], description="ses_…")
]


def open_desk(parts: Parts) -> Desk:
    """The one desk of this application."""
    if "desk" not in parts.shared:
        parts.shared["desk"] = Desk(
            compute=parts.compute,
            turns=Turns(parts.database, patience_s=parts.settings.site_queue_s),
            plan_timeout_s=parts.settings.plan_timeout_s,
            is_demo=parts.settings.profile == "demo",
        )
    desk: Desk = parts.shared["desk"]
    return desk


async def _desk(request: Request) -> Desk:
    return open_desk(request.app.state.parts)


CurrentDesk = Annotated[Desk, Depends(_desk)]


def purpose_of_start(body: dict[str, Any]) -> str | None:
    """What the challenge of a start has to be for: this very charger."""
    charger = body.get("charger")
    did = charger.get("did") if isinstance(charger, dict) else None
    return f"session-start:{did}" if isinstance(did, str) else None


@asynccontextmanager
async def turn_at(request: Request, desk: Desk, charger_did: str) -> AsyncIterator[None]:
    """The turn of a charger's site."""
    database = request.app.state.parts.database
    site_id = await to_thread.run_sync(site_of, database, charger_did)
    async with desk.turns.awaited(site_id):
        yield


async def _in_turn(
    request: Request,
    start: Annotated[SessionStart, Body(openapi_examples=OPENAPI_EXAMPLES)],
    desk: CurrentDesk,
    _claim: Unanswered,
) -> AsyncIterator[SessionStart]:
    """Hold the turn of the charger's site until the transaction has committed."""
    async with turn_at(request, desk, start.charger.did):
        yield start


# Declared before Db in a route, so that it ends after Db's commit.
StartInTurn = Annotated[SessionStart, Depends(_in_turn, scope="function")]


async def _in_session_turn(
    request: Request,
    session_id: SessionId,
    desk: CurrentDesk,
    _claim: Unanswered,
) -> AsyncIterator[None]:
    """Hold the turn of a session's site until the transaction has committed."""
    database = request.app.state.parts.database
    site_id = await to_thread.run_sync(site_of_session, database, session_id)
    async with desk.turns.awaited(site_id):
        yield


SessionTurn = Annotated[None, Depends(_in_session_turn, scope="function")]
