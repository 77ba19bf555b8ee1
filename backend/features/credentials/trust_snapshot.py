"""The trust registry in one document: the same state gives the same bytes, hash and signature."""

import hashlib
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.credentials.epochs import TRUST
from backend.features.credentials.issuing_models import Accreditation, RegistryEpoch


def current_epoch(db: Session) -> int:
    """How often the trust registry was changed."""
    query = select(RegistryEpoch.epoch).where(RegistryEpoch.name == TRUST)
    return db.scalar(query) or 0


def announce(db: Session, *, now: datetime) -> None:
    """Tell of a change, with the hash of the registry as it now is, for the chain."""
    digest = hashlib.sha256(snapshot(db)).hexdigest()
    facts = {"epoch": current_epoch(db), "snapshot_sha256": digest}
    record(db, "issuers.changed", facts, now=now)


def snapshot(db: Session) -> bytes:
    """The whole registry as canonical JSON (RFC 8785): the same state gives the same bytes."""
    rows = db.scalars(select(Accreditation).order_by(Accreditation.id))
    shown: Any = [_in_snapshot(row) for row in rows]
    return rfc8785.dumps({"epoch": current_epoch(db), "accreditations": shown})


def _in_snapshot(row: Accreditation) -> dict[str, Any]:
    return {
        "id": row.id,
        "issuer": row.issuer_did,
        "credentialTypes": row.credential_types,
        "sites": row.sites,
        "fleets": row.fleets,
        "wmis": row.wmis,
        "mayAccredit": row.may_accredit,
        "accreditedBy": row.accredited_by,
        "parent": row.parent_id,
        "credentialHash": row.credential_hash,
        "validFrom": _time(row.valid_from),
        "validUntil": _time(row.valid_until),
        "revokedAt": _time(row.revoked_at) if row.revoked_at else None,
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
