"""`/credentials`: issue, list, revoke, suspend; the status lists that others read."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from backend.adapters.verifier.interface import StatusEntry
from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials import issuing, status_lists
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.issuer import IssuerKeyMissing, public_url, service_issuer
from backend.features.credentials.issuing import (
    ClaimsRefused,
    CredentialNotFound,
    CredentialRevoked,
    CredentialValidityImpossible,
    IssuerNotAccredited,
    NotSuspendable,
)
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.credentials.issuing_schemas import (
    CREDENTIAL_EXAMPLES,
    STATUS_LIST_ID,
    CredentialNamed,
    CredentialNew,
    Issued,
    IssuedView,
    StatusListDocument,
    StatusPlace,
)
from backend.features.credentials.status_documents import TTL_S, status_document
from backend.features.credentials.status_lists import StatusListCrowded, StatusListNotFound
from backend.features.credentials.trust_schemas import Did
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["credentials"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
ISSUERS = [allow("operator", "fleet")]
JWT_TYPES = ("application/vc+jwt", "application/jwt", "text/plain")
ListId = Annotated[
    str,
    Path(max_length=40, pattern=PRINTABLE, examples=[STATUS_LIST_ID], description="purpose-number"),
]
STATUS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The signed list",
        "content": {
            "application/vc": {"schema": StatusListDocument.model_json_schema()},
            "application/vc+jwt": {"schema": {"type": "string"}},
        },
    },
    304: {"description": "Unchanged since the ETag in If-None-Match"},
    **described(StatusListNotFound, IssuerKeyMissing),
}


@router.post(
    "/credentials/issue",
    summary="Issue a credential",
    status_code=201,
    dependencies=ISSUERS,
    responses=described(
        *REFUSED,
        ClaimsRefused,
        CredentialValidityImpossible,
        IssuerNotAccredited,
        IssuerKeyMissing,
        StatusListCrowded,
        IdempotencyKeyReused,
    ),
)
def issue_credential(
    new: Annotated[CredentialNew, Body(openapi_examples=CREDENTIAL_EXAMPLES)],
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
) -> Issued:
    """Have this service say something: for operators about their sites, for fleets about theirs."""
    now, signer = parts.clock.now(), service_issuer(parts)
    said = issuing.statement(
        new.credential_type,
        new.subject_did,
        new.claims,
        now=now,
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        form=new.format,
    )
    issuing.require_entitled(holder, said)
    made = issuing.issue(
        db,
        said,
        signer=signer,
        by=holder.did,
        public_url=public_url(parts),
        now=now,
        kept=parts.shared,
    )
    seen = _view(made.row, made.places, now=now)
    return Issued(**seen.model_dump(), format=new.format, credential=made.document)


@router.get(
    "/credentials",
    summary="Credentials issued here",
    dependencies=[allow(*EVERYONE)],
    responses=described(*REFUSED, CursorInvalid),
)
def list_credentials(
    request: Request,
    response: Response,
    holder: CurrentHolder,
    db: ReadDb,
    parts: CurrentParts,
    subject: Annotated[Did | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[IssuedView]:
    """List what was issued about the caller, at their sites or by them, without its claims."""
    after, now = decoded(cursor, request), parts.clock.now()
    rows = issuing.page(db, holder=holder, subject_did=subject, after=after, limit=limit)
    places = status_lists.places_of(db, [row.id for row in rows])
    return page_of(
        rows,
        limit,
        key=lambda row: row.id,
        show=lambda row: _view(row, places.get(row.id, []), now=now),
        request=request,
        response=response,
    )


@router.post(
    "/credentials/revoke",
    summary="Revoke a credential for good",
    dependencies=ISSUERS,
    responses=described(*REFUSED, CredentialNotFound, IdempotencyKeyReused),
)
def revoke_credential(
    named: CredentialNamed, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> IssuedView:
    """Take a credential back: verification refuses it from the commit on, on every worker."""
    now = parts.clock.now()
    row = issuing.revoke(db, named.credential_id, holder=holder, now=now)
    return _view(row, status_lists.places_of(db, [row.id])[row.id], now=now)


@router.post(
    "/credentials/suspend",
    summary="Suspend a credential",
    dependencies=ISSUERS,
    responses=described(
        *REFUSED, CredentialNotFound, CredentialRevoked, NotSuspendable, IdempotencyKeyReused
    ),
)
def suspend_credential(
    named: CredentialNamed, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> IssuedView:
    """Take a credential back until the suspension is lifted."""
    now = parts.clock.now()
    row = issuing.suspend(db, named.credential_id, lift=False, holder=holder, now=now)
    return _view(row, status_lists.places_of(db, [row.id])[row.id], now=now)


@router.post(
    "/credentials/lift-suspension",
    summary="Lift a suspension",
    dependencies=ISSUERS,
    responses=described(
        *REFUSED, CredentialNotFound, CredentialRevoked, NotSuspendable, IdempotencyKeyReused
    ),
)
def lift_suspension(
    named: CredentialNamed, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> IssuedView:
    """Give a suspended credential back."""
    now = parts.clock.now()
    row = issuing.suspend(db, named.credential_id, lift=True, holder=holder, now=now)
    return _view(row, status_lists.places_of(db, [row.id])[row.id], now=now)


@router.get(
    "/credentials/status/{list_id}",
    summary="A status list",
    response_class=Response,
    responses=STATUS_ANSWERS,
)
def get_status_list(
    list_id: ListId,
    db: ReadDb,
    parts: CurrentParts,
    accept: Annotated[str | None, Header(max_length=1_000, include_in_schema=False)] = None,
    if_none_match: Annotated[
        str | None, Header(max_length=400, description="ETag of the copy at hand")
    ] = None,
) -> Response:
    """Read a signed list as Data Integrity credential, or as JWT if `application/vc+jwt` is asked.

    Anybody may: a list tells nothing about whose the bits are.
    """
    as_jwt = any(kind in (accept or "") for kind in JWT_TYPES)
    document = status_document(
        db,
        list_id,
        as_jwt=as_jwt,
        signer=service_issuer(parts),
        now=parts.clock.now(),
        kept=parts.shared,
    )
    headers = {
        "ETag": document.etag,
        "Cache-Control": f"public, max-age={TTL_S}",
        "Vary": "Accept",
    }
    if if_none_match is not None and document.etag in if_none_match:
        return Response(status_code=304, headers=headers)
    content, kind = document.content, "application/vc+jwt" if as_jwt else "application/vc"
    text = content if isinstance(content, str) else json.dumps(content)
    return Response(text, headers=headers, media_type=kind)


def _view(row: IssuedCredential, places: list[StatusEntry], *, now: datetime) -> IssuedView:
    return IssuedView(
        credential_id=row.id,
        credential_type=row.credential_type,
        issuer_did=row.issuer_did,
        subject_did=row.subject_did,
        site_id=row.site_id,
        issued_at=row.issued_at,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        credential_hash=row.credential_hash,
        status=_state(row, now=now),
        status_places=[
            StatusPlace(purpose=one.purpose, list_url=one.list_url, index=one.index)
            for one in places
        ],
    )


def _state(row: IssuedCredential, *, now: datetime) -> issuing.State:
    if row.revoked_at is not None:
        return "revoked"
    if row.suspended_at is not None:
        return "suspended"
    return "expired" if row.valid_until <= now else "valid"
