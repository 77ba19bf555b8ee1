"""What gateways send: who says so, for which round, and is it what was signed.

A refusal names its reason, is counted, and changes nothing else: the round goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from backend.components import Parts
from backend.database import Database
from backend.features.credentials.holder import Holder
from backend.features.federated import (
    arrows,
    letters,
    masked,
    queries,
    receiving,
    signatures,
    storing,
)
from backend.features.federated.models import (
    COLLECTING,
    EDGE,
    RUNNING,
    VALIDATING,
    FederatedExperiment,
    FederatedParticipant,
    FederatedRound,
)
from backend.features.federated.problems import RoundNotFound
from backend.features.federated.receiving import (
    UpdateMalformed,
    UpdateNotFinite,
    UpdateRefused,
)
from backend.features.federated.refusals import (
    NotSelected,
    NotWhatWasSigned,
    PrivacyBudgetSpent,
    RoundOver,
    SignedByAnother,
    StaleUpdate,
    StatementRefused,
    UpdateRepeated,
    UpdateTooLarge,
)
from backend.features.federated.schemas import JudgementNew, Received, ScoresNew
from backend.features.federated.terms import Terms
from backend.federation.privacy import BudgetExhausted
from backend.federation.statements import (
    LIFETIME_S,
    Statement,
    hash_of_letter,
    hash_of_scores,
    hash_of_update,
)
from backend.federation.tasks import MaskAnswer, MaskTask, Stage, TrainAnswer
from backend.federation.weights import WeightsRefused, from_npz

SLACK = 4_096  # of an npz over its numbers
MEMBER_BYTES = 512  # of a letter for each member of its group: two shares, sealed, and a name
NOT_FINITE = "not finite"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What comes beside the content: the statement as it came, and who brought it."""

    statement: str
    holder: Holder


def require_round(db: Session, round_id: str) -> FederatedRound:
    """A round by its id.

    Raises:
        RoundNotFound: If there is none.
    """
    found = db.get(FederatedRound, round_id)
    if found is None:
        raise RoundNotFound
    return found


def most_bytes(database: Database, round_id: str) -> int:
    """The size that an update of a round can have at most.

    Raises:
        RoundNotFound: If there is no such round.
    """
    with database.reading() as db:
        current = require_round(db, round_id)
        return 2 * len(storing.raw(db, current.parent_sha256)) + SLACK


def most_letter_bytes(database: Database, round_id: str) -> int:
    """The size that a letter of a round's sums can have at most.

    Raises:
        RoundNotFound: If there is no such round.
    """
    with database.reading() as db:
        members = len(require_round(db, round_id).selected)
    return most_bytes(database, round_id) + MEMBER_BYTES * members


def refuse_large(parts: Parts, round_id: str, most: int) -> UpdateTooLarge:
    """Count a body that was not read to its end."""
    with parts.database.transaction() as db:
        receiving.count(db, round_id, UpdateTooLarge.code())
    return UpdateTooLarge(f"{most} bytes are allowed.")


def receive_update(parts: Parts, round_id: str, body: bytes, envelope: Envelope) -> Received:
    """Check an update and keep it before it is acknowledged.

    Raises:
        RoundNotFound: If there is no such round.
        UpdateRefused: In one of its forms, saying what is wrong.
    """

    def _take(db: Session, current: FederatedRound) -> Received:
        terms = Terms.of(db.get_one(FederatedExperiment, current.experiment_id))
        said, sender = _said(db, parts, current, envelope, kind="update")
        _require_turn(current, sender, state=COLLECTING, drawn=current.selected)
        if terms.mode in masked.MODES:  # beside the means it would be judged as one of them
            raise RoundOver("The round takes letters of a masked sum.")
        answer = replace(_answer(body, said, sender, terms), signature=envelope.statement)
        now = parts.clock.now()
        try:
            is_first = arrows.keep_update(db, terms, current.id, answer, now=now)
        except BudgetExhausted as spent:
            raise PrivacyBudgetSpent(str(spent)) from spent
        if not is_first:
            raise UpdateRepeated
        return Received(round_id=round_id, participant=sender.site_id, sha256=said.content_hash)

    return _counted(parts, round_id, _take)


def receive_letter(
    parts: Parts, round_id: str, stage: Stage, body: bytes, envelope: Envelope
) -> Received:
    """Check who sent a letter of a masked sum and keep it before it is acknowledged.

    What is in it shows when the stage ends: one that is no letter counts as none.

    Raises:
        RoundNotFound: If there is no such round.
        UpdateRefused: In one of its forms, saying what is wrong.
    """

    def _take(db: Session, current: FederatedRound) -> Received:
        said, sender = _said(db, parts, current, envelope, kind="letter")
        _require_turn(current, sender, state=COLLECTING, drawn=current.selected)
        now, task = parts.clock.now(), _mask_task(db, parts, current, sender, stage)
        answer = MaskAnswer(sender.site_id, stage, body)
        if hash_of_letter(task.context, answer) != said.content_hash:
            raise NotWhatWasSigned
        if not letters.keep(db, round_id, task, body, envelope.statement, now=now):
            raise UpdateRepeated
        return Received(round_id=round_id, participant=sender.site_id, sha256=said.content_hash)

    return _counted(parts, round_id, _take)


