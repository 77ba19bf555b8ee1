"""What tokens and cached verdicts rest upon, and the moment any of it is taken back.

Every revocation counts one number up for the whole service and notes it beside what was revoked.
A token remembers the number from before its credentials were looked at, and everything it rests
upon; it has ended as soon as any of that carries a later number.
"""

import hashlib
from collections.abc import Collection

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.credentials.models import Epoch

ALL = "*"  # the count itself; its row also makes revocations follow one another
TRUST = "trust"  # stands for the whole trust registry


def current_epoch(db: Session) -> int:
    """How often anything was taken back so far."""
    return db.scalar(select(Epoch.epoch).where(Epoch.subject == ALL)) or 0


def end_what_rests_on(db: Session, subjects: Collection[str]) -> int:
    """Take back subjects: DIDs, credential ids or `TRUST`; gives the new count.

    Call it in the transaction of the revocation: tokens end with its commit, on every worker.
    """
    insert_missing(db, Epoch, {"subject": ALL, "epoch": 0})
    counted = update(Epoch).where(Epoch.subject == ALL).values(epoch=Epoch.epoch + 1)
    # The row stays locked until the commit, so a later number is never visible before this one.
    epoch = db.scalar(counted.returning(Epoch.epoch)) or 0
    for subject in map(_key, subjects):
        insert_missing(db, Epoch, {"subject": subject, "epoch": epoch})
        db.execute(update(Epoch).where(Epoch.subject == subject).values(epoch=epoch))
    return epoch


def ended_since(db: Session, subjects: Collection[str], *, epoch: int) -> bool:
    """Whether any of the subjects was taken back after that count."""
    keys = {*subjects, *map(_key, subjects)}  # they were kept in clear before
    latest = select(func.max(Epoch.epoch)).where(Epoch.subject.in_(keys))
    return (db.scalar(latest) or 0) > epoch


def _key(subject: str) -> str:
    """What a subject is kept under: nobody is named by what was taken from them."""
    return subject if subject == TRUST else hashlib.sha256(subject.encode()).hexdigest()
