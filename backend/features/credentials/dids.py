"""`did:denso` identities: which did:key controls each, from when to when.

A DID never changes hands by itself: its first key shows itself with a presentation and is let in
by an operator; the next key is let in by the one before it, or by two operators.
"""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import resolve_offline
from backend.adapters.verifier.interface import VerificationMethod
from backend.database import insert_missing, new_id
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import end_what_rests_on
from backend.features.credentials.erasures import was_erased
from backend.features.credentials.models import DidVersion
from backend.problems import NotFound, Problem

PREFIX = "did:denso:"


class DidTaken(Problem):
    """This DID is registered."""

    status = HTTPStatus.CONFLICT
    fix = "Rotate its key instead, or choose another DID."


class DidDeactivated(Problem):
    """This DID was deactivated and stays so."""

    status = HTTPStatus.CONFLICT
    fix = "Register another DID."


class KeyUnchanged(Problem):
    """The new key is the one the DID has."""

    status = HTTPStatus.CONFLICT
    fix = "Make a new key and present it."


def versions_of(db: Session, did: str) -> Sequence[DidVersion]:
    """Every key that a DID ever had, oldest first."""
    query = select(DidVersion).where(DidVersion.did == did)
    return db.scalars(query.order_by(DidVersion.version)).all()


def newest_version(db: Session, did: str) -> DidVersion:
    """The newest key of a registered DID, which may have ended.

    Raises:
        NotFound: If the DID is not registered.
    """
    versions = versions_of(db, did)
    if not versions:
        raise NotFound
    return versions[-1]


def is_good(version: DidVersion, *, at: datetime) -> bool:
    """Whether what was made with this key at that time counts."""
    has_begun = version.valid_from <= at
    has_ended = version.valid_to is not None and version.valid_to <= at
    was_stolen = version.revoked_at is not None and version.revoked_at <= at
    return has_begun and not has_ended and not was_stolen


def method_of(version: DidVersion) -> VerificationMethod:
    """The key as a verification method of its DID."""
    (key,) = resolve_offline(version.controller)
    return VerificationMethod(f"{version.did}#key-{version.version}", version.did, key.public_jwk)


def methods_at(db: Session, did: str, *, at: datetime) -> tuple[VerificationMethod, ...]:
    """The keys that spoke for a DID at that time; none if it was unknown or deactivated."""
    return tuple(method_of(one) for one in versions_of(db, did) if is_good(one, at=at))


def register(db: Session, did: str, *, controller: str, by: str, now: datetime) -> DidVersion:
    """Register a DID with its first key.

    Raises:
        DidTaken: If it is registered already.
    """
    if was_erased(db, did):
        raise DidTaken
    first = _version(did, 1, controller, by=by, now=now)
    if insert_missing(db, DidVersion, first) == 0:
        raise DidTaken
    end_what_rests_on(db, [did])
    note(db, now=now, actor=by, action="did.registered", object_id=did, facts={"version": 1})
    return newest_version(db, did)


def rotate(
    db: Session,
    did: str,
    *,
    controller: str,
    by: str,
    now: datetime,
    stolen_at: datetime | None = None,
    replaces: int | None = None,
) -> DidVersion:
    """Replace a DID's key from now on; what the old one made before stays good.

    With `stolen_at`, only what it made before then; with `replaces`, only that version is replaced.

    Raises:
        NotFound: If the DID is not registered.
        DidDeactivated: If it has ended.
        KeyUnchanged: If it is the same key.
        DidTaken: If another rotation came first.
    """
    last = newest_version(db, did)
    if not is_good(last, at=now):
        raise DidDeactivated
    if replaces not in {None, last.version}:
        raise DidTaken("Another rotation came first.")
    if last.controller == controller:
        raise KeyUnchanged
    following = _version(did, last.version + 1, controller, by=by, now=now)
    if insert_missing(db, DidVersion, following) == 0:
        raise DidTaken("Another rotation came first.")
    _end(db, last, stolen_at=stolen_at, now=now)
    facts = {"version": last.version + 1, "stolen": stolen_at is not None}
    note(db, now=now, actor=by, action="did.rotated", object_id=did, facts=facts)
    return newest_version(db, did)


def deactivate(
    db: Session, did: str, *, stolen_at: datetime | None, by: str, now: datetime
) -> DidVersion:
    """End a DID for good; with `stolen_at`, nothing its key made from then on counts.

    Raises:
        NotFound: If the DID is not registered.
        DidDeactivated: If it has ended already.
    """
    last = newest_version(db, did)
    if last.valid_to is not None:
        raise DidDeactivated
    _end(db, last, stolen_at=stolen_at, now=now)
    facts = {"version": last.version, "stolen": stolen_at is not None}
    note(db, now=now, actor=by, action="did.deactivated", object_id=did, facts=facts)
    return last


def _version(
    did: str, number: int, controller: str, *, by: str, now: datetime
) -> dict[str, object]:
    return {
        "id": new_id("idn"),
        "did": did,
        "version": number,
        "controller": controller,
        "valid_from": now,
        "registered_by": by,
    }


def _end(db: Session, version: DidVersion, *, stolen_at: datetime | None, now: datetime) -> None:
    """End a key and with it every token that rests upon the DID."""
    values = {"valid_to": now, "revoked_at": min(stolen_at, now) if stolen_at else None}
    db.execute(update(DidVersion).where(DidVersion.id == version.id).values(**values))
    db.refresh(version)
    end_what_rests_on(db, [version.did])
