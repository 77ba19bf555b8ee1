"""Models of trees as files by hash: the trees, the same for LightGBM, and what came of the run."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactAltered, ArtifactFiles
from backend.adapters.events.outbox import record
from backend.features.federated.storing import WeightsAltered
from backend.features.federated.trees_schemas import TreesRunResult, TreeTarget
from backend.features.forecasts.models import ModelVersion
from backend.features.forecasts.vehicles_models import BETTER_THAN, MODEL_FILE, TOGETHER
from backend.federation.tree_models import TreeModel, as_trees, model_text, text_of
from backend.federation.tree_tasks import TreeSettings
from backend.forecasting.vehicle_training import AVAILABILITY, ENERGY_TO_FULL
from backend.problems import NotFound

OWN_KINDS: Mapping[TreeTarget, str] = {
    "energy_to_full": ENERGY_TO_FULL,
    "plug_availability": AVAILABILITY,
}
KINDS = {target: TOGETHER[kind] for target, kind in OWN_KINDS.items()}
TREES_FILE, LIGHTGBM_FILE, RESULT_FILE = "trees.json", MODEL_FILE, "result.json"
REASONS = {
    True: "it does better than what participants learn alone",
    False: "it does no better than what participants learn alone",
}


class TreesRunNotFound(NotFound):
    """There is no such run."""


def lightgbm_text(model: TreeModel, settings: TreeSettings) -> str:
    """The whole model as LightGBM reads it; of energy to full, what is added to the guess."""
    return text_of(as_trees(model), settings)


def write_files(
    artifacts: ArtifactFiles,
    model: TreeModel,
    settings: TreeSettings,
    *,
    result: TreesRunResult,
    features: tuple[str, ...],
) -> str:
    """Write the files before the row that tells of them; gives the hash of all."""
    said = result.model_dump(mode="json", exclude={"artefact_sha256"})
    files = {
        TREES_FILE: model_text(model, settings),
        LIGHTGBM_FILE: lightgbm_text(model, settings),
        RESULT_FILE: json.dumps(said, sort_keys=True),
    }
    manifest = {
        "id": result.model_id,
        "kind": KINDS[result.target],
        "features": list(features),
        "content_hash": result.model_sha256,
    }
    return artifacts.write(result.model_id, files, manifest)


def register(
    db: Session,
    result: TreesRunResult,
    *,
    features: tuple[str, ...],
    terms: Mapping[str, Any],
    is_better: bool,
    better_than: str | None,
    now: datetime,
) -> None:
    """Enter the model beside all others; the newest that beats its participants alone is named.

    It serves instead of the model `better_than`, if that is the service's own champion then.
    """
    kind = KINDS[result.target]
    status: Literal["champion", "challenger"] = "champion" if is_better else "challenger"
    if is_better:
        former = ModelVersion.kind == kind, ModelVersion.status == "champion"
        db.execute(update(ModelVersion).where(*former).values(status="retired", retired_at=now))
    db.add(
        ModelVersion(
            id=result.model_id,
            kind=kind,
            status=status,
            sha256=result.artefact_sha256,
            path=result.model_id,
            metrics={**result.over_all.model_dump(mode="json"), "terms": dict(terms)},
            trained_at=now,
            content_hash=result.model_sha256,
            feature_schema_hash=hashlib.sha256("\0".join(features).encode()).hexdigest(),
            decision={"reason": REASONS[is_better], BETTER_THAN: better_than},
        )
    )
    facts = {
        "model_id": result.model_id,
        "sha256": result.artefact_sha256,
        "content_hash": result.model_sha256,
        "status": status,
        "kind": kind,
    }
    record(db, "model.registered", facts, now=now)


def require_result(db: Session, run_id: str, *, artifacts: ArtifactFiles) -> TreesRunResult:
    """What came of a run, as the files of its model say.

    Raises:
        TreesRunNotFound: If there is none.
        WeightsAltered: If the files are not what was registered.
    """
    version, files = _require(db, run_id, artifacts)
    said = json.loads(files[RESULT_FILE])
    return TreesRunResult.model_validate({**said, "artefact_sha256": version.sha256})


def require_model(db: Session, run_id: str, *, artifacts: ArtifactFiles) -> tuple[str, str]:
    """The model of a run as LightGBM reads it, and the hash of its content; fails as the result."""
    version, files = _require(db, run_id, artifacts)
    return files[LIGHTGBM_FILE], version.content_hash or ""


def _require(
    db: Session, run_id: str, artifacts: ArtifactFiles
) -> tuple[ModelVersion, dict[str, str]]:
    version = db.get(ModelVersion, run_id)
    if version is None or version.kind not in KINDS.values():
        raise TreesRunNotFound
    try:
        return version, artifacts.read(version.path, sha256=version.sha256)
    except (FileNotFoundError, ArtifactAltered) as error:
        raise WeightsAltered(f"The files of {run_id} are not what was registered.") from error
