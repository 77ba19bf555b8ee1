"""The models of vehicles in service: what this service trained, and what sites grew together."""

import hashlib
import json
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactAltered, ArtifactFiles
from backend.features.forecasts import queries
from backend.features.forecasts.models import ModelVersion
from backend.forecasting import availability_features, energy_to_full, plug_in_energy
from backend.forecasting.availability import Calibration
from backend.forecasting.vehicle_forecast import Texts
from backend.forecasting.vehicle_training import AVAILABILITY, ENERGY_TO_FULL, PLUG_IN_ENERGY

log = structlog.get_logger("tasco.forecasts")
MODEL_FILE, SCHEMA_FILE, METRICS_FILE = "model.lightgbm.txt", "schema.json", "metrics.json"
BUNDLE_FILE = "edge.bundle.b64"
FEATURES = {
    AVAILABILITY: availability_features.FEATURE_NAMES,
    ENERGY_TO_FULL: energy_to_full.FEATURE_NAMES,
    PLUG_IN_ENERGY: plug_in_energy.FEATURE_NAMES,
}
TOGETHER = {
    AVAILABILITY: "federated_availability",
    ENERGY_TO_FULL: "federated_energy_to_full",
}
"""The kinds of models that sites grow together, of the same features, by whom they stand in for."""

BETTER_THAN = "better_than"
"""In the decision on such a model: the one of this service that it did better than."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The models in service and what they were registered as."""

    texts: Texts
    availability: ModelVersion | None
    energy_to_full: ModelVersion | None
    plug_in_energy: ModelVersion | None
    plug_in_text: str | None
    fleet_median_kwh: float


def serving(db: Session, artifacts: ArtifactFiles) -> Serving:
    """The champions whose files are what was registered; others are left out and logged.

    What sites grew together serves where there is no other, or where it did better than that on
    the same rows.
    """
    plugs, plugs_files = _best(db, artifacts, AVAILABILITY)
    energy, energy_files = _best(db, artifacts, ENERGY_TO_FULL)
    texts = Texts(
        availability=plugs_files.get(MODEL_FILE),
        calibration=_calibration(plugs_files),
        energy_to_full=energy_files.get(MODEL_FILE),
    )
    version, plug_in_files = _champion(db, artifacts, PLUG_IN_ENERGY)
    said = json.loads(plug_in_files.get(SCHEMA_FILE, "{}")).get("conformal", {})
    median_kwh = float(said.get("fleet_median_kwh", "nan"))
    text = plug_in_files.get(MODEL_FILE) if "fleet_median_kwh" in said else None
    return Serving(texts, plugs, energy, version if text else None, text, median_kwh)


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A champion that this service trained."""

    id: str
    text: str
    calibration: Calibration


def own_model(db: Session, artifacts: ArtifactFiles, kind: str) -> OwnModel | None:
    """This service's own champion of a kind, if there is one."""
    version, files = _champion(db, artifacts, kind)
    if version is None:
        return None
    return OwnModel(version.id, files[MODEL_FILE], _calibration(files))


def _calibration(files: dict[str, str]) -> Calibration:
    schema = json.loads(files.get(SCHEMA_FILE, "{}"))
    return Calibration(**schema.get("conformal", {}).get("calibration", {}))


def _best(
    db: Session, artifacts: ArtifactFiles, kind: str
) -> tuple[ModelVersion | None, dict[str, str]]:
    """This service's own champion, or the one that sites grew together if that is to serve."""
    own, files = _champion(db, artifacts, kind)
    together = queries.champion(db, TOGETHER[kind])
    if together is None or (own and (together.decision or {}).get(BETTER_THAN) != own.id):
        return own, files
    found = _files_of(together, artifacts)
    features = hashlib.sha256("\0".join(FEATURES[kind]).encode()).hexdigest()
    if together.feature_schema_hash != features:
        log.warning("model.unusable", model_id=together.id, reason="features differ")
        found = {}
    return (together, found) if found else (own, files)


def _files_of(version: ModelVersion, artifacts: ArtifactFiles) -> dict[str, str]:
    """The files of a version; none, and a line in the log, if they are not what was registered."""
    try:
        return artifacts.read(version.path, sha256=version.sha256)
    except (FileNotFoundError, ArtifactAltered) as error:
        log.warning("model.unusable", model_id=version.id, reason=repr(error))
        return {}


def _champion(
    db: Session, artifacts: ArtifactFiles, kind: str
) -> tuple[ModelVersion | None, dict[str, str]]:
    version = queries.champion(db, kind)
    if version is None:
        return None, {}
    files = _files_of(version, artifacts)
    if not files:
        return None, {}
    if tuple(json.loads(files[SCHEMA_FILE])["features"]) != FEATURES[kind]:
        log.warning("model.unusable", model_id=version.id, reason="features differ")
        return None, {}
    return version, files
