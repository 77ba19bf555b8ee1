"""Models as edge bundles: made at training, or from the registered files on request."""

import base64
import hashlib
import re
from http import HTTPStatus

from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactAltered, ArtifactFiles
from backend.compute import Compute
from backend.edge.bundle import Manifest, pack
from backend.features.forecasts.models import ModelVersion
from backend.features.forecasts.vehicles_models import BUNDLE_FILE
from backend.forecasting.edge_export import PortableModel, export, sample_rows
from backend.problems import NotFound, Problem

EXPORT_TIMEOUT_S = 60.0
MEAN_FILE = "mean.lightgbm.txt"
ROWS = 2_000


class ModelNotFound(NotFound):
    """There is no such model version."""


class ModelAltered(Problem):
    """The model's files are not the ones that were registered."""

    status = HTTPStatus.CONFLICT
    fix = "Train again: this version is not to be trusted."


class ModelNotPortable(Problem):
    """This kind of model does not run at the edge."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for a model of availability, energy to full or site demand."


def bundle_of(
    db: Session, model_id: str, *, artifacts: ArtifactFiles, compute: Compute
) -> tuple[bytes, str]:
    """The bundle of a model version and its SHA-256, hexadecimal.

    Raises:
        ModelNotFound: If there is no such version.
        ModelAltered: If its files are not what was registered.
        ModelNotPortable: If it is of a kind that stays in the service.
    """
    version = db.get(ModelVersion, model_id)
    if version is None:
        raise ModelNotFound
    try:
        files = artifacts.read(version.path, sha256=version.sha256)
    except (FileNotFoundError, ArtifactAltered):
        raise ModelAltered from None
    if BUNDLE_FILE in files:
        data = base64.b64decode(files[BUNDLE_FILE])
    elif MEAN_FILE in files:
        data = _made(version, files, compute)
    else:
        raise ModelNotPortable
    return data, hashlib.sha256(data).hexdigest()


def _made(version: ModelVersion, files: dict[str, str], compute: Compute) -> bytes:
    """The bundle of a model that was registered without one; equal files make equal bundles."""
    text = files[MEAN_FILE]
    model = compute.run(_exported, EXPORT_TIMEOUT_S, text, version.kind)
    names = re.search(r"^feature_names=(.*)$", text, re.MULTILINE)
    manifest = Manifest(
        model_id=version.id,
        kind=version.kind,
        model_sha256=version.sha256,
        trained_at=version.trained_at.isoformat(),
        features=tuple(names[1].split()) if names else (),
        nan_is_zero=model.nan_is_zero,
        conformal=version.conformal or {},
        onnx_sha256=hashlib.sha256(model.onnx).hexdigest(),
        parity_max=model.parity_max,
        rows_checked=model.rows_checked,
    )
    return pack(manifest, model.onnx)


def _exported(text: str, name: str) -> PortableModel:
    return export(text, sample_rows(text, count=ROWS), name=name)
