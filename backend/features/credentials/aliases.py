"""Aliases: the audit trail names people by them, so that it can forget who they were.

The hash chain covers what a row says, and what it says cannot be changed. A row therefore holds an
alias drawn at random; which DID it stands for is in a table of its own, and erasing a person
deletes that one row.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import insert_missing, new_id
from backend.features.credentials.models import Alias

# Chargers belong to nobody in particular, and their DIDs are on the wall.
NAMED_OPENLY = "did:denso:charger:"


def alias_of(db: Session, did: str) -> str:
    """What a DID is called in the trail; drawn when it is first asked for."""
    known = select(Alias.alias).where(Alias.did == did)
    found = db.scalar(known)
    if found is None:
        insert_missing(db, Alias, {"did": did, "alias": new_id("als")})
        found = db.scalar(known)
    return found or ""


def who_is(db: Session, alias: str) -> str | None:
    """The DID that an alias stands for; None if it was erased or never was."""
    return db.scalar(select(Alias.did).where(Alias.alias == alias))


def without_names(db: Session, value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value of JSON with an alias in the place of every DID but chargers'."""
    if isinstance(value, str):
        is_name = value.startswith("did:") and not value.startswith(NAMED_OPENLY)
        return alias_of(db, value) if is_name else value
    if isinstance(value, dict):
        return {key: without_names(db, one) for key, one in value.items()}
    return [without_names(db, one) for one in value] if isinstance(value, list | tuple) else value
