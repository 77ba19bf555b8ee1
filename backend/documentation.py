"""OpenAPI as served: shared problems, examples with dates ahead, a page without the internet."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from pydantic.json_schema import models_json_schema

from backend.problems import (
    MEDIA_TYPE,
    BodyTooLarge,
    DatabaseUnavailable,
    MalformedRequest,
    Problem,
    ProblemDetails,
    UnreadableBody,
    described,
)

STATIC_URL = "/static-offline-docs"
WITH_BODY = ("post", "put", "patch")
_AHEAD = re.compile(r"\{\{now\+(\d+)(?::(\d+))?h\}\}")


def ahead(hours: int, minutes: int = 0) -> str:
    """An example time that many hours after the document is served."""
    return f"{{{{now+{hours}:{minutes}h}}}}" if minutes else f"{{{{now+{hours}h}}}}"


def filled_in(text: str, now: datetime) -> str:
    """The text with every `ahead` mark replaced by a time."""

    def _time(mark: re.Match[str]) -> str:
        later = timedelta(hours=int(mark[1]), minutes=int(mark[2] or 0))
        return (now + later).strftime("%Y-%m-%dT%H:%M:00Z")

    return _AHEAD.sub(_time, text)


def install(
    app: FastAPI,
    *,
    is_token_optional: bool,
    ids: Callable[[], Mapping[str, str]],
    now: Callable[[], datetime],
) -> None:
    """Serve the OpenAPI document and its page.

    Args:
        app: The application, all its routes included.
        ids: Gives, for each id that examples name, one that exists when the document is served.
        is_token_optional: Whether the routes answer callers without a token.
        now: The time by which requests are judged, so that examples lie ahead of it.
    """
    cache: list[str] = []

    def _document() -> dict[str, Any]:
        if not cache:
            cache.append(json.dumps(_complete(app, is_token_optional=is_token_optional)))
        text = filled_in(cache[0], now())
        for placeholder, existing in ids().items():
            text = text.replace(placeholder, existing)
        document: dict[str, Any] = json.loads(text)
        return document

    app.openapi = _document  # type: ignore[method-assign]  # FastAPI's documented way

    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title} API",
        swagger_js_url=f"{STATIC_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC_URL}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC_URL}/favicon.png",
        swagger_ui_parameters={"docExpansion": "list", "defaultModelsExpandDepth": 0},
    )
    headers = {"Content-Security-Policy": _policy_for(bytes(page.body).decode())}

    @app.get("/docs", include_in_schema=False)
    def _docs() -> HTMLResponse:
        return HTMLResponse(page.body, headers=headers)


def _policy_for(html: str) -> str:
    """A content-security policy that allows just the scripts of this page."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in inline]
    scripts = " ".join(["'self'", *(f"'sha256-{one}'" for one in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _complete(app: FastAPI, *, is_token_optional: bool) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = document["components"]["schemas"]
    _, definitions = models_json_schema(
        [(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}"
    )
    schemas.update(definitions["$defs"])
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for method, operation in _operations(document):
        _add_shared_problems(method, operation)
        schemas.update(_definitions(operation))
        _extend_stream(operation)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        if "security" in operation:
            together: dict[str, list[str]] = {
                name: [] for one in operation["security"] for name in one
            }
            operation["security"] = [{}, together] if is_token_optional else [together]
    return document


def _definitions(operation: dict[str, Any]) -> dict[str, Any]:
    """The schemas inside a body that a route reads by itself; they belong with all others."""
    bodies = operation.get("requestBody", {}).get("content", {}).values()
    inside = [body["schema"].pop("$defs", {}) for body in bodies if "schema" in body]
    return {name: schema for one in inside for name, schema in one.items()}


def _extend_stream(operation: dict[str, Any]) -> None:
    """The schema of single events, for which OpenAPI has a word of its own only from 3.2 on."""
    stream = operation["responses"].get("200", {}).get("content", {}).get("text/event-stream", {})
    if "itemSchema" in stream:
        stream["x-itemSchema"] = stream.pop("itemSchema")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which is left out or has a value but cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        yield from methods.items()


def _add_shared_problems(method: str, operation: dict[str, Any]) -> None:
    shared: list[type[Problem]] = [DatabaseUnavailable]
    if operation.get("parameters") or method in WITH_BODY:
        shared.append(MalformedRequest)
    if method in WITH_BODY:
        shared += [UnreadableBody, BodyTooLarge]
    for status, response in described(*shared).items():
        known = operation["responses"].get(str(status))
        if known is None or MEDIA_TYPE not in known.get("content", {}):
            operation["responses"][str(status)] = response
        else:
            known["description"] += f" {response['description']}"
