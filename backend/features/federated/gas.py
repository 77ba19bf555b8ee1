"""What the chain took for an experiment, noted with its rounds and its summary.

The gas is known once a block holds the verdicts, long after the round was closed, and a block may
go away again. So nothing is added up here: each time that the chain moved, it is asked anew.
"""

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.features.federated import queries
from backend.features.federated.models import FederatedExperiment, FederatedRound

GAS_OF, GAS_USED = "gas_of", "gas_used"
MOVED = "ledger.models.moved"
GasOf = Callable[[Session, Sequence[str]], int]


def note(db: Session, names: Collection[str], *, gas_of: GasOf) -> None:
    """Note what was paid so far for rounds and models of these names; others are passed over.

    Args:
        db: The transaction to write in.
        names: Of rounds and of models, as the chain was told of them.
        gas_of: Tells the gas of names, 0 if nothing of theirs is in a block; handed over, for the
            room that knows is above.
    """
    for experiment_id in _experiments_of(db, names):
        # Held until the commit: who conducts the experiment writes into the same rows.
        row = db.get_one(FederatedExperiment, experiment_id, with_for_update=True)
        for one in queries.rounds_of(db, experiment_id):
            if one.id in names and one.metrics is not None:
                one.metrics = {**one.metrics, GAS_USED: gas_of(db, [one.id]) or None}
        if row.summary is not None:
            row.summary = {**row.summary, GAS_USED: gas_of(db, names_of(db, row)) or None}


def names_of(db: Session, row: FederatedExperiment) -> list[str]:
    """What the chain is told of an experiment: its rounds, and its model."""
    rounds = [one.id for one in queries.rounds_of(db, row.id)]
    return [*rounds, *([row.model_id] if row.model_id else [])]


def unnoted(db: Session) -> list[str]:
    """Names of what was closed before gas was noted at all."""
    ended = db.scalars(select(FederatedExperiment).where(FederatedExperiment.model_id.is_not(None)))
    missing = [one for one in ended if one.summary and GAS_USED not in one.summary]
    return [name for one in missing for name in names_of(db, one)]


def _experiments_of(db: Session, names: Collection[str]) -> Sequence[str]:
    rounds = select(FederatedRound.experiment_id).where(FederatedRound.id.in_(names))
    is_meant = or_(FederatedExperiment.id.in_(rounds), FederatedExperiment.model_id.in_(names))
    query = select(FederatedExperiment.id).where(is_meant)
    return db.scalars(query.order_by(FederatedExperiment.id)).all()
