"""Status of issued credentials: one bit each for revocation and for suspension.

The bit in the database decides, for our own verification at once and on every worker; the signed
lists are made from it for others.
"""

import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from http import HTTPStatus
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from backend.adapters.verifier.interface import Reason
from backend.adapters.verifier.interface import StatusEntry as Where
from backend.database import insert_missing
from backend.features.credentials.bitstrings import SIZE
from backend.features.credentials.issuing_models import StatusEntry, StatusList
from backend.problems import NotFound, Problem

PURPOSES = ("revocation", "suspension")
FULL_AT = SIZE * 8 // 10  # beyond, finding a free index at random takes ever more draws
DRAWS = 200  # at four fifths full, all of them miss once in 10^19 times
_SAYS = {"revocation": Reason.REVOKED, "suspension": Reason.SUSPENDED}


class StatusListNotFound(NotFound):
    """There is no such status list."""


class StatusListCrowded(Problem):
    """No free index was found in the status list."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 1
    fix = "Send the same request again."


def assign(
    db: Session,
    credential_id: str,
    *,
    purpose: str,
    public_url: str,
    now: datetime,
    draw: Callable[[int], int] = secrets.randbelow,
) -> Where:
    """Give a credential a random index that no other ever had or will have.

    Args:
        db: The transaction that stores the credential.
        credential_id: Whose bit it becomes.
        purpose: `revocation` or `suspension`.
        public_url: Where this service is reached; a new list is published below it.
        now: The present.
        draw: Gives a number below its argument.

    Raises:
        StatusListCrowded: If every draw hits an index that is taken.
    """
    many = assign_many(
        db, [credential_id], purpose=purpose, public_url=public_url, now=now, draw=draw
    )
    return many[credential_id]


def assign_many(
    db: Session,
    credential_ids: Collection[str],
    *,
    purpose: str,
    public_url: str,
    now: datetime,
    draw: Callable[[int], int] = secrets.randbelow,
) -> dict[str, Where]:
    """As `assign`, for new credentials of one transaction, in one list.

    Raises:
        StatusListCrowded: If every draw hits an index that is taken.
    """
    into = _open_list(
        db, places=len(credential_ids), purpose=purpose, public_url=public_url, now=now
    )
    mine = (StatusEntry.list_id == into.id, StatusEntry.credential_id.in_(credential_ids))
    given: dict[str, int] = {}
    for _ in range(DRAWS):
        rows = [
            {"list_id": into.id, "position": draw(SIZE), "credential_id": one, "is_set": False}
            for one in credential_ids
            if one not in given
        ]
        insert_missing(db, StatusEntry, rows)
        found = db.execute(select(StatusEntry.credential_id, StatusEntry.position).where(*mine))
        given = {one.credential_id: one.position for one in found}
        if len(given) == len(credential_ids):
            return {one: Where(into.url, given[one], purpose) for one in given}
    raise StatusListCrowded


def _open_list(
    db: Session, *, places: int, purpose: str, public_url: str, now: datetime
) -> StatusList:
    """The newest list of a purpose with places taken in it; a new one if it is full."""
    newest = select(StatusList).where(StatusList.purpose == purpose)
    newest = newest.order_by(StatusList.number.desc()).limit(1)
    found = db.scalar(newest)
    while found is None or not _took_places(db, found, places):
        number = found.number + 1 if found else 1
        list_id = f"{purpose}-{number}"
        row = {
            "id": list_id,
            "url": f"{public_url}/api/v1/credentials/status/{list_id}",
            "purpose": purpose,
            "number": number,
            "assigned": 0,
            "version": 0,
            "changed_at": now,
        }
        insert_missing(db, StatusList, row)  # another process may have opened it just now
        found = db.scalar(newest)
    return found


def _took_places(db: Session, into: StatusList, places: int) -> bool:
    taken = (
        update(StatusList)
        .where(StatusList.id == into.id, StatusList.assigned < FULL_AT)
        .values(assigned=StatusList.assigned + places)
        .returning(StatusList.id)
        .execution_options(synchronize_session=False)
    )
    return db.scalar(taken) is not None


def revoke_all(db: Session, credential_ids: Select[Any], *, now: datetime) -> None:
    """Set the revocation bit of every credential that a query gives."""
    lists = select(StatusList.id).where(StatusList.purpose == "revocation")
    unbound = {"synchronize_session": False}
    db.execute(
        update(StatusEntry)
        .where(StatusEntry.credential_id.in_(credential_ids), StatusEntry.list_id.in_(lists))
        .values(is_set=True),
        execution_options=unbound,
    )
    db.execute(
        update(StatusList)
        .where(StatusList.purpose == "revocation")
        .values(version=StatusList.version + 1, changed_at=now),
        execution_options=unbound,
    )


def set_bit(db: Session, credential_id: str, *, purpose: str, value: bool, now: datetime) -> None:
    """Set or clear a credential's bit; in force everywhere with the commit."""
    entry = (
        update(StatusEntry)
        .where(StatusEntry.credential_id == credential_id)
        .where(StatusEntry.list_id.in_(select(StatusList.id).where(StatusList.purpose == purpose)))
        .values(is_set=value)
        .returning(StatusEntry.list_id)
        .execution_options(synchronize_session=False)
    )
    changed = db.scalars(entry).all()
    db.execute(
        update(StatusList)
        .where(StatusList.id.in_(changed))
        .values(version=StatusList.version + 1, changed_at=now)
        .execution_options(synchronize_session=False)
    )


def status_of(db: Session, entry: Where) -> Reason | None:
    """What the bit says: None if it is clear.

    STATUS_UNKNOWN for a list that is not ours, for another purpose than the list's, and for an
    index that was never given away.
    """
    found = db.execute(
        select(StatusEntry.is_set, StatusList.purpose)
        .join(StatusList, StatusList.id == StatusEntry.list_id)
        .where(StatusList.url == entry.list_url, StatusEntry.position == entry.index)
    ).first()
    if found is None or found.purpose != entry.purpose:
        return Reason.STATUS_UNKNOWN
    return _SAYS[found.purpose] if found.is_set else None


def require_list(db: Session, list_id: str) -> StatusList:
    """The list.

    Raises:
        StatusListNotFound: If there is none.
    """
    found = db.get(StatusList, list_id)
    if found is None:
        raise StatusListNotFound
    return found


def positions_set(db: Session, list_id: str) -> list[int]:
    """The positions of all bits that are set."""
    is_set = (StatusEntry.list_id == list_id, StatusEntry.is_set)
    return list(db.scalars(select(StatusEntry.position).where(*is_set)))


def places_of(db: Session, credential_ids: Collection[str]) -> dict[str, list[Where]]:
    """Where the bits of each credential stand, by purpose."""
    found = db.execute(
        select(StatusEntry.credential_id, StatusList.url, StatusEntry.position, StatusList.purpose)
        .join(StatusList, StatusList.id == StatusEntry.list_id)
        .where(StatusEntry.credential_id.in_(credential_ids))
        .order_by(StatusList.purpose, StatusEntry.list_id)
    )
    places: dict[str, list[Where]] = {}
    for credential_id, url, index, purpose in found:
        entry = Where(list_url=url, index=index, purpose=purpose)
        places.setdefault(credential_id, []).append(entry)
    return places
