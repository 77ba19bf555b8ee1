"""The sender of this application, from its settings and its ledger."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.adapters.ledger import signers
from backend.adapters.ledger.booting import boot
from backend.adapters.ledger.checks import Wanted
from backend.adapters.ledger.contracts import MODELS
from backend.adapters.ledger.deeds import Deed
from backend.adapters.ledger.desk import Terms
from backend.adapters.ledger.embedded import EmbeddedLedger
from backend.adapters.ledger.ledger import Chain
from backend.adapters.ledger.sending import Sender, SenderState
from backend.adapters.ledger.signers import KeyRefused, Signer
from backend.components import Parts
from backend.features.anchors.batching import Closing, waiting_batches
from backend.features.anchors.models import BATCH, BLOCK, ChainNotice
from backend.features.anchors.notices import (
    waiting_models,
    waiting_revocations,
    waiting_statuses,
)
from backend.features.credentials.issuer import IssuerKeyMissing, service_issuer
from backend.settings import Settings

GWEI = 10**9
SENDER = "ledger_sender"
DEMO_AGE_S, AGE_S = 5.0, 600.0  # of a batch; a block waits six times as long in the demo
DEMO_BLOCK_S, BLOCK_S = 30.0, 900.0


def open_sender(parts: Parts) -> Sender | None:
    """The sender; None where no ledger is set."""
    if parts.ledger is None:
        return None
    if SENDER not in parts.shared:
        is_embedded = isinstance(parts.ledger, EmbeddedLedger)
        open_signer = signers.new_signer if is_embedded else partial(signer_of, parts.settings)
        parts.shared[SENDER] = Sender(
            parts.database,
            parts.ledger,
            open_signer=open_signer,
            source=waiting_deeds,
            terms=terms_of(parts.settings, is_embedded=is_embedded),
            prepare=(
                partial(boot, parts.database, parts.ledger)
                if isinstance(parts.ledger, EmbeddedLedger)
                else None
            ),
            moved=tell_moved,
        )
    sender: Sender = parts.shared[SENDER]
    return sender


def sender_state(parts: Parts) -> SenderState:
    """What the sender last found; nothing where there is none."""
    sender = open_sender(parts)
    return sender.status if sender else SenderState()


def waiting_deeds(db: Session, chain: Chain, limit: int) -> list[Deed]:
    """What waits for a chain, in turn: nothing that is held up keeps the others waiting."""
    groups = [
        waiting_revocations(db, chain, limit),
        waiting_batches(db, chain, limit, purpose=BATCH),
        waiting_batches(db, chain, limit, purpose=BLOCK),
        waiting_statuses(db, chain, limit),
        waiting_models(db, chain, limit),
    ]
    return [one for turn in zip_longest(*groups) for one in turn if one is not None][:limit]


def tell_moved(db: Session, subjects: Sequence[str], now: datetime) -> None:
    """Tell of the models whose verdicts came into a block or out of one."""
    about = ChainNotice.id.in_(subjects), ChainNotice.contract == MODELS
    names = db.scalars(select(ChainNotice.name).where(*about).distinct()).all()
    if names:
        record(db, "ledger.models.moved", {"names": sorted(names)}, now=now)


def terms_of(settings: Settings, *, is_embedded: bool = False) -> Terms:
    """How the sender goes about it."""
    wanted = Wanted(
        chain_id=settings.ledger_chain_id,
        is_demo=settings.profile == "demo",
        cap_wei=int(settings.ledger_max_fee_gwei * GWEI),
    )
    if is_embedded:  # its own chain number, and final at once
        wanted = Wanted(chain_id=None, is_demo=True, cap_wei=wanted.cap_wei)
        return Terms(wanted, confirmations=0)
    stuck_after = timedelta(seconds=settings.ledger_stuck_s)
    return Terms(wanted, confirmations=settings.ledger_confirmations, stuck_after=stuck_after)


def signer_of(settings: Settings) -> Signer:
    """The signer that the settings name.

    Raises:
        KeyRefused: If they name none, or it cannot be used.
    """
    if settings.ledger_keystore_file is not None:
        password = settings.ledger_keystore_password
        given = password.get_secret_value() if password else ""
        return signers.from_keystore(settings.ledger_keystore_file, given)
    if settings.ledger_key is not None:
        return signers.from_key(settings.ledger_key.get_secret_value())
    raise KeyRefused("Set TASCO_LEDGER_KEYSTORE_FILE, or TASCO_LEDGER_KEY.")


def receipt_key(parts: Parts) -> Ed25519PrivateKey:
    """The service's key, which signs receipts and checkpoints.

    Raises:
        IssuerKeyMissing: If production has no usable key.
    """
    private = service_issuer(parts).key.private
    if not isinstance(private, Ed25519PrivateKey):
        raise IssuerKeyMissing
    return private


def batch_closing(settings: Settings) -> Closing:
    """When batches close."""
    usual_s = DEMO_AGE_S if settings.profile == "demo" else AGE_S
    age_s = usual_s if settings.anchor_batch_age_s is None else settings.anchor_batch_age_s
    return Closing(settings.anchor_batch_size, timedelta(seconds=age_s))


def block_closing(settings: Settings) -> Closing:
    """When blocks of the charge ledger are sealed."""
    usual_s = DEMO_BLOCK_S if settings.profile == "demo" else BLOCK_S
    age_s = usual_s if settings.ledger_block_s is None else settings.ledger_block_s
    return Closing(settings.anchor_batch_size, timedelta(seconds=age_s))
