"""Failures a caller can act on, answered as RFC 9457 `application/problem+json`."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One field that was refused, and why."""

    pointer: str = Field(description="Where the value stands", examples=["/body/trip/distance_km"])
    reason: str


class ProblemDetails(BaseModel):
    """What went wrong and what the caller can do (RFC 9457)."""

    type: str = Field(examples=["/problems/charger_in_use"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request")
    code: str = Field(description="Stable name of the failure", examples=["charger_in_use"])
    request_id: str
    retryable: bool = Field(description="The same request may succeed later")
    fix: str = Field(description="One sentence: what the caller can do")
    errors: list[FieldError] = []


class Problem(Exception):
    """A failure the caller can act on: class name is the type, docstring the title."""

    status: ClassVar[HTTPStatus]
    fix: ClassVar[str] = "Correct the request and send it again."
    retry_after_s: ClassVar[int | None] = None

    def __init__(
        self, detail: str | None = None, *, errors: list[FieldError] | None = None
    ) -> None:
        super().__init__(detail or self.title())
        self.errors = errors or []

    @classmethod
    def code(cls) -> str:
        """Stable name in snake case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


class MalformedRequest(Problem):
    """The request does not have the documented form."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fix = "Compare the named fields with the schema in /docs."


class UnreadableBody(Problem):
    """The body could not be read as JSON."""

    status = HTTPStatus.BAD_REQUEST
    fix = "Send UTF-8 JSON with Content-Type: application/json."


class UnsupportedMediaType(Problem):
    """This path does not read bodies of this type."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    fix = "Send one of the types that /docs names, and say so in Content-Type."


class NotFound(Problem):
    """There is nothing here for this caller."""

    status = HTTPStatus.NOT_FOUND
    fix = "Check the id; what you may not see looks the same as what does not exist."


class MethodNotAllowed(Problem):
    """This path does not know the method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    fix = "Use one of the methods in the Allow header."


class BodyTooLarge(Problem):
    """The body is larger than this service reads."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    fix = "Send less in one request."


class RequestRefused(Problem):
    """The request was refused."""

    status = HTTPStatus.BAD_REQUEST


class PreconditionFailed(Problem):
    """The resource has changed since it was read."""

    status = HTTPStatus.PRECONDITION_FAILED
    fix = "Read it again and send the new ETag in If-Match."


class DatabaseUnavailable(Problem):
    """The database cannot take this request now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 2
    fix = "Send the same request again after the time in Retry-After."


class InternalError(Problem):
    """A defect in the service; nothing was changed."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    fix = "Report the request_id to the operator."


BY_STATUS: dict[int, type[Problem]] = {
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
    400: UnreadableBody,
}


def every_problem(root: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """All kinds of problems this service can answer."""
    for kind in root.__subclasses__():
        yield kind
        yield from every_problem(kind)


def described(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its problems, grouped by status."""
    grouped: dict[int, list[type[Problem]]] = {}
    for kind in kinds:
        grouped.setdefault(int(kind.status), []).append(kind)
    return {status: _response(same) for status, same in grouped.items()}


def _response(kinds: list[type[Problem]]) -> dict[str, Any]:
    """OpenAPI response of problems that share a status."""
    return {
        "description": " ".join(f"`{kind.code()}`: {kind.title()}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    }


def answer(request: Request, problem: Problem) -> JSONResponse:
    """The problem as an HTTP response."""
    details = ProblemDetails(
        type=f"/problems/{problem.code()}",
        title=problem.title(),
        status=problem.status,
        detail=str(problem),
        instance=request.url.path,
        code=problem.code(),
        request_id=getattr(request.state, "request_id", ""),
        retryable=problem.retry_after_s is not None,
        fix=problem.fix,
        errors=problem.errors,
    )
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="tasco", DPoP algs="EdDSA ES256 ES256K"'
    return JSONResponse(details.model_dump(), problem.status, headers, MEDIA_TYPE)


def _malformed(error: RequestValidationError) -> Problem:
    errors = [_field_error(one, error.body) for one in error.errors()[:20]]
    is_not_json = isinstance(error.body, bytes)  # the content type says something else
    if is_not_json or any(one["type"] == "json_invalid" for one in error.errors()):
        return UnreadableBody(errors=errors)
    first = errors[0]
    return MalformedRequest(f"{first.pointer}: {first.reason}", errors=errors)


def _field_error(found: Mapping[str, Any], body: Any) -> FieldError:  # noqa: ANN401 - JSON
    """JSON Pointer and reason; half a surrogate pair, which JSON lets in, cannot be sent back."""
    where, *place = found["loc"]
    if where == "body":
        place = _steps_in(body, place, is_missing=found["type"] == "missing")
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in (where, *place))
    pointer = "".join(f"/{step}" for step in escaped)
    return FieldError(pointer=_encodable(pointer), reason=_encodable(str(found["msg"])))


def _steps_in(body: Any, place: list[Any], *, is_missing: bool) -> list[Any]:  # noqa: ANN401
    """The steps that lead to a value in the body, without names of schemas among them."""
    steps, value = [], body
    for step in place:
        keys = value if isinstance(value, dict) else range(len(value) if type(value) is list else 0)
        if step in keys:
            value = value[step]
            steps.append(step)
    return [*steps, place[-1]] if is_missing and place else steps


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _allowed_methods(request: Request) -> str:
    """Every method of the path; the router itself names those of its first route only."""
    if "route" not in request.scope:
        return "GET, HEAD"  # static files
    path = request.scope["route"].path
    same = [route for route in _routes(request.app) if getattr(route, "path", None) == path]
    return ", ".join(sorted({method for route in same for method in route.methods}))


def _routes(owner: FastAPI | APIRouter) -> Iterator[Any]:
    """Routes of the application and of the routers it includes, at any depth."""
    for route in owner.routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else _routes(included)


def install(app: FastAPI) -> None:
    """Answer every failure of the application as a problem."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, _malformed(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        kind = BY_STATUS.get(error.status_code, RequestRefused)
        response = answer(request, kind())
        response.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = _allowed_methods(request)
        return response

    @app.exception_handler(PoolTimeout)
    @app.exception_handler(OperationalError)
    def _database(request: Request, _: Exception) -> JSONResponse:
        return answer(request, DatabaseUnavailable())