def receive_scores(parts: Parts, round_id: str, scores: ScoresNew, envelope: Envelope) -> Received:
    """Check a committee member's scores and keep them before they are acknowledged.

    Raises:
        RoundNotFound: If there is no such round.
        UpdateRefused: In one of its forms, saying what is wrong.
    """

    def _take(db: Session, current: FederatedRound) -> Received:
        said, sender = _said(db, parts, current, envelope, kind="scores")
        _require_turn(current, sender, state=VALIDATING, drawn=current.committee)
        if hash_of_scores(scores.gains) != said.content_hash:
            raise NotWhatWasSigned
        sent = {one.sha256 for one in queries.updates_of(db, current.id)}
        gains = {digest: gain for digest, gain in scores.gains.items() if digest in sent}
        now, name = parts.clock.now(), sender.site_id
        if not arrows.keep_scores(db, current.id, name, gains, envelope.statement, now=now):
            raise UpdateRepeated
        return Received(round_id=round_id, participant=name, sha256=said.content_hash)

    return _counted(parts, round_id, _take)


def receive_judgement(
    parts: Parts, round_id: str, judgement: JudgementNew, envelope: Envelope
) -> Received:
    """Keep how an experiment's last model does at a site.

    Raises:
        RoundNotFound: If there is no such round.
        UpdateRefused: In one of its forms, saying what is wrong.
    """

    def _take(db: Session, current: FederatedRound) -> Received:
        experiment = db.get_one(FederatedExperiment, current.experiment_id)
        parent = str(experiment.model_sha256)
        said, sender = _said(db, parts, current, envelope, kind="scores", parent=parent)
        judged = queries.judged_in(current)
        if judged is None or experiment.state != RUNNING:
            raise RoundOver("The experiment asks for no judgement.")
        if sender.site_id not in current.selected or sender.state != queries.ACTIVE:
            raise NotSelected
        if sender.site_id in judged:
            raise UpdateRepeated
        figures = judgement.model_dump(exclude_unset=True)  # what was sent is what was signed
        if hash_of_scores(figures) != said.content_hash:
            raise NotWhatWasSigned
        whole = {**judged, sender.site_id: figures}
        current.protocol = {**(current.protocol or {}), queries.JUDGED: whole}
        return Received(round_id=round_id, participant=sender.site_id, sha256=said.content_hash)

    return _counted(parts, round_id, _take)


def _counted(
    parts: Parts, round_id: str, take: Callable[[Session, FederatedRound], Received]
) -> Received:
    """Take something in one transaction; count it in another if it is refused."""
    with parts.database.reading() as db:
        require_round(db, round_id)
    try:
        with parts.database.transaction() as db:
            # Held until the commit: an update that came in beside the arrow to validation would
            # be aggregated though no committee saw it. SQLite has one writer anyway.
            return take(db, db.get_one(FederatedRound, round_id, with_for_update=True))
    except UpdateRefused as refused:
        with parts.database.transaction() as db:
            receiving.count(db, round_id, refused.code())
        raise


def _said(
    db: Session,
    parts: Parts,
    current: FederatedRound,
    envelope: Envelope,
    *,
    kind: str,
    parent: str | None = None,
) -> tuple[Statement, FederatedParticipant]:
    """The statement, once it is clear that the participant it names made and sent it."""
    now = parts.clock.now()
    said, sender = signatures.read(db, envelope.statement, EDGE, now=now)
    is_sender = envelope.holder.assurance == "simulated" or envelope.holder.did == said.did
    if not is_sender or (
        envelope.holder.assurance != "simulated"
        and sender.site_id not in envelope.holder.training_sites
    ):
        raise SignedByAnother
    if not now.timestamp() < said.expires_at <= now.timestamp() + 2 * LIFETIME_S:
        raise StatementRefused("The statement has expired, or holds for too long.")
    if (said.kind, said.round_id, said.parent_hash) != (
        kind,
        current.id,
        parent or current.parent_sha256,
    ):
        raise StaleUpdate
    return said, sender


def _require_turn(
    current: FederatedRound, sender: FederatedParticipant, *, state: str, drawn: list[str]
) -> None:
    if current.state != state:
        raise RoundOver(f"The round is {current.state}.")
    if sender.site_id not in drawn or sender.engine != EDGE or sender.state != queries.ACTIVE:
        raise NotSelected


def _mask_task(
    db: Session, parts: Parts, current: FederatedRound, sender: FederatedParticipant, stage: Stage
) -> MaskTask:
    """What the sender of a letter was asked."""
    terms = Terms.of(db.get_one(FederatedExperiment, current.experiment_id))
    if terms.mode not in masked.MODES:
        raise RoundOver("The round takes updates, no letters.")
    task = masked.task_of(db, terms, current, sender.site_id, now=parts.clock.now())
    if task is None:
        raise NotSelected("The sum goes on without this site.")
    if task.stage != stage:
        raise RoundOver(f"The sum is at stage {task.stage}.")
    return task


def _answer(
    body: bytes, said: Statement, sender: FederatedParticipant, terms: Terms
) -> TrainAnswer:
    """The body as an update, as sound as an update of this model has to be."""
    try:
        delta = from_npz(body, terms.shapes)
    except WeightsRefused as refused:
        kind = UpdateNotFinite if NOT_FINITE in str(refused) else UpdateMalformed
        raise kind(str(refused)) from refused
    if hash_of_update(delta) != said.content_hash:
        raise NotWhatWasSigned
    metrics = {} if terms.privacy else said.metrics
    answer = TrainAnswer(sender.site_id, delta, said.num_examples, metrics)
    receiving.require_sound(answer, terms.shapes)
    return answer
