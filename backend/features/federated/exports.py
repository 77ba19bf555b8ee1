"""The curves of experiments and fleet runs as tables, for who computes elsewhere."""

import csv
import io
from collections.abc import Sequence

from pydantic import BaseModel
from sqlalchemy.orm import Session

from backend.features.federated import views
from backend.features.federated.fleet_schemas import FleetRoundView, FleetRunResult
from backend.features.federated.schemas import CurvePoint


def curve_csv(db: Session, experiment_id: str) -> str:
    """The rounds of an experiment."""
    return _table(CurvePoint, views.curve(db, experiment_id))


def fleet_curve_csv(result: FleetRunResult) -> str:
    """The rounds of a fleet run."""
    return _table(FleetRoundView, result.curve)


def _table(kind: type[BaseModel], points: Sequence[BaseModel]) -> str:
    """One line per round, columns as in the JSON; what is not known is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(kind.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump(mode="json") for point in points)
    return file.getvalue()
