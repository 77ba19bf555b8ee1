"""Accepted models: registered with their hashes, given out only if these still hold."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.outbox import record
from backend.features.federated import queries, storing
from backend.features.federated.models import FederatedExperiment
from backend.features.federated.problems import ExperimentNotFound
from backend.features.federated.terms import Terms
from backend.features.forecasts.models import ModelVersion
from backend.features.forecasts.queries import champion
from backend.federation.demand import FEATURES
from backend.federation.weights import Weights, content_hash, to_npz
from backend.problems import NotFound, Problem

KIND = "federated_demand"
UNREGISTERED = "unregistered"
REASONS = {
    True: "it explains more than usual days do",
    False: "it does not explain more than usual days do",
    None: "nobody has said how it does on a holdout",
}
NPZ_FILE, ONNX_FILE = "weights.npz.base64", "model.onnx.base64"


class FederatedModelNotFound(NotFound):
    """No experiment ended with a model of this hash."""


class NoModelYet(Problem):
    """No experiment has come to a model yet."""

    status = HTTPStatus.CONFLICT
    retry_after_s = 5
    fix = "POST /federated/rounds and wait for its job."


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model as it is given out.

    Attributes:
        sha256: Content hash of the weights, which was registered.
        etag: SHA-256 of these very bytes.
        status: Its place in the registry; `unregistered` while its experiment is under way, and
            after one that failed.
    """

    data: bytes
    sha256: str
    etag: str
    experiment_id: str
    family: str
    status: str


def artefact(
    db: Session, *, experiment_id: str | None = None, sha256: str | None = None, form: str
) -> Artefact:
    """The model in service, an experiment's, or the one of a content hash.

    While none is in service, it is the newest challenger.

    Raises:
        ExperimentNotFound: If there is no such experiment.
        FederatedModelNotFound: If nothing has this hash.
        NoModelYet: If there is no model.
        WeightsAltered: If the stored weights are not the registered ones.
    """
    found = _asked_for(db, experiment_id, sha256)
    if found is None or found.model_sha256 is None:
        raise NoModelYet
    terms = Terms.of(found)
    weights = storing.get(db, found.model_sha256, terms.shapes)
    data = to_npz(weights) if form == "npz" else to_onnx(terms.family, weights)
    digest = hashlib.sha256(data).hexdigest()
    status = _status_of(db, found)
    return Artefact(data, found.model_sha256, digest, found.id, terms.family, status)


def _asked_for(
    db: Session, experiment_id: str | None, sha256: str | None
) -> FederatedExperiment | None:
    if experiment_id is not None:
        found = db.get(FederatedExperiment, experiment_id)
        if found is None:
            raise ExperimentNotFound
    elif sha256 is not None:
        found = queries.newest_model(db, sha256=sha256)
    else:
        return _in_service(db) or queries.newest_model(db)
    if sha256 is not None and (found is None or found.model_sha256 != sha256):
        raise FederatedModelNotFound
    return found


def _in_service(db: Session) -> FederatedExperiment | None:
    """The experiment whose model is the champion."""
    served = champion(db, KIND)
    if served is None:
        return None
    query = select(FederatedExperiment).where(FederatedExperiment.model_id == served.id)
    return db.scalar(query.limit(1))


def _status_of(db: Session, experiment: FederatedExperiment) -> str:
    version = db.get(ModelVersion, experiment.model_id) if experiment.model_id else None
    return UNREGISTERED if version is None else version.status


def to_onnx(family: str, weights: Weights) -> bytes:
    """The model for the edge: equal weights give equal bytes."""
    from backend.federation.onnx_export import to_onnx as export  # noqa: PLC0415 - slow to load

    return export(family, weights)


def files_of(family: str, weights: Weights) -> dict[str, str]:
    """The registered files of a model; artifacts are texts."""
    contents = {NPZ_FILE: to_npz(weights), ONNX_FILE: to_onnx(family, weights)}
    return {name: base64.b64encode(data).decode() for name, data in contents.items()}


def write_files(
    artifacts: ArtifactFiles,
    model_id: str,
    *,
    terms: Terms,
    weights: Weights,
    metrics: Mapping[str, Any],
) -> str:
    """Write the files before the row that tells of them; gives the hash of all."""
    manifest = {
        "id": model_id,
        "kind": KIND,
        "family": terms.family,
        "features": list(FEATURES),
        "seed": terms.seed,
        "content_hash": content_hash(weights),
        "metrics": dict(metrics),
    }
    return artifacts.write(model_id, files_of(terms.family, weights), manifest)


def register(
    db: Session,
    model_id: str,
    sha256: str,
    *,
    content_hash: str,
    metrics: Mapping[str, Any],
    is_better: bool | None,
    now: datetime,
) -> None:
    """Enter the model beside all others; it serves if it beats what sites know without it.

    `is_better` is what the median participant says, None if nobody was asked.
    """
    status = "champion" if is_better else "challenger"
    if is_better:
        former = update(ModelVersion).where(
            ModelVersion.kind == KIND, ModelVersion.status == "champion"
        )
        db.execute(former.values(status="retired", retired_at=now))
    db.add(
        ModelVersion(
            id=model_id,
            kind=KIND,
            status=status,
            sha256=sha256,
            path=model_id,
            metrics=dict(metrics),
            trained_at=now,
            content_hash=content_hash,
            decision={"reason": REASONS[is_better]},
        )
    )
    facts = {"model_id": model_id, "sha256": sha256, "content_hash": content_hash}
    record(db, "model.registered", facts | {"status": status}, now=now)
