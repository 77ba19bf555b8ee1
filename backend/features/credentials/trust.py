"""The trust registry in the database: accredit, revoke, list, and a signed copy of it all.

Each accreditation below a root is a credential that the link above it signed; roots are the
administrator's word. A change counts the registry's epoch up in the same transaction, so every
process reads it anew before its next verdict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from sqlalchemy import String, column, select, table, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.adapters.verifier.gate import read_credential
from backend.adapters.verifier.interface import Reason, Verdict
from backend.adapters.verifier.refusals import Refused
from backend.database import insert_missing, new_id
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import TRUST, end_what_rests_on
from backend.features.credentials.holder import Holder
from backend.features.credentials.issuing_models import Accreditation, RegistryEpoch
from backend.features.credentials.status_lists import status_of
from backend.features.credentials.trust_book import (
    CHARGER_SPEC,
    Book,
    Link,
    Scope,
    accredited_scope,
)
from backend.features.credentials.trust_snapshot import announce, current_epoch
from backend.problems import NotFound, Problem

KEPT = "trust_book"
Document = str | dict[str, Any]
# The table of a room above this one: read by name, so that this room does not import it.
_CHARGERS = table("chargers", column("did", String), column("site_id", String))


class AccreditationNotFound(NotFound):
    """There is no such accreditation for this caller."""


class AccreditationKnown(Problem):
    """This accreditation is in the registry already."""

    status = HTTPStatus.CONFLICT
    fix = "Read it with GET /issuers."


class AccreditationRefused(Problem):
    """The accreditation does not hold."""

    status = HTTPStatus.CONFLICT
    fix = "Have it signed by an issuer whose own accreditation covers it, at most two below a root."


class ValidityImpossible(Problem):
    """The validity ends before it begins, or has ended."""

    status = HTTPStatus.CONFLICT
    fix = "Choose an end that lies ahead and after the beginning."


@dataclass(frozen=True, slots=True)
class NewAccreditation:
    """What an accreditation says."""

    issuer_did: str
    credential_types: frozenset[str]
    scope: Scope
    may_accredit: bool
    valid_from: datetime
    valid_until: datetime


def book_of(db: Session, kept: dict[str, Any]) -> Book:
    """The registry as this transaction sees it; read anew only after a change.

    Args:
        db: Where to read.
        kept: Where a process keeps its copy.
    """
    epoch = current_epoch(db)
    book: Book | None = kept.get(KEPT)
    if book is None or book.epoch != epoch:
        book = Book(map(_link, db.scalars(select(Accreditation))), epoch=epoch)
        kept[KEPT] = book
    return book


def _link(row: Accreditation) -> Link:
    return Link(
        id=row.id,
        issuer_did=row.issuer_did,
        credential_types=frozenset(row.credential_types),
        scope=Scope.limited_to(row.sites, row.fleets, row.wmis),
        may_accredit=row.may_accredit,
        parent_id=row.parent_id,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        is_revoked=row.revoked_at is not None,
    )


def accredits(
    db: Session,
    kept: dict[str, Any],
    issuer: str,
    credential_type: str,
    claims: Mapping[str, Any],
    *,
    subject: str,
    issued_at: datetime,
    at: datetime,
) -> Reason | None:
    """None if the issuer was accredited for this type, subject and claims, and still is.

    The specification of a charger that is registered here names the site it is registered at.
    """
    if credential_type == CHARGER_SPEC and not _stands_at(db, subject, str(claims["site"])):
        return Reason.OUTSIDE_ACCREDITATION
    times = (issued_at, at)
    return book_of(db, kept).accredits(
        issuer, credential_type, claims, subject=subject, times=times
    )


def _stands_at(db: Session, charger_did: str, site_id: str) -> bool:
    registered = db.scalar(select(_CHARGERS.c.site_id).where(_CHARGERS.c.did == charger_did))
    return registered is None or registered == site_id


def add_root(db: Session, new: NewAccreditation, *, by: str, now: datetime) -> Accreditation:
    """Trust an issuer on the administrator's word.

    Raises:
        ValidityImpossible: If it would never hold.
    """
    if not max(now, new.valid_from) < new.valid_until:
        raise ValidityImpossible
    begin_change(db)
    return _add(db, new, parent=None, accredited_by=by, by=by, now=now)


def add_accredited(
    db: Session, verdict: Verdict, document: Document, *, by: str, now: datetime
) -> Accreditation:
    """Trust an issuer whom another accredited by a credential that was verified.

    Registry and status are read again in this transaction: the credential, or what it rests on,
    may have been revoked since it was verified.

    Raises:
        AccreditationRefused: If the signer may not accredit this; the detail names the reason.
        AccreditationKnown: If the same credential was handed in before.
    """
    if not verdict.verified:
        raise AccreditationRefused("; ".join(verdict.reasons))
    claims = verdict.claims
    begin_change(db)
    _require_new(db, verdict)
    issued_at = verdict.valid_from or now
    book = Book(map(_link, db.scalars(select(Accreditation))), epoch=0)
    parent = book.link_for(verdict.issuer or "", claims, times=(issued_at, now))
    if isinstance(parent, Reason):
        raise AccreditationRefused(f"The signer may not accredit this: {parent}.")
    new = NewAccreditation(
        issuer_did=verdict.subject or "",
        credential_types=frozenset(claims["credentialTypes"]),
        scope=accredited_scope(claims),
        may_accredit=bool(claims["mayAccredit"]),
        valid_from=issued_at,
        valid_until=verdict.valid_until or parent.valid_until,
    )
    chain = book.chain(parent) or ()
    if any(new.issuer_did == one.issuer_did for one in chain):
        raise AccreditationRefused("The chain would lead back to an issuer that is in it.")
    text = document if isinstance(document, str) else json.dumps(document)
    return _add(
        db,
        new,
        parent=parent,
        accredited_by=parent.issuer_did,
        by=by,
        now=now,
        signed=(text, verdict.credential_hash),
    )


def _require_new(db: Session, verdict: Verdict) -> None:
    """Refuse a credential that was revoked just now, or handed in before in another spelling."""
    for entry in verdict.status_entries:
        if (reason := status_of(db, entry)) is not None:
            raise AccreditationRefused(f"The credential does not hold: {reason}.")
    if _by_credential(db, verdict.credential_id or "", issuer_did=verdict.issuer or ""):
        raise AccreditationKnown


def _by_credential(db: Session, credential_id: str, *, issuer_did: str) -> list[Accreditation]:
    """The accreditations that an issuer's credential of this id stands for.

    Its hash would not do: a credential can be written in more ways than one (the place of a
    context, the other half of an ECDSA signature), and each of them verifies.
    """
    of_issuer = select(Accreditation).where(Accreditation.accredited_by == issuer_did)
    rows = db.scalars(of_issuer.where(Accreditation.credential.is_not(None)))
    return [row for row in rows if _id_in(row.credential or "") == credential_id]


def _id_in(document: str) -> str | None:
    try:
        return read_credential(document).credential_id
    except Refused:
        return None


def _add(
    db: Session,
    new: NewAccreditation,
    *,
    parent: Link | None,
    accredited_by: str,
    by: str,
    now: datetime,
    signed: tuple[str | None, str | None] = (None, None),
) -> Accreditation:
    row = Accreditation(
        id=new_id("acc"),
        issuer_did=new.issuer_did,
        credential_types=sorted(new.credential_types),
        sites=_listed(new.scope.sites),
        fleets=_listed(new.scope.fleets),
        wmis=_listed(new.scope.wmis),
        may_accredit=new.may_accredit,
        parent_id=parent.id if parent else None,
        accredited_by=accredited_by,
        credential=signed[0],
        credential_hash=signed[1],
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        created_at=now,
        revoked_at=None,
    )
    db.add(row)
    try:
        db.flush()
    except IntegrityError:
        raise AccreditationKnown from None
    facts = {"issuer": row.issuer_did, "types": row.credential_types, "hash": row.credential_hash}
    note(db, now=now, actor=by, action="issuer.accredited", object_id=row.id, facts=facts)
    announce(db, now=now)
    return row


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def begin_change(db: Session) -> int:
    """Count the registry's epoch up; changes follow one another from here to the commit."""
    insert_missing(db, RegistryEpoch, {"name": TRUST, "epoch": 0})
    counted = (
        update(RegistryEpoch)
        .where(RegistryEpoch.name == TRUST)
        .values(epoch=RegistryEpoch.epoch + 1)
        .returning(RegistryEpoch.epoch)
        .execution_options(synchronize_session=False)
    )
    return db.scalar(counted) or 0


