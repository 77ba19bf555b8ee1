"""The counter of a request: what judging presentations needs, for the address it came to."""

from typing import Annotated

from fastapi import Depends, Request

from backend.components import CurrentParts
from backend.features.credentials.challenges import AddressLimit
from backend.features.credentials.door import address_of
from backend.features.credentials.holder import origin_of
from backend.features.credentials.presenting import Counter


async def counter_of(request: Request, parts: CurrentParts) -> Counter:
    """The counter for the address that a request came to."""
    domain = address_of(parts, origin_of(request))
    return Counter(parts.database, parts.verifier, domain, parts.shared)


CurrentCounter = Annotated[Counter, Depends(counter_of)]


async def _limit(request: Request, parts: CurrentParts) -> None:
    limit: AddressLimit = parts.shared.setdefault("challenge_limit", AddressLimit())
    limit.take(request.client.host if request.client else "")


OneOfFew = Depends(_limit)
