"""Requests from a gateway to the service."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT_S = 30.0
Headers = Mapping[str, str]


class ServiceAway(Exception):
    """The service does not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service said."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


Ask = Callable[[str, str, bytes | None, Headers], Reply]


def ask_over_http(method: str, url: str, body: bytes | None, headers: Headers) -> Reply:
    """Send a request.

    Raises:
        ServiceAway: If nobody answers, or not to the end.
    """
    if not url.startswith(("http://", "https://")):
        raise ServiceAway(f"{url} is no address of a service")
    request = Request(url, body, dict(headers), method=method)  # noqa: S310 - checked above
    try:
        return _replied(request)
    except (OSError, HTTPException) as error:
        raise ServiceAway(str(error)) from error


def _replied(request: Request) -> Reply:
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked before
            return Reply(answer.status, answer.read())
    except HTTPError as refused:
        with refused:
            return Reply(refused.code, refused.read())


def told(reply: Reply) -> str:
    """A refusal in one line."""
    said = reply.json()
    return f"{reply.status} {said.get('code', '')}: {said.get('detail', 'no reason given')}"
