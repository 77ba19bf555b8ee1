"""The contract against itself: what OpenAPI says and what the application does, case by case."""

import json
from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.schemas import BaseSchema
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.features.credentials.challenges import AddressLimit
from tests.conftest import House

REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "continue-on-failure": True,
        "request-timeout": 60.0,
        "generation": {
            "max-examples": 8,
            "no-shrink": True,
            "deterministic": True,
            "database": "none",
        },
        # What is no request may also be too large for one.
        "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}},
        # Links between operations are walked by the tests of the rooms, which know their sense.
        "phases": {"stateful": {"enabled": False}},
        "operations": [
            # A stream never ends: its snapshot is enough, what follows is tested elsewhere.
            {"include-path-regex": "/events$", "request-timeout": 0.2, "max-stream-events": 1},
            # It makes thirty days of data at every call; in form it is generate-data.
            {"include-path": "/api/v1/demo/reset", "enabled": False},
            # It simulates and trains up to 400,000 vehicle hours, also when nobody waits for it.
            {"include-path": "/api/v1/federated/fleet/runs", "enabled": False},
            # It grows trees on all telemetry of the demonstration, also when nobody waits for it.
            {"include-path": "/api/v1/federated/trees/runs", "enabled": False},
        ],
    }
)
# Schema-valid requests that their history refuses: a key seen with another body, an old ETag.
REFUSED_BY_HISTORY = ("idempotency_key_reused", "precondition_failed")


def _requests_only(app: ASGIApp) -> ASGIApp:
    """The application without its start and stop, which the test's own client has done."""

    async def _call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return _call


def _schema(house: House) -> BaseSchema:
    app = _requests_only(house.app)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=CONFIG)

    @schema.hook
    def map_query(_context: object, query: dict[str, Any]) -> dict[str, Any]:
        """Two days of data instead of a year: as valid, and quick to make."""
        days = query.get("days") if query else None
        if isinstance(days, int) and 2 < days <= 366:
            query["days"] = 2
        return query

    @schema.hook
    def filter_failure(
        _context: object, _failure: object, _case: object, response: Response
    ) -> bool:
        return response.status_code not in (412, 422) or (
            json.loads(response.content)["code"] not in REFUSED_BY_HISTORY
        )

    return schema


def _failures(scenario: events.ScenarioFinished) -> Iterator[str]:
    recorder = scenario.recorder
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            failure, exchange = check.failure_info.failure, recorder.interactions[case_id]
            body = exchange.response.content[:500] if exchange.response else None
            yield (
                f"{scenario.phase.value}: {check.name}: {failure.title}: {failure.message}\n"
                f"{exchange.request.method} {exchange.request.uri} {exchange.request.headers}\n"
                f"{exchange.request.body!r}\n-> {body!r}"
            )


def test_the_application_does_what_its_document_says(house: House) -> None:
    assert house.post("/demo/generate-data?days=2").status_code == 200
    house.start()
    for name in ("guest_limit", "guests_limit"):  # thousands of requests from one address
        house.parts.shared[name] = AddressLimit(10**6)

    cases, found = 0, []
    for event in from_schema(_schema(house)).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.append(str(event))
        elif isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            found += _failures(event)

    assert not found, "\n\n".join(found[:5])
    assert cases > 2_000