def require(db: Session, accreditation_id: str) -> Accreditation:
    """The accreditation.

    Raises:
        AccreditationNotFound: If there is none.
    """
    row = db.get(Accreditation, accreditation_id)
    if row is None:
        raise AccreditationNotFound
    return row


def revoke(db: Session, accreditation_id: str, *, holder: Holder, now: datetime) -> Accreditation:
    """End an accreditation and with it all that rests on it, at once and on every worker.

    Raises:
        AccreditationNotFound: If there is none that the caller may revoke.
    """
    row = db.get(Accreditation, accreditation_id)
    is_theirs = row is not None and holder.did == row.accredited_by
    if row is None or not (is_theirs or "administrator" in holder.roles):
        raise AccreditationNotFound
    end(db, row, by=holder.did, now=now)
    return row


def end_by_credential(
    db: Session, credential_id: str, *, issuer_did: str, by: str, now: datetime
) -> None:
    """End what a revoked credential stands for, if it is in the registry.

    The change begins first, so that a credential that is being handed in is either in it already
    or found to be revoked.
    """
    begin_change(db)
    for row in _by_credential(db, credential_id, issuer_did=issuer_did):
        end(db, row, by=by, now=now)


def end(db: Session, row: Accreditation, *, by: str, now: datetime) -> None:
    """Mark an accreditation as revoked; nothing happens if it was before."""
    if row.revoked_at is not None:
        return
    begin_change(db)
    end_what_rests_on(db, {TRUST})
    row.revoked_at = now
    db.flush()
    facts = {"issuer": row.issuer_did, "types": row.credential_types}
    note(db, now=now, actor=by, action="issuer.revoked", object_id=row.id, facts=facts)
    announce(db, now=now)


def page(
    db: Session, *, issuer: str | None, after: str | None, limit: int
) -> Sequence[Accreditation]:
    """Up to `limit + 1` accreditations by id."""
    query = select(Accreditation).order_by(Accreditation.id).limit(limit + 1)
    if issuer is not None:
        query = query.where(Accreditation.issuer_did == issuer)
    if after is not None:
        query = query.where(Accreditation.id > after)
    return db.scalars(query).all()
