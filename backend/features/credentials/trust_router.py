"""`/issuers`: whose credentials are trusted, for what, and on whose word."""

import hashlib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response

from backend.adapters.verifier.interface import Reason
from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials import trust
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.issuer import IssuerKeyMissing, service_issuer
from backend.features.credentials.issuing_models import Accreditation
from backend.features.credentials.registry import LocalRegistry
from backend.features.credentials.trust import (
    AccreditationKnown,
    AccreditationNotFound,
    AccreditationRefused,
    NewAccreditation,
    ValidityImpossible,
)
from backend.features.credentials.trust_book import ACCREDITATION, Scope
from backend.features.credentials.trust_schemas import (
    ACCREDITATION_ID,
    ISSUER_EXAMPLES,
    Did,
    IssuerNew,
    IssuerView,
    RootNew,
    Snapshot,
)
from backend.features.credentials.trust_snapshot import current_epoch, snapshot
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["credentials"], route_class=Route)
ANY_ROLE = allow(*EVERYONE)
OPERATOR = allow("operator")
REFUSED = (NotAuthenticated, NotAllowed)
AccreditationId = Annotated[
    str,
    Path(max_length=40, pattern=PRINTABLE, examples=[ACCREDITATION_ID], description="acc_…"),
]


@router.get(
    "/issuers",
    summary="Whose credentials are trusted",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, CursorInvalid),
)
def list_issuers(
    request: Request,
    response: Response,
    db: ReadDb,
    parts: CurrentParts,
    issuer: Annotated[Did | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[IssuerView]:
    """List accreditations and whether each holds now, with all that it rests on."""
    now, book = parts.clock.now(), trust.book_of(db, parts.shared)
    rows = trust.page(db, issuer=issuer, after=decoded(cursor, request), limit=limit)
    return page_of(
        rows,
        limit,
        key=lambda row: row.id,
        show=lambda row: _view(row, book.why_not(row.id, at=now)),
        request=request,
        response=response,
    )


@router.get(
    "/issuers/snapshot",
    summary="The whole trust registry, signed",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, IssuerKeyMissing),
)
def get_snapshot(db: ReadDb, parts: CurrentParts) -> Snapshot:
    """Read the registry in one signed document; its hash is what gets anchored with each change."""
    signer = service_issuer(parts)
    content = snapshot(db)
    return Snapshot(
        epoch=current_epoch(db),
        sha256=hashlib.sha256(content).hexdigest(),
        jws=signer.sign(content),
        signer=signer.did,
    )


@router.post(
    "/issuers",
    summary="Trust an issuer",
    status_code=201,
    dependencies=[OPERATOR],
    responses=described(
        *REFUSED,
        ValidityImpossible,
        AccreditationRefused,
        AccreditationKnown,
        IdempotencyKeyReused,
    ),
)
def add_issuer(
    new: Annotated[IssuerNew, Body(openapi_examples=ISSUER_EXAMPLES)],
    holder: CurrentHolder,
    parts: CurrentParts,
    read: ReadDb,
    response: Response,
    db: Db,
) -> IssuerView:
    """Add a root (administrators), or hand in an accreditation that an accredited issuer signed."""
    now, by = parts.clock.now(), holder.did
    if isinstance(new, RootNew):
        if "administrator" not in holder.roles:
            raise NotAllowed
        row = trust.add_root(db, _root(new, now=now), by=by, now=now)
    else:
        verdict = parts.verifier.verify_credential(
            new.credential,
            at=now,
            registry=LocalRegistry(read, parts.shared),
            expected_type=ACCREDITATION,
        )
        read.close()
        row = trust.add_accredited(db, verdict, new.credential, by=by, now=now)
    response.headers["Location"] = f"/api/v1/issuers/{row.id}"
    return _view(row, None)


def _root(new: RootNew, *, now: datetime) -> NewAccreditation:
    return NewAccreditation(
        issuer_did=new.issuer_did,
        credential_types=frozenset(new.credential_types),
        scope=Scope.limited_to(new.sites, new.fleets, new.wmis),
        may_accredit=new.may_accredit,
        valid_from=new.valid_from or now.replace(microsecond=0),  # as credentials write times
        valid_until=new.valid_until,
    )


@router.get(
    "/issuers/{accreditation_id}",
    summary="Read one accreditation",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, AccreditationNotFound),
)
def get_issuer(accreditation_id: AccreditationId, db: ReadDb, parts: CurrentParts) -> IssuerView:
    """Read an accreditation and whether it holds now, with all that it rests on."""
    row = trust.require(db, accreditation_id)
    book = trust.book_of(db, parts.shared)
    return _view(row, book.why_not(row.id, at=parts.clock.now()))


@router.delete(
    "/issuers/{accreditation_id}",
    summary="Trust an issuer no longer",
    dependencies=[OPERATOR],
    responses=described(*REFUSED, AccreditationNotFound, IdempotencyKeyReused),
)
def revoke_issuer(
    accreditation_id: AccreditationId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> IssuerView:
    """Revoke an accreditation: what rests on it is refused from the commit on, on every worker."""
    row = trust.revoke(db, accreditation_id, holder=holder, now=parts.clock.now())
    return _view(row, Reason.ACCREDITATION_REVOKED)


def _view(row: Accreditation, reason: Reason | None) -> IssuerView:
    return IssuerView(
        accreditation_id=row.id,
        issuer_did=row.issuer_did,
        credential_types=row.credential_types,
        sites=row.sites,
        fleets=row.fleets,
        wmis=row.wmis,
        may_accredit=row.may_accredit,
        accredited_by=row.accredited_by,
        parent_id=row.parent_id,
        credential_hash=row.credential_hash,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        revoked_at=row.revoked_at,
        holds=reason is None,
        reason=reason,
    )
