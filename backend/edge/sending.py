"""Buffered telemetry on its way to the service: in batches, as often as it takes."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from backend.edge.buffer import Buffer, Kept
from backend.edge.proofs import Pass

BATCH = 1_000
TIMEOUT_S = 20.0
POINTER = re.compile(r"^/body/points/(\d+)(/|$)")
REFUSALS = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)


class ServiceAway(Exception):
    """The service did not take the points; they stay in the buffer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service said."""

    status: int
    body: Mapping[str, Any]


Post = Callable[[str, bytes, Mapping[str, str]], Reply]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the buffer."""

    taken: int
    refused: int


def _now() -> datetime:
    return datetime.now(UTC)


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """POST JSON over HTTP.

    Raises:
        ServiceAway: If nobody answers.
    """
    if not url.startswith(("http://", "https://")):
        raise ServiceAway(f"{url} is no address of a service")
    request = Request(url, body, dict(headers), method="POST")  # noqa: S310 - checked above
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
            return Reply(answer.status, json.loads(answer.read()))
    except HTTPError as refused:
        return Reply(refused.code, _parsed(refused.read()))
    except (URLError, TimeoutError, OSError, ValueError) as error:
        raise ServiceAway(str(error)) from error


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def send(
    buffer: Buffer,
    *,
    url: str,
    vehicle_did: str,
    holder: Pass | None = None,
    deliver: Post = post,
    clock: Clock = _now,
) -> Sent:
    """Send what the service does not have yet.

    The same batch has the same Idempotency-Key, and the service stores each moment once: however
    often the line breaks, nothing is lost and nothing counts twice. Points that the service names
    as impossible are set aside so that they do not hold up the others.

    Args:
        buffer: What was kept.
        url: Address of the service, as it calls itself.
        vehicle_did: The vehicle the points are of.
        holder: Who sends; every request gets a proof of its own. None where nobody asks.
        deliver: How a request is sent.
        clock: Tells the time of a request.

    Raises:
        ServiceAway: If the service does not answer or takes nothing; the rest stays.
    """
    address = f"{url.rstrip('/')}/api/v1/vehicles/{quote(vehicle_did, safe=':')}/telemetry"
    waiting, taken, refused = buffer.unsent(), 0, 0
    while batch := list(islice(waiting, BATCH)):
        good = batch
        while good:
            proof = holder.headers(method="POST", url=address, now=clock()) if holder else {}
            reply = deliver(address, _body(good), {**_headers(good), **proof})
            if reply.status == HTTPStatus.OK:
                taken += len(good)
                break
            bad = _named(reply, len(good))
            if not bad:
                raise ServiceAway(f"{reply.status}: {reply.body.get('detail', 'no reason given')}")
            for place, reason in bad.items():
                buffer.set_aside(good[place].point, reason)
            refused += len(bad)
            good = [one for place, one in enumerate(good) if place not in bad]
        buffer.mark_sent(batch[-1].end)
    return Sent(taken, refused)


def _body(batch: Sequence[Kept]) -> bytes:
    return json.dumps({"points": [one.point for one in batch]}).encode()


def _headers(batch: Sequence[Kept]) -> dict[str, str]:
    key = hashlib.sha256(_body(batch)).hexdigest()
    return {"Content-Type": "application/json", "Idempotency-Key": f"edge-{key}"}


def _named(reply: Reply, points: int) -> dict[int, str]:
    """Positions of the points that the service names as refused, with the reason."""
    if reply.status not in REFUSALS:
        return {}
    found: dict[int, str] = {}
    for one in reply.body.get("errors", ()):
        place = POINTER.match(str(one.get("pointer", "")))
        if place and int(place[1]) < points:
            found.setdefault(int(place[1]), str(one.get("reason", "")))
    return found
