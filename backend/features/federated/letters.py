"""What gateways say in the stage of a masked sum that is under way; kept until the stage ends."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.federated.models import FederatedLetter
from backend.federation.tasks import MaskAnswer, MaskTask, Stage


def keep(
    db: Session, round_id: str, task: MaskTask, letter: bytes, statement: str, *, now: datetime
) -> bool:
    """Keep what a participant answers to its task; False if it had answered before."""
    row = {
        "round_id": round_id,
        "stage": task.stage,
        "participant": task.participant,
        "group": task.group,
        "letter": letter,
        "statement": statement,
        "received_at": now,
    }
    return insert_missing(db, FederatedLetter, row) == 1


def said_in(db: Session, round_id: str, stage: Stage) -> list[MaskAnswer]:
    """What has come in a stage."""
    query = select(FederatedLetter).where(
        FederatedLetter.round_id == round_id, FederatedLetter.stage == stage
    )
    return [
        MaskAnswer(one.participant, stage, one.letter, one.statement) for one in db.scalars(query)
    ]


def stages_of(db: Session, round_id: str, name: str) -> set[str]:
    """The stages of which a participant's letter is here: one, while that stage is under way."""
    mine = FederatedLetter.round_id == round_id, FederatedLetter.participant == name
    return set(db.scalars(select(FederatedLetter.stage).where(*mine)))


def erase(db: Session, round_id: str) -> None:
    """Forget what has come in a round."""
    db.execute(delete(FederatedLetter).where(FederatedLetter.round_id == round_id))
