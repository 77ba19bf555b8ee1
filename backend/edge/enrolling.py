"""A site says that it takes part in federated rounds, as itself."""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from backend.edge.asking import Ask, ServiceAway, told
from backend.edge.proofs import Pass

PLACE = "/api/v1/federated/participants"


def enrol(
    url: str,
    site_id: str,
    *,
    did: str,
    engine: str,
    holder: Callable[[], Pass] | None,
    ask: Ask,
    now: datetime,
) -> None:
    """Let the DID that signs for a site be enrolled in an engine.

    Raises:
        ServiceAway: If the service does not let this site take part.
    """
    address = url.rstrip("/") + PLACE
    body = json.dumps({"site_id": site_id, "did": did, "engine": engine}).encode()
    proof = holder().headers(method="POST", url=address, now=now) if holder else {}
    reply = ask("POST", address, body, {"Content-Type": "application/json", **proof})
    if reply.status != HTTPStatus.OK:
        raise ServiceAway(told(reply))
