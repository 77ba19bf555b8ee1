"""Weights in the database by the hash of their content, checked whenever they are read."""

from datetime import datetime
from http import HTTPStatus

from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.federated.models import FederatedWeights
from backend.federation.weights import (
    Shapes,
    Weights,
    WeightsRefused,
    content_hash,
    from_npz,
    to_npz,
)
from backend.problems import Problem


class WeightsAltered(Problem):
    """Stored weights are not the ones whose hash they are under."""

    status = HTTPStatus.CONFLICT
    fix = "Train again: this version is not to be trusted."


def put(db: Session, weights: Weights, *, now: datetime) -> tuple[str, int]:
    """Store weights once; gives their hash and their size in bytes."""
    digest, data = content_hash(weights), to_npz(weights)
    insert_missing(db, FederatedWeights, {"sha256": digest, "data": data, "created_at": now})
    return digest, len(data)


def get(db: Session, sha256: str, shapes: Shapes) -> Weights:
    """The weights under a hash.

    Raises:
        WeightsAltered: If they are not there, or not the ones the hash is of.
    """
    return checked(raw(db, sha256), sha256, shapes)


def raw(db: Session, sha256: str) -> bytes:
    """The stored npz, as it is.

    Raises:
        WeightsAltered: If it is not there.
    """
    row = db.get(FederatedWeights, sha256)
    if row is None:
        raise WeightsAltered(f"There are no weights {sha256[:12]}….")
    return bytes(row.data)


def checked(data: bytes, sha256: str, shapes: Shapes) -> Weights:
    """An npz as weights whose hash was looked at.

    Raises:
        WeightsAltered: If it is another.
    """
    try:
        weights = from_npz(data, shapes)
    except WeightsRefused as refused:
        raise WeightsAltered(str(refused)) from refused
    if content_hash(weights) != sha256:
        raise WeightsAltered
    return weights
