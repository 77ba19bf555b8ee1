"""Drivers: register by DID."""

from datetime import datetime

from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.credentials.models import Driver


def register_driver(db: Session, did: str, *, now: datetime) -> bool:
    """Register a driver unless they are known; True if they were new."""
    return insert_missing(db, Driver, {"did": did, "registered_at": now}) == 1
