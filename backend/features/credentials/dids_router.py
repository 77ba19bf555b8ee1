"""`/dids`: register, resolve, change keys, end; the same as did:web for everybody."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials import did_changes, did_documents
from backend.features.credentials.challenges import ChallengeRefused
from backend.features.credentials.counter import CurrentCounter
from backend.features.credentials.did_changes import (
    ApprovalInsufficient,
    DidInUse,
    KeyNotPresented,
)
from backend.features.credentials.dids import (
    PREFIX,
    DidDeactivated,
    DidTaken,
    KeyUnchanged,
    methods_at,
)
from backend.features.credentials.door import address_of
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
    origin_of,
)
from backend.features.credentials.presenting import PresentationRefused
from backend.features.credentials.schemas import (
    DRIVER,
    DidDeactivation,
    DidNew,
    DidResolution,
    DidRotation,
)
from backend.features.credentials.service_key import key_set, token_key
from backend.idempotency import IdempotencyKeyReused, Route
from backend.problems import NotFound, described
from backend.units import PRINTABLE, UtcDatetime

router = APIRouter(tags=["identity"], route_class=Route)
well_known = APIRouter(include_in_schema=False)
REFUSED = (NotAuthenticated, NotAllowed)
ANY_ROLE = allow(*EVERYONE)
PROOF = (ChallengeRefused, PresentationRefused, KeyNotPresented)
DidPath = Annotated[str, Path(max_length=255, pattern=PRINTABLE, examples=[DRIVER])]


@router.post(
    "/dids",
    summary="Register a DID",
    status_code=201,
    dependencies=[allow("operator")],
    responses=described(*REFUSED, *PROOF, DidTaken, DidInUse, IdempotencyKeyReused),
)
def register_did(
    new: DidNew, holder: CurrentHolder, counter: CurrentCounter, parts: CurrentParts, db: Db
) -> DidResolution:
    """Bind a DID to the key that presents itself for the purpose `did-register:{did}`."""
    now = parts.clock.now()
    did_changes.register(
        db, counter, new.did, new.presentation, new.challenge, holder=holder, now=now
    )
    return _resolved(db, new.did, counter.domain, at=now)


@router.get(
    "/dids/{did}",
    summary="Resolve a DID",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, NotFound),
)
def resolve_did(
    did: DidPath,
    counter: CurrentCounter,
    parts: CurrentParts,
    db: ReadDb,
    version_id: Annotated[int | None, Query(alias="versionId", ge=1, le=1_000_000)] = None,
    version_time: Annotated[UtcDatetime | None, Query(alias="versionTime")] = None,
) -> DidResolution:
    """Read a DID's document: as it is, as it was at a time, or one of its versions."""
    at = version_time or parts.clock.now()
    return _resolved(db, did, counter.domain, at=at, version=version_id)


def _resolved(
    db: Any,  # noqa: ANN401 - either kind of session
    did: str,
    public_url: str,
    *,
    at: datetime,
    version: int | None = None,
) -> DidResolution:
    found = did_documents.resolve(db, did, public_url=public_url, at=at, version=version)
    return DidResolution.model_validate(found)


@router.post(
    "/dids/{did}/rotate",
    summary="Change a DID's key",
    dependencies=[ANY_ROLE],
    responses=described(
        *REFUSED,
        *PROOF,
        NotFound,
        ApprovalInsufficient,
        DidDeactivated,
        KeyUnchanged,
        DidTaken,
        IdempotencyKeyReused,
    ),
)
def rotate_did(
    did: DidPath,
    change: DidRotation,
    holder: CurrentHolder,
    counter: CurrentCounter,
    parts: CurrentParts,
    db: Db,
) -> DidResolution:
    """Let a new key in, by the old one or by two operators; tokens of the old key end at once."""
    now = parts.clock.now()
    did_changes.rotate(
        db,
        counter,
        did,
        change.presentation,
        change.challenge,
        approvals=change.approvals,
        stolen_at=change.stolen_at,
        holder=holder,
        now=now,
    )
    return _resolved(db, did, counter.domain, at=now)


@router.post(
    "/dids/{did}/deactivate",
    summary="End a DID",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, NotFound, DidDeactivated, IdempotencyKeyReused),
)
def deactivate_did(
    did: DidPath,
    change: DidDeactivation,
    holder: CurrentHolder,
    counter: CurrentCounter,
    parts: CurrentParts,
    db: Db,
) -> DidResolution:
    """End your own DID, or one you registered; its tokens end at once and it never comes back."""
    now = parts.clock.now()
    did_changes.deactivate(db, did, stolen_at=change.stolen_at, holder=holder, now=now)
    return _resolved(db, did, counter.domain, at=now)


@well_known.get("/.well-known/did.json")
def service_did(request: Request, parts: CurrentParts) -> JSONResponse:
    """The service's own did:web."""
    public_url = address_of(parts, origin_of(request))
    return _document(did_documents.service_document(token_key(parts), public_url=public_url))


@well_known.get("/.well-known/jwks.json")
def keys(parts: CurrentParts) -> JSONResponse:
    """The key that signs access tokens."""
    return JSONResponse(key_set(token_key(parts)))


@well_known.get("/dids/denso/{path:path}/did.json")
def denso_as_web(
    path: Annotated[str, Path(max_length=200, pattern=PRINTABLE)],
    request: Request,
    parts: CurrentParts,
    db: ReadDb,
) -> JSONResponse:
    """The document of a registered DID under its did:web."""
    did = PREFIX + path.replace("/", ":")
    methods = methods_at(db, did, at=parts.clock.now())
    if not methods:
        raise NotFound
    public_url = address_of(parts, origin_of(request))
    return _document(did_documents.document(did, methods, public_url=public_url, as_web=True))


def _document(document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, media_type="application/did+json")
