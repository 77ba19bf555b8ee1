"""`/anchors`, `/ledger` and the receipts of sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from backend.components import CurrentParts, ReadDb
from backend.features.anchors import queries, service, telling, views, wiring
from backend.features.anchors.models import BLOCK
from backend.features.anchors.schemas import (
    BatchView,
    BlockView,
    CredentialOnChain,
    ItemProof,
    KindName,
    LedgerRecordView,
    LedgerState,
    ModelOnChain,
    ReceiptToVerify,
    ReceiptVerdict,
)
from backend.features.anchors.service import AnchorNotFound, ReceiptErased, ReceiptNotReady
from backend.features.anchors.telling import ModelUnknown, StatusUnknown
from backend.features.credentials.holder import (
    PEOPLE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.issuer import IssuerKeyMissing
from backend.features.credentials.issuing_schemas import CREDENTIAL_ID
from backend.features.sessions.examples import SESSION_ID
from backend.features.sessions.problems import SessionNotFound
from backend.features.sessions.service import require_session
from backend.idempotency import Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described
from backend.proofs.merkle import Kind
from backend.proofs.signing import did_of
from backend.units import PRINTABLE

router = APIRouter(tags=["anchors"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
LOOKING = allow(*PEOPLE)
EXPLORING = allow("operator", "auditor")
BATCH_ID = "anc_01KAF0000000000000000000"
BatchId = Annotated[str, Path(max_length=40, pattern=PRINTABLE, examples=[BATCH_ID])]
Name = Annotated[
    str, Query(max_length=120, pattern=PRINTABLE, examples=[SESSION_ID], description="Its id")
]


async def _said(request: Request) -> bytes:
    """The body as it came: what is read of it no longer shows a member that came twice."""
    return await request.body()


Said = Annotated[bytes, Depends(_said)]


@router.get(
    "/anchors",
    summary="Batches of record hashes",
    dependencies=[LOOKING],
    responses=described(*REFUSED, CursorInvalid),
)
def list_anchors(
    request: Request,
    response: Response,
    holder: CurrentHolder,
    db: ReadDb,
    item: Annotated[
        str | None,
        Query(max_length=120, pattern=PRINTABLE, description="Only the batch of this item"),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[BatchView]:
    """Batches with their roots and how far each is on its way to the chain, newest first."""
    after = _number_in(cursor, request)
    rows = service.batches_of(db, holder, after=after, limit=limit, item=item)
    return page_of(
        rows,
        limit,
        key=lambda row: str(row[0].number),
        show=lambda row: views.batch_view(*row),
        request=request,
        response=response,
    )


def _number_in(cursor: str | None, request: Request) -> str | None:
    """The number after which a page of numbered things begins.

    Raises:
        CursorInvalid: If it is none.
    """
    after = decoded(cursor, request)
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):  # noqa: PLR2004 - fits every database
        raise CursorInvalid
    return after


@router.post(
    "/anchors/verify",
    summary="Check a receipt",
    dependencies=[LOOKING],
    responses=described(*REFUSED, IssuerKeyMissing),
)
def verify_receipt(asked: ReceiptToVerify, said: Said, parts: CurrentParts) -> ReceiptVerdict:
    """Check form, hash, inclusion, checkpoint and signature; the receipt alone decides.

    The order of its members does not count here; the one-file verifier checks the very bytes.
    """
    signer = asked.signer or did_of(wiring.receipt_key(parts))
    return service.verdict_on(asked.receipt, said=said, signer=signer)


@router.get(
    "/anchors/{anchor_id}",
    summary="One batch",
    dependencies=[LOOKING],
    responses=described(*REFUSED, AnchorNotFound),
)
def get_anchor(anchor_id: BatchId, db: ReadDb) -> BatchView:
    """A batch, its signed checkpoint, its place on the chain and what that cost."""
    return service.require_batch(db, anchor_id)


@router.get(
    "/anchors/{anchor_id}/proof",
    summary="That an item is in a batch",
    dependencies=[LOOKING],
    responses=described(*REFUSED, AnchorNotFound),
)
def get_proof(
    anchor_id: BatchId,
    item: Name,
    holder: CurrentHolder,
    db: ReadDb,
    kind: KindName = "session_receipt",
) -> ItemProof:
    """The siblings that lead from an item's hash to the root, and where the root stands."""
    return service.proof_of(db, anchor_id, Kind[kind.upper()], item, holder=holder)


