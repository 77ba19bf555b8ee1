"""The application: routers, problems, documentation and the workers of its life."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import FrameType
from typing import Any

import uvicorn
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from starlette.routing import BaseRoute

import backend.features
from backend import __version__, documentation, problems, status
from backend.clock import Clock
from backend.components import Parts, migrate, open_parts
from backend.features.anchors.queries import gas_of
from backend.features.credentials.door import demo_door, production_door
from backend.features.credentials.router import well_known
from backend.features.credentials.service_key import SigningKeyMissing, token_key
from backend.features.federated.gas import GAS_OF
from backend.features.federated.trees_grouping import HOME_SITES
from backend.features.sessions import guest_page
from backend.features.sessions.examples import existing_ids
from backend.features.sessions.homes import home_sites
from backend.observability import RequestLayer, configure_logging
from backend.settings import Profile, ProfileMissing, Settings, read_settings

API = "/api/v1"
KEEP_ALIVE_S = 75  # beyond what clients and proxies keep, so that none reuses an ended connection
ROOMS = (
    "sessions",
    "vehicles",
    "sites",
    "forecasts",
    "federated",
    "anchors",
    "reports",
    "demo",
    "jobs",
    "credentials",
)
DESCRIPTION = """
Smart charging for semi-public sites: a driver plugs in and says where they go next; TASCO works
out the energy, plans every vehicle of the site together and answers with a plan it can explain.

**Try it now:** `POST /api/v1/sessions/start` has ready examples; press *Execute*.
"""
TAGS = {
    "sessions": "Plug in, get a plan, follow it, unplug.",
    "guests": "Charging without an account, where the site allows it.",
    "reservations": "A charger kept for a window.",
    "sites": "Sites, their limits, tariffs and live events.",
    "chargers": "Chargers and their state.",
    "forecasts": "Demand ahead, and the models behind it.",
    "federated": "Sites and vehicles that learn together and keep their data.",
    "fleet": "Trips ahead, and which vehicles will miss them.",
    "reports": "What a site did and saved.",
    "demo": "Demonstration data and clock.",
    "identity": "Who calls: challenges, tokens, DIDs, roles; what a credential is worth.",
    "anchors": "Receipts, batches of record hashes, sealed blocks, and their place on a chain.",
    "credentials": "Whose word counts, what was issued, and what was taken back.",
    "jobs": "Long work.",
    "service": "The service itself.",
}


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """Build the application; it opens its components when it starts.

    Args:
        settings: Where everything is and which profile rules.
        clock: Replaces the profile's clock.
    """
    configure_logging(level=settings.log_level, as_json=settings.log_format == "json")
    stack = ExitStack()
    door = demo_door if settings.profile == "demo" else production_door
    migrate(settings.database_url)
    parts = stack.enter_context(open_parts(settings, door=door, clock=clock))
    token_key(parts)  # production does not start without one
    parts.shared[HOME_SITES] = home_sites  # two rooms that do not know each other
    parts.shared[GAS_OF] = gas_of
    app = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        title="TASCO",
        summary="Trip-Aware Smart Charging Orchestrator",
        description=DESCRIPTION,
        version=__version__,
        openapi_url="/openapi.json",
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        lifespan=_lifespan(parts, stack),
    )
    app.state.parts = parts
    problems.install(app)
    app.router.routes.extend(_routes(settings.profile))
    documentation.install(
        app,
        is_token_optional=settings.profile == "demo",
        ids=lambda: _existing_ids(parts),
        now=parts.clock.now,
    )
    _wrap(app, settings, parts)
    return app


@cache
def _routes(profile: Profile) -> tuple[BaseRoute, ...]:
    """The routes of a profile, made once: preparing them takes longer than many a request."""
    router = APIRouter()
    router.include_router(status.router)
    router.include_router(well_known)
    router.include_router(guest_page.router)
    for room in ROOMS:
        if room == "demo" and profile != "demo":
            continue
        module = import_module(f"backend.features.{room}.router")
        router.include_router(module.router, prefix=API)
    return tuple(router.routes)


def _existing_ids(parts: Parts) -> dict[str, str]:
    """Ids for the examples; only the demo shows what exists."""
    if parts.settings.profile != "demo":
        return {}
    with parts.database.reading() as db:
        return existing_ids(db)


def _wrap(app: FastAPI, settings: Settings, parts: Parts) -> None:
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "DPoP",
                "Idempotency-Key",
                "If-Match",
                "If-None-Match",
                "Last-Event-ID",
            ],
            expose_headers=[
                "ETag",
                "Idempotent-Replayed",
                "Link",
                "Location",
                "Retry-After",
                "X-Request-Id",
            ],
        )
    app.add_middleware(
        RequestLayer,
        metrics=parts.metrics,
        max_body_bytes=settings.max_body_bytes,
        defect=_answer_defect,
    )


async def _answer_defect(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    await problems.answer(Request(scope), problems.InternalError())(scope, receive, send)


def _lifespan(parts: Parts, stack: ExitStack) -> Any:  # noqa: ANN401 - FastAPI's own type
    @asynccontextmanager
    async def _life(_app: FastAPI) -> AsyncIterator[None]:
        with stack:
            for listeners in _listening_rooms():
                stack.callback(listeners.start(parts))
            parts.relay.start()
            stack.callback(parts.relay.stop)
            await to_thread.run_sync(parts.compute.warm_up)
            with _streams_end_first(parts):
                yield

    return _life


@contextmanager
def _streams_end_first(parts: Parts) -> Iterator[None]:
    """Tell live streams of Ctrl-C and SIGTERM: a server waits for them before it ends this life."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def _told(number: int, frame: FrameType | None) -> None:
        parts.shared["closing"] = True
        handler = former[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    replaced = [number for number, handler in former.items() if callable(handler)]
    for number in replaced:
        signal.signal(number, _told)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, former[number])


def _listening_rooms() -> list[Any]:
    """The rooms that hear events or work in the background."""
    names = [room.name for room in iter_modules(backend.features.__path__) if room.ispkg]
    found = []
    for name in names:
        package = import_module(f"backend.features.{name}")
        if any(module.name == "listeners" for module in iter_modules(package.__path__)):
            found.append(import_module(f"backend.features.{name}.listeners"))
    return found


def __getattr__(name: str) -> FastAPI:
    """Build `app` when a server asks for it, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app(read_settings())
    except (ProfileMissing, SigningKeyMissing) as missing:
        raise SystemExit(str(missing)) from None


def main() -> None:
    """Serve the demo profile on this machine only."""
    os.environ.setdefault("TASCO_PROFILE", "demo")
    app = create_app(read_settings())
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=8000,
        ws="none",
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
