"""`Idempotency-Key`: the answer is stored in the transaction of its effect.

The key's row is the first thing a write transaction inserts, so of two equal requests one waits
for the other's commit and then replays its answer. Checking first and inserting later would let
both act.
"""

import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import Connection, LargeBinary, String, delete, event, select, update
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from backend.database import Base, Database, insert_missing
from backend.problems import Problem

KEPT = timedelta(days=7)
REPLAYED_HEADERS = ("Location", "ETag")


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key came with a different request before."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fix = "Use a new key for a new request."


class StoredAnswer(Base):
    """The answer of one request; `status` is empty until the effect is complete.

    Its body is preceded by a line with the headers that a replay repeats, as JSON. Bodies are JSON
    without line breaks, so one stored without that line is told apart.
    """

    __tablename__ = "idempotency_keys"

    caller: Mapped[str] = mapped_column(String(255), primary_key=True)
    route: Mapped[str] = mapped_column(String(512), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Replay(Exception):
    """The request was answered before."""

    def __init__(self, status: int | None, stored: bytes | None) -> None:
        self.status = status or HTTPStatus.OK
        head, _, self.body = (stored or b"").rpartition(b"\n")
        self.headers: dict[str, str] = json.loads(head) if head else {}

    def response(self) -> Response:
        """The stored answer, marked as a replay."""
        headers = {**self.headers, "Idempotent-Replayed": "true"}
        return Response(self.body, self.status, headers, "application/json")


@dataclass(frozen=True, slots=True)
class Claim:
    """One caller's use of one key on one route."""

    caller: str
    route: str
    key: str
    fingerprint: str

    def _mine(self) -> tuple[Any, ...]:
        return (
            StoredAnswer.caller == self.caller,
            StoredAnswer.route == self.route,
            StoredAnswer.key == self.key,
        )

    def replay(self, db: Session | Connection) -> None:
        """Raise the stored answer if there is one.

        Raises:
            Replay: With the stored answer.
            IdempotencyKeyReused: If the key came with another body.
        """
        columns = (StoredAnswer.fingerprint, StoredAnswer.status, StoredAnswer.body)
        stored = db.execute(select(*columns).where(*self._mine())).first()
        if stored is None:
            return
        fingerprint, status, body = stored
        if fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        raise Replay(status, body)

    def stake(self, connection: Connection) -> None:
        """Insert the key's row; wait for an equal request that is under way and replay it."""
        row = {
            "caller": self.caller,
            "route": self.route,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "created_at": datetime.now(UTC),
        }
        if insert_missing(connection, StoredAnswer, row) == 0:
            self.replay(connection)

    def store(self, db: Session, response: Response) -> None:
        """Keep the answer, in the transaction of its effect."""
        headers = {
            name: response.headers[name] for name in REPLAYED_HEADERS if name in response.headers
        }
        stored = json.dumps(headers).encode() + b"\n" + bytes(response.body)
        values = {"status": response.status_code, "body": stored}
        db.execute(update(StoredAnswer).where(*self._mine()).values(values))


Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Repeat a request with the same key and get the same answer, once done.",
    ),
]


async def claim_of(request: Request, key: Key = None) -> Claim | None:
    """The claim that this request makes; the caller was settled by the route's rule."""
    if key is None:
        return None
    # Unquoted, the path may hold what a database cannot store.
    route = f"{request.method} {quote(request.url.path)}?{request.url.query}"
    # What a rule put there: the body without the proof of its sender, which is another each time.
    said = getattr(request.state, "said", b"") or await request.body()
    whole = b"\0".join((route.encode(), request.headers.get("If-Match", "").encode(), said))
    caller = getattr(request.state, "caller", "")
    return Claim(caller, route[:512], key, hashlib.sha256(whole).hexdigest())


def replay_if_stored(database: Database, claim: Claim) -> None:
    """Look for a stored answer before any work is done."""
    with database.reading() as db:
        claim.replay(db)


def stake_at_begin(db: Session, claim: Claim) -> None:
    """Make the claim the first statement of the session's transaction."""

    def _stake(_db: Session, transaction: SessionTransaction, connection: Connection) -> None:
        if not transaction.nested:  # a savepoint is no new transaction
            claim.stake(connection)

    event.listen(db, "after_begin", _stake)


def forget_old(db: Session, now: datetime) -> None:
    """Delete answers older than seven days."""
    db.execute(delete(StoredAnswer).where(StoredAnswer.created_at < now - KEPT))


ClaimOfRequest = Annotated[Claim | None, Depends(claim_of)]


class Route(APIRoute):
    """A route that stores the answer of a claimed request and replays it when it comes again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        original = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await original(request)
                await _store(request, response)
            except Replay as replay:
                await _roll_back(request)
                return replay.response()
            except Problem:
                # The twin may have been answered while this one was being refused.
                replayed = await _replayed(request)
                if replayed is None:
                    raise
                return replayed
            return response

        return handler


async def _store(request: Request, response: Response) -> None:
    claim, db = _open_claim(request)
    if claim is not None and db is not None:
        await to_thread.run_sync(claim.store, db, response)


async def _roll_back(request: Request) -> None:
    _, db = _open_claim(request)
    if db is not None:
        await to_thread.run_sync(db.rollback)


async def _replayed(request: Request) -> Response | None:
    claim, db = _open_claim(request)
    if claim is None or db is None:
        return None
    await to_thread.run_sync(db.rollback)
    try:
        await to_thread.run_sync(replay_if_stored, request.app.state.parts.database, claim)
    except Replay as replay:
        return replay.response()
    return None


def _open_claim(request: Request) -> tuple[Claim | None, Session | None]:
    return getattr(request.state, "claim", None), getattr(request.state, "db", None)
