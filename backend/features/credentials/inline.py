"""A presentation in the request itself: the caller proves who they are with what they ask for."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.adapters.verifier.interface import Reason
from backend.components import Parts, one_of
from backend.features.credentials.counter import counter_of
from backend.features.credentials.holder import (
    BearerToken,
    Holder,
    NotAllowed,
    ProofHeader,
    Role,
    Rule,
    knock_of,
)
from backend.features.credentials.presenting import Counter, PresentationRefused, receive
from backend.features.credentials.schemas import Document, Nonce
from backend.features.credentials.standing import standing_of
from backend.features.credentials.tokens import vehicles_of
from backend.features.credentials.verifying import has_duplicates
from backend.problems import FieldError, Problem
from backend.proofs.canonical import NotCanonical, canonical_bytes

PROOF = frozenset({"presentation", "challenge"})
DUPLICATE = FieldError(pointer="/presentation", reason=str(Reason.DUPLICATE_MEMBER))
PurposeOf = Callable[[dict[str, Any]], str | None]


class PresenterIsAnother(Problem):
    """The token and the presentation are of two different callers."""

    status = HTTPStatus.FORBIDDEN
    fix = "Present with the DID of the token, or send no token."


class Shown(BaseModel):
    """The part of a body that proves who sends it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    presentation: Document
    challenge: Nonce


@dataclass(frozen=True, slots=True)
class InlineRule(Rule):
    """Which roles may call a route, with a token or with a presentation in the body.

    Attributes:
        purpose_of: The purpose that the challenge has to be for, from the body; None if the body
            is not one that the route takes.
    """

    purpose_of: PurposeOf

    async def __call__(
        self, request: Request, _token: BearerToken = None, _proof: ProofHeader = None
    ) -> Holder:
        """Let the caller in or refuse.

        Raises:
            NotAuthenticated: If nobody stands behind the request.
            ChallengeRefused: If the challenge is not good for this very request.
            PresentationRefused: If the presentation does not verify.
            PresenterIsAnother: If it is not the token's owner who presents.
            NotAllowed: If none of the caller's roles fits.
        """
        body = await _body_of(request)
        shown, purpose = _shown_in(body), None if body is None else self.purpose_of(body)
        has_token = knock_of(request).token is not None
        by_token = await Rule.__call__(self, request) if has_token or not shown else None
        if body is None or shown is None or purpose is None:
            return by_token or await Rule.__call__(self, request)
        said = _canonical({name: value for name, value in body.items() if name not in PROOF})
        if not isinstance(shown.presentation, str) and has_duplicates(await request.body()):
            raise PresentationRefused(errors=[DUPLICATE])
        parts: Parts = request.app.state.parts
        counter = await counter_of(request, parts)
        async with one_of(parts.database.write_slots):
            presenter = await to_thread.run_sync(_presenter, parts, counter, shown, purpose, said)
        holder = presenter if by_token is None else _both(by_token, presenter)
        if not holder.roles & self.roles:
            raise NotAllowed
        request.state.caller, request.state.holder = holder.did, holder
        request.state.said = said  # a repetition brings a new presentation and says the same
        return holder


async def _body_of(request: Request) -> dict[str, Any] | None:
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return None  # for the schema to refuse
    return body if isinstance(body, dict) else None


def _shown_in(body: dict[str, Any] | None) -> Shown | None:
    try:
        return Shown.model_validate(body)
    except ValidationError:
        return None  # nothing is presented, or the schema refuses it


def _presenter(parts: Parts, counter: Counter, shown: Shown, purpose: str, said: bytes) -> Holder:
    """Who presents, as far as it is proved: all that a token would say, and the credentials."""
    presented = receive(
        counter,
        shown.presentation,
        shown.challenge,
        purpose=purpose,
        body_hash=hashlib.sha256(said).hexdigest(),
        now=parts.clock.now(),
    )
    with parts.database.reading() as db:
        standing = standing_of(db, presented.verdict)
        return Holder(
            did=presented.holder,
            roles=standing.roles,
            assurance="verified",
            sites=standing.sites,
            training_sites=standing.training_sites,
            fleets=standing.fleets,
            vehicles=vehicles_of(db, standing.fleets),
            chargers=frozenset({presented.holder} if "charger" in standing.roles else ()),
            rights=standing.rights,
            shown=presented.verdict.credentials,
            rests_on=standing.rests_on,
            epoch=presented.epoch,
            key_thumbprint=presented.verdict.holder_key_thumbprint,
        )


def _both(by_token: Holder, presenter: Holder) -> Holder:
    """The owner of a token, with what they show besides."""
    if by_token.did != presenter.did:
        raise PresenterIsAnother
    return replace(
        by_token,
        roles=by_token.roles | presenter.roles,
        rights=by_token.rights | presenter.rights,
        shown=presenter.shown,
        rests_on=by_token.rests_on | presenter.rests_on,
        epoch=min(by_token.epoch, presenter.epoch),
    )


def _canonical(said: dict[str, Any]) -> bytes:
    """RFC 8785; what has no such form is refused by the schema and bound to nothing."""
    try:
        return canonical_bytes(said)
    except NotCanonical:
        return b""


def allow_presenting(*roles: Role, purpose_of: PurposeOf) -> Any:  # noqa: ANN401 - FastAPI's marker
    """The rule of a route that also takes a presentation in its body."""
    return Depends(InlineRule(frozenset(roles) | {"administrator"}, purpose_of))
