"""The curve of an experiment as a table, for who computes elsewhere."""

import csv
import io

from sqlalchemy.orm import Session

from backend.features.federated import views
from backend.features.federated.schemas import CurvePoint


def curve_csv(db: Session, experiment_id: str) -> str:
    """One line per round, columns as in the JSON."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(CurvePoint.model_fields), lineterminator="\n")
    writer.writeheader()
    for point in views.curve(db, experiment_id):
        writer.writerow(point.model_dump(mode="json"))
    return file.getvalue()
