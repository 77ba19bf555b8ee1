"""Logs, metrics and the outermost layer of every request."""

import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from ulid import ULID

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Nothing but this origin; the documentation page allows its own inline script by hash.
CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
log = structlog.get_logger("tasco")


def configure_logging(*, level: str, as_json: bool) -> None:
    """One event per line on standard error."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whichever it is by then
        cache_logger_on_first_use=False,
    )


class Metrics:
    """What operators watch; one registry per application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tasco_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_s = Histogram(
            "tasco_request_seconds", "Time to answer", ("method", "route"), registry=self.registry
        )
        self.solve_s = Histogram(
            "tasco_plan_seconds", "Time to plan a site", ("method",), registry=self.registry
        )
        self.outbox_pending = Gauge(
            "tasco_outbox_pending", "Events not yet published", registry=self.registry
        )
        self.drift_alarms = Counter(
            "tasco_forecast_drift_alarms", "Sure changes of sites found", registry=self.registry
        )
        self.federated_rounds = Counter(
            "tasco_federated_rounds", "Rounds that ended", ("state",), registry=self.registry
        )
        self.federated_updates = Counter(
            "tasco_federated_updates", "Updates judged", ("verdict",), registry=self.registry
        )
        self.open_sessions = Gauge(
            "tasco_open_sessions", "Sessions that are open", registry=self.registry
        )


class RequestLayer:
    """Request id, security headers, body limit, metrics and the last word on defects.

    Written against ASGI directly: the convenience wrapper costs more than all of this.
    """

    def __init__(
        self, app: App, *, metrics: Metrics, max_body_bytes: int, defect: Callable[..., Any]
    ) -> None:
        self._app, self._metrics = app, metrics
        self._max_body_bytes, self._defect = max_body_bytes, defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{ULID()}"
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began, answered = time.perf_counter(), _Answered(send, request_id)
        try:
            await self._app(scope, _Limited(receive, self._max_body_bytes), answered)
        except Exception:
            route = getattr(scope.get("route"), "path", "unmatched")  # a path may name a person
            log.exception("request.failed", route=route)
            if answered.status is None:
                await self._defect(scope, receive, answered)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
            self._count(scope, answered.status or 500, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"  # callers invent some
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.request_s.labels(method, route).observe(seconds)


class _Limited:
    """Passes the body on until it is too large."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # FastAPI lets this one through and wraps every other error as an unreadable body.
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message


class _Answered:
    """Adds the headers every answer carries and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id.encode()
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers += [pair for pair in SECURITY_HEADERS if pair[0] not in present]
            headers.append((b"x-request-id", self._request_id))
            if b"content-security-policy" not in present:
                headers.append((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()))
            if b"cache-control" not in present:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await self._send(message)
