"""Updates and scores at the door: what is wrong with them, and how often it was."""

from http import HTTPStatus

import numpy as np
from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.federated.models import FederatedRefusal
from backend.federation.checking import MAX_EXAMPLES
from backend.federation.tasks import TrainAnswer
from backend.federation.weights import Shapes, WeightsRefused, checked
from backend.problems import Problem


class UpdateRefused(Problem):
    """The update does not count."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for the task again and send what it asks for."


class UpdateMalformed(UpdateRefused):
    """The body is no npz of the model's arrays."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fix = "Send an npz of float32 arrays with the model's names and shapes; nothing pickled."


class UpdateNotFinite(UpdateRefused):
    """The update holds values that are not finite."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class CountImpossible(UpdateRefused):
    """The number of examples is impossible."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fix = "Send the number of examples that were trained on."


def fault_of(answer: TrainAnswer, shapes: Shapes) -> str | None:
    """Why an answer is no update of this model; None if it is one."""
    try:
        require_sound(answer, shapes)
    except UpdateRefused as refused:
        return refused.code()
    return None


def require_sound(answer: TrainAnswer, shapes: Shapes) -> None:
    """Check names, types, shapes, values and count of an update.

    Raises:
        UpdateNotFinite: If a value is not finite.
        UpdateMalformed: If arrays or their shapes are other ones.
        CountImpossible: If no site has so many examples.
    """
    values = [one for one in answer.delta.values() if isinstance(one, np.ndarray)]
    if any(one.dtype.kind == "f" and not np.isfinite(one).all() for one in values):
        raise UpdateNotFinite
    try:
        checked(answer.delta, shapes)
    except (WeightsRefused, AttributeError, TypeError) as refused:
        raise UpdateMalformed(str(refused)) from refused
    if isinstance(answer.num_examples, bool) or not 0 < answer.num_examples <= MAX_EXAMPLES:
        raise CountImpossible(f"num_examples has to be 1 to {MAX_EXAMPLES}.")


def count(db: Session, round_id: str, reason: str) -> None:
    """Count a refusal."""
    row = FederatedRefusal
    insert_missing(db, row, {"round_id": round_id, "reason": reason, "count": 0})
    mine = update(row).where(row.round_id == round_id, row.reason == reason)
    db.execute(mine.values(count=row.count + 1))
