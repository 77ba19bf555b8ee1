"""Status lists for the chain: whatever bits changed since it was last told becomes notices.

The database decides what is revoked; the chain shows that it was said. What is told is found by
comparing, not by listening: a change that no event brought is told as well.
"""

import hashlib
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from backend.adapters.ledger.contracts import STATUS
from backend.database import Database, new_id
from backend.features.anchors.batching import alone
from backend.features.anchors.models import ChainNotice
from backend.features.credentials.bitstrings import SIZE, bits_with
from backend.features.credentials.issuing_models import StatusList
from backend.features.credentials.status_lists import positions_set

log = structlog.get_logger("tasco.anchors")
AT_ONCE = 100  # credentials in one transaction: strangers to each other cost 25,000 gas each
REVOKE, PUBLISH = "revoke", "publish"


def tell_changes(database: Database, age: timedelta, *, now: datetime) -> int:
    """Write down what the chain has to be told of every list that changed; gives of how many.

    Args:
        database: The database.
        age: How long changes of a list are gathered, so that they share transactions.
        now: The present.
    """
    with database.reading() as db:
        if not _changed(db, age, now):
            return 0
    with database.transaction() as db:
        alone(db)
        changed = _changed(db, age, now)
        for one in changed:
            _tell(db, one, now)
    return len(changed)


def _changed(db: Session, age: timedelta, now: datetime) -> list[StatusList]:
    is_told = exists().where(
        ChainNotice.name == StatusList.id, ChainNotice.version >= StatusList.version
    )
    query = select(StatusList).where(StatusList.version > 0, ~is_told).order_by(StatusList.id)
    return [one for one in db.scalars(query) if _is_due(db, one, age, now)]


def _is_due(db: Session, one: StatusList, age: timedelta, now: datetime) -> bool:
    last_at = db.scalar(select(func.max(ChainNotice.created_at)).where(ChainNotice.name == one.id))
    # A demonstration's clock may have been set back since.
    return last_at is None or not now - age < last_at <= now


def _tell(db: Session, one: StatusList, now: datetime) -> None:
    told = _told(db, one)
    held = {index_of(one, position) for position in positions_set(db, one.id)}
    if one.purpose == "revocation":
        changes = {REVOKE: held - told}  # for ever: what is not held any more stays told
    else:
        changes = {"suspend": held - told, "reinstate": told - held}
    for action, indices in changes.items():
        for chunk in _chunks(indices):
            _add(db, one, action, {"indices": chunk}, now)
    _publish(db, one, now)
    counts = {action: len(indices) for action, indices in changes.items()}
    log.info("anchors.status_told", list_id=one.id, version=one.version, **counts)


def _told(db: Session, one: StatusList) -> set[int]:
    """The bits that the chain was told are set."""
    query = select(ChainNotice.action, ChainNotice.facts).where(ChainNotice.name == one.id)
    told: set[int] = set()
    for action, facts in db.execute(query.order_by(ChainNotice.version, ChainNotice.id)):
        if action == "reinstate":
            told -= set(facts["indices"])
        elif action != PUBLISH:
            told |= set(facts["indices"])
    return told


def _chunks(indices: Collection[int]) -> Iterator[list[int]]:
    """In ascending order: neighbours share a word of the chain's storage."""
    ordered = sorted(indices)
    for first in range(0, len(ordered), AT_ONCE):
        yield ordered[first : first + AT_ONCE]


def _publish(db: Session, one: StatusList, now: datetime) -> None:
    """The list's root, unless it is the one that was published last."""
    root = root_of(positions_set(db, one.id)).hex()
    query = select(ChainNotice).where(ChainNotice.name == one.id, ChainNotice.action == PUBLISH)
    last = db.scalar(query.order_by(ChainNotice.part.desc()).limit(1))
    if last is not None and last.facts["root"] == root:
        last.version = one.version
    else:
        _add(db, one, PUBLISH, {"root": root}, now)


def _add(
    db: Session, one: StatusList, action: str, facts: dict[str, object], now: datetime
) -> None:
    of_it = (ChainNotice.name == one.id, ChainNotice.action == action)
    notice = ChainNotice(
        id=new_id("ntc"),
        contract=STATUS,
        action=action,
        name=one.id,
        part=db.scalar(select(func.count()).where(*of_it)),
        version=one.version,
        facts=facts,
        created_at=now,
    )
    db.add(notice)
    db.flush()


def index_of(one: StatusList, position: int) -> int:
    """A bit's index among all of the issuer: lists follow each other."""
    return (one.number - 1) * SIZE + position


def root_of(positions: Collection[int]) -> bytes:
    """What is published of a list: the SHA-256 of its bits as the signed list has them."""
    return hashlib.sha256(bits_with(positions)).digest()
