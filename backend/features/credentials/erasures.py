"""DIDs that were erased, remembered by a hash alone."""

import hashlib
from datetime import datetime

from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.credentials.models import Erasure


def remember(db: Session, did: str, *, now: datetime) -> None:
    """Note that a DID was erased."""
    insert_missing(db, Erasure, {"did_hash": hash_of(did), "erased_at": now})


def was_erased(db: Session, did: str) -> bool:
    """Whether a DID was erased here: its name is not given to anybody else."""
    return db.get(Erasure, hash_of(did)) is not None


def hash_of(did: str) -> str:
    """What an erased DID is remembered by, SHA-256 in hexadecimal."""
    return hashlib.sha256(did.encode()).hexdigest()