@router.get(
    "/sessions/{session_id}/receipt",
    tags=["sessions"],
    summary="The signed receipt of a session",
    dependencies=[LOOKING],
    response_class=Response,
    responses={
        200: {
            "description": "Signed canonical JSON; keep the bytes as they are",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        **described(*REFUSED, SessionNotFound, ReceiptNotReady, ReceiptErased, IssuerKeyMissing),
    },
)
def get_receipt(
    session_id: Annotated[str, Path(max_length=40, pattern=PRINTABLE, examples=[SESSION_ID])],
    holder: CurrentHolder,
    parts: CurrentParts,
    db: ReadDb,
) -> Response:
    """What was metered, what it cost and the proof: `docs/verify_receipt.py` checks it offline."""
    session = require_session(db, session_id, holder=holder)
    content = service.receipt_of(db, session, wiring.receipt_key(parts))
    return Response(content, media_type="application/json")


@router.get(
    "/ledger",
    summary="The ledger and what it cost",
    dependencies=[LOOKING],
    responses=described(*REFUSED, IssuerKeyMissing),
)
def get_ledger(db: ReadDb, parts: CurrentParts) -> LedgerState:
    """Which chain, whether it is written to, what waits, gas and fees so far."""
    sender = wiring.open_sender(parts)
    trust = parts.ledger.trust if parts.ledger else views.SIGNED_ONLY
    key = wiring.receipt_key(parts)
    return views.ledger_state(db, sender.status if sender else None, trust, key)


@router.get(
    "/ledger/credentials/{credential_id}",
    summary="A credential's status on the chain",
    dependencies=[LOOKING],
    responses=described(*REFUSED, StatusUnknown),
)
def get_credential_on_chain(
    credential_id: Annotated[str, Path(max_length=60, pattern=PRINTABLE, examples=[CREDENTIAL_ID])],
    db: ReadDb,
    parts: CurrentParts,
) -> CredentialOnChain:
    """Its bits here and on the chain; the database decides, the chain shows that it was said."""
    return telling.credential_on_chain(db, credential_id, wiring.sender_state(parts))


@router.get(
    "/ledger/models/{sha256}",
    summary="Verdicts on a model on the chain",
    dependencies=[LOOKING],
    responses=described(*REFUSED, ModelUnknown),
)
def get_model_on_chain(
    sha256: Annotated[str, Path(max_length=64, pattern=r"^[0-9a-f]{64}$", examples=["5a" * 32])],
    db: ReadDb,
    parts: CurrentParts,
) -> ModelOnChain:
    """What became of a model, or of an update to one, and where that stands."""
    return telling.model_on_chain(db, sha256, wiring.sender_state(parts))


@router.get(
    "/ledger/blocks",
    summary="Sealed blocks of charge and discharge records",
    dependencies=[LOOKING],
    responses=described(*REFUSED, CursorInvalid),
)
def list_blocks(
    request: Request, response: Response, db: ReadDb, cursor: Cursor = None, limit: Limit = 25
) -> Page[BlockView]:
    """Blocks, newest first, each bound to the one before by its hash."""
    after = _number_in(cursor, request)
    return page_of(
        queries.batches_page(db, BLOCK, after=after, limit=limit),
        limit,
        key=lambda row: str(row[0].number),
        show=lambda row: views.block_view(*row),
        request=request,
        response=response,
    )


@router.get(
    "/ledger/blocks/{number}/records",
    summary="The records of a block",
    dependencies=[EXPLORING],
    responses=described(*REFUSED, AnchorNotFound, CursorInvalid),
)
def list_block_records(
    number: Annotated[int, Path(ge=1, le=2**31 - 1, examples=[1])],
    request: Request,
    response: Response,
    holder: CurrentHolder,
    db: ReadDb,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[LedgerRecordView]:
    """Charges and discharges in a block; an operator sees those of their sites."""
    block = service.require_block(db, number)
    return _records(request, response, db, holder, block.id, cursor, limit)


@router.get(
    "/ledger/pending",
    summary="Records that wait for the next block",
    dependencies=[EXPLORING],
    responses=described(*REFUSED, CursorInvalid),
)
def list_pending(
    request: Request,
    response: Response,
    holder: CurrentHolder,
    db: ReadDb,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[LedgerRecordView]:
    """The pool of charges and discharges that the next block takes in."""
    return _records(request, response, db, holder, None, cursor, limit)


def _records(
    request: Request,
    response: Response,
    db: ReadDb,
    holder: CurrentHolder,
    batch_id: str | None,
    cursor: str | None,
    limit: int,
) -> Page[LedgerRecordView]:
    after = decoded(cursor, request)
    return page_of(
        queries.records_page(db, holder, batch_id=batch_id, after=after, limit=limit),
        limit,
        key=lambda item: item.id,
        show=views.record_view,
        request=request,
        response=response,
    )
