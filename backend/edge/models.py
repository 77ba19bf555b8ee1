"""The model that sites learned together, fetched by its registered hash."""

from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

from backend.edge.asking import Ask, ServiceAway, ask_over_http, told
from backend.edge.proofs import Pass
from backend.federation.networks import FAMILIES, shapes
from backend.federation.weights import WeightsRefused, content_hash, from_npz

PLACE = "/api/v1/federated/model"


class ModelRefused(Exception):
    """The model is not the registered one."""


def fetch_model(
    url: str, *, sha256: str, holder: Pass | None = None, ask: Ask = ask_over_http
) -> bytes:
    """The accepted model as npz, if it is the registered one.

    Args:
        url: Address of the service, as it calls itself.
        sha256: Content hash as it was registered, best known from somebody else.
        holder: Who asks; None where nobody wants to know.
        ask: How the request is sent.

    Raises:
        ServiceAway: If the service does not give one.
        ModelRefused: If it is another.
    """
    address = f"{url.rstrip('/')}{PLACE}"
    proof = holder.headers(method="GET", url=address, now=datetime.now(UTC)) if holder else {}
    asked = urlencode({"format": "npz", "sha256": sha256})
    reply = ask("GET", f"{address}?{asked}", None, proof)
    if reply.status != HTTPStatus.OK:
        raise ServiceAway(told(reply))
    if not any(_is_model(reply.body, family, sha256) for family in FAMILIES):
        raise ModelRefused("the model is not the one whose hash was registered")
    return reply.body


def _is_model(data: bytes, family: str, sha256: str) -> bool:
    try:
        return content_hash(from_npz(data, shapes(family))) == sha256
    except WeightsRefused:
        return False
