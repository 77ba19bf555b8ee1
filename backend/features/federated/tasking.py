"""What a gateway is asked to do now, read from the round."""

import base64
from dataclasses import asdict
from datetime import datetime

from sqlalchemy.orm import Session

from backend.features.federated import judging, letters, masked, queries, storing
from backend.features.federated.models import (
    COLLECTING,
    EDGE,
    VALIDATING,
    FederatedExperiment,
    FederatedRound,
)
from backend.features.federated.schemas import TaskView
from backend.features.federated.terms import Terms
from backend.features.federated.updating import require_round
from backend.federation.weights import to_npz

CURRENT = "current"


def task_for(db: Session, round_id: str, site_id: str, *, now: datetime) -> TaskView | None:
    """The task of a participant in a round; None if there is nothing for it to do.

    Raises:
        RoundNotFound: If there is no such round.
    """
    is_any = round_id == CURRENT
    current = queries.open_round(db, EDGE) if is_any else require_round(db, round_id)
    if current is None:
        return _judge(db, site_id, now)
    terms = Terms.of(db.get_one(FederatedExperiment, current.experiment_id))
    if current.state == COLLECTING and terms.mode in masked.MODES:
        return _mask(db, current, terms, site_id, now)
    if current.state == COLLECTING and site_id in current.selected:
        sent = {one.participant for one in queries.updates_of(db, current.id)}
        return None if site_id in sent else _train(db, current, terms, site_id, now)
    if current.state == VALIDATING and site_id in current.committee:
        said = {one.participant for one in queries.validations_of(db, current.id)}
        return None if site_id in said else _score(db, current, terms, site_id, now)
    return None


def _train(
    db: Session, current: FederatedRound, terms: Terms, site_id: str, now: datetime
) -> TaskView:
    view = _view(db, current, terms, site_id, now)
    return view.model_copy(update={"kind": "train", "settings": asdict(terms.settings)})


def _mask(
    db: Session, current: FederatedRound, terms: Terms, site_id: str, now: datetime
) -> TaskView | None:
    """The next letter of a masked sum."""
    said = letters.stages_of(db, current.id, site_id)
    db.refresh(current)  # a stage may end here and take its letters along: it is not asked again
    task = masked.task_of(db, terms, current, site_id, now=now)
    if task is None or task.stage in said:
        return None
    changes = {
        "kind": "mask",
        "settings": asdict(task.train.settings),
        "stage": task.stage,
        "group": task.group,
        "clip_norm": task.clip_norm,
        "letters": {name: _coded(one) for name, one in task.letters.items()},
    }
    return _view(db, current, terms, site_id, now).model_copy(update=changes)


def _score(
    db: Session, current: FederatedRound, terms: Terms, site_id: str, now: datetime
) -> TaskView | None:
    """Candidates go by their hash: a member need not know whose update it scores."""
    sent = judging.Sent.read(db, current, terms)
    wanted = judging.candidates(sent, terms)
    if not wanted:
        return None
    coded = {sent.hashes[name]: _coded(to_npz(delta)) for name, delta in wanted.items()}
    view = _view(db, current, terms, site_id, now)
    return view.model_copy(update={"kind": "score", "candidates": coded})


def _judge(db: Session, site_id: str, now: datetime) -> TaskView | None:
    """The question how the model does that an experiment ends with."""
    experiment_id = queries.running_on(db, EDGE)
    last = None if experiment_id is None else queries.last_round(db, experiment_id)
    if last is None or site_id not in last.selected:
        return None
    judged = queries.judged_in(last)
    if judged is None or site_id in judged:
        return None
    experiment = db.get_one(FederatedExperiment, last.experiment_id)
    sha256 = str(experiment.model_sha256)
    view = _view(db, last, Terms.of(experiment), site_id, now)
    weights = _coded(storing.raw(db, sha256))
    return view.model_copy(update={"kind": "judge", "parent_sha256": sha256, "weights": weights})


def _view(
    db: Session, current: FederatedRound, terms: Terms, site_id: str, now: datetime
) -> TaskView:
    return TaskView.model_validate(
        {
            "kind": "train",
            "round_id": current.id,
            "experiment_id": current.experiment_id,
            "round_number": current.number,
            "participant": site_id,
            "family": terms.family,
            "parent_sha256": current.parent_sha256,
            "weights": _coded(storing.raw(db, current.parent_sha256)),
            "settings": None,
            "candidates": {},
            "stage": None,
            "group": None,
            "clip_norm": None,
            "letters": {},
            "deadline_at": current.deadline_at,
            "asked_at": now,
        }
    )


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()
