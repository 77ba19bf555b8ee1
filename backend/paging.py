"""Lists in pages: opaque cursors, `Link` headers, ETags, and the parents of all bodies."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Generic, TypeVar

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from backend.problems import PreconditionFailed, Problem

T = TypeVar("T")
Row = TypeVar("Row")


class Body(BaseModel):
    """Parent of what callers send: unknown fields, wrong types, NaN and Infinity are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, str_max_length=1_000, frozen=True
    )


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    data: list[T]
    next_cursor: str | None = None
    has_more: bool = False


class CursorInvalid(Problem):
    """The cursor did not come from this list."""

    status = HTTPStatus.CONFLICT
    fix = "Start again without a cursor."


Cursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of a page before")]
Limit = Annotated[int, Query(ge=1, le=100, description="Rows of a page")]
IfMatch = Annotated[
    str | None, Header(max_length=100, description="ETag that the change was made on")
]


def decoded(cursor: str | None, request: Request) -> str | None:
    """The key after which a page begins.

    Raises:
        CursorInvalid: If this service did not make it for this list.
    """
    if cursor is None:
        return None
    try:
        path, _, key = base64.urlsafe_b64decode(cursor.encode()).decode().partition("?")
    except (binascii.Error, ValueError):
        raise CursorInvalid from None
    if path != request.url.path or not key or "\x00" in key:
        raise CursorInvalid
    return key


def page_of(
    rows: Sequence[Row],
    limit: int,
    *,
    key: Callable[[Row], str],
    show: Callable[[Row], T],
    request: Request,
    response: Response,
) -> Page[T]:
    """A page from up to `limit + 1` rows, with the `Link` header of the next one."""
    shown, more = rows[:limit], len(rows) > limit
    cursor = None
    if more:
        cursor = base64.urlsafe_b64encode(f"{request.url.path}?{key(shown[-1])}".encode()).decode()
        following = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return Page(data=[show(row) for row in shown], next_cursor=cursor, has_more=more)


def etag_of(*parts: object) -> str:
    """A strong ETag over what identifies a state."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"'


def require_match(if_match: str | None, etag: str) -> None:
    """Refuse a change that was made on another state.

    Raises:
        PreconditionFailed: If the caller's ETag is not the current one.
    """
    if if_match is not None and if_match not in ("*", etag):
        raise PreconditionFailed
