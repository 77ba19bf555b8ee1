"""The tasks of a round, from what is stored of it: for who has not answered yet."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from backend.features.federated import queries, storing
from backend.features.federated.judging import Sent
from backend.features.federated.models import FederatedRound
from backend.features.federated.terms import Terms
from backend.federation.tasks import ScoreTask, TrainTask
from backend.federation.weights import Weights


def train_tasks(
    db: Session, terms: Terms, current: FederatedRound, *, now: datetime
) -> list[TrainTask]:
    """One for each who was drawn and has sent no update.

    Raises:
        WeightsAltered: If the parent model is not the one whose hash the round names.
    """
    sent = {one.participant for one in queries.updates_of(db, current.id)}
    weights = storing.get(db, current.parent_sha256, terms.shapes)
    return [
        TrainTask(
            experiment_id=terms.experiment_id,
            round_number=current.number,
            participant=name,
            family=terms.family,
            weights=weights,
            parent_hash=current.parent_sha256,
            settings=terms.settings,
            round_id=current.id,
            asked_at=int(now.timestamp()),
        )
        for name in current.selected
        if name not in sent
    ]


def score_tasks(
    terms: Terms,
    current: FederatedRound,
    sent: Sent,
    wanted: Mapping[str, Weights],
    *,
    now: datetime,
) -> list[ScoreTask]:
    """One for each member of the committee that has said nothing; none without candidates."""
    done = {one.participant for one in sent.scores}
    return [
        ScoreTask(
            experiment_id=terms.experiment_id,
            round_number=current.number,
            participant=name,
            family=terms.family,
            weights=sent.weights,
            parent_hash=current.parent_sha256,
            candidates=wanted,
            round_id=current.id,
            asked_at=int(now.timestamp()),
        )
        for name in current.committee
        if wanted and name not in done
    ]
