"""Who says so: statements of participants, read with the keys of the DIDs that are enrolled."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from backend.adapters.federation.exchange import Exchange
from backend.clock import Clock
from backend.database import Database
from backend.features.credentials.jose import JwtRefused, header_of, read_jwt
from backend.features.federated import enrolling, receiving
from backend.features.federated.models import FederatedParticipant, FederatedRound
from backend.features.federated.receiving import UpdateRefused
from backend.features.federated.refusals import (
    NotWhatWasSigned,
    SignedByAnother,
    StaleUpdate,
    StatementRefused,
    Stranger,
)
from backend.federation.statements import (
    LIFETIME_S,
    TYPE,
    Statement,
    StatementUnreadable,
    hash_of_answer,
    is_plain,
    kind_of,
    statement_of,
)
from backend.federation.tasks import Answer, Task, TrainAnswer
from backend.federation.tree_tasks import TreeAnswer

log = structlog.get_logger("tasco.federated")


def read(
    db: Session, statement: str, engine: str, *, now: datetime
) -> tuple[Statement, FederatedParticipant]:
    """The statement under the signature of an enrolled DID's key, and whose it is.

    Raises:
        StatementRefused: If it is no statement.
        Stranger: If its DID is not enrolled.
        SignedByAnother: If it was not signed by the key of the participant it names.
    """
    try:
        did = str(header_of(statement).get("kid", "")).partition("#")[0]
    except JwtRefused as refused:
        raise StatementRefused(str(refused)) from refused
    enrolled = enrolling.of_did(db, did, engine) if is_plain(did) else []
    if not enrolled:
        raise Stranger
    for method in enrolling.methods_for(db, did, now=now):
        try:
            claims = read_jwt(statement, method.public_jwk or {}, typ=TYPE)
            said = statement_of(claims)
        except JwtRefused:
            continue
        except StatementUnreadable as unreadable:
            raise StatementRefused(str(unreadable)) from unreadable
        own = [one for one in enrolled if one.site_id == said.site_id]
        if said.did != did or not own:
            break
        return said, own[0]
    raise SignedByAnother


class Checked:
    """An exchange of which only those answers come back that their participants have signed.

    What is refused is counted in its round, and its participant has not answered.

    Args:
        exchange: Which brings the answers.
        database: Where participants are enrolled.
        engine: Whose participants answer.
        clock: Tells which keys are in force.
    """

    def __init__(
        self, exchange: Exchange, database: Database, *, engine: str, clock: Clock
    ) -> None:
        self._exchange, self._database = exchange, database
        self._engine, self._clock = engine, clock
        self._refused: dict[str, str] = {}

    def participants(self) -> Sequence[str]:
        """Who can be asked now, in order of their names."""
        return self._exchange.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Bring each task to its participant and check who answers; see `Exchange`."""
        by_name, self._refused = {task.participant: task for task in tasks}, {}
        answers = self._exchange.ask(tasks, timeout_s=timeout_s)
        return [one for one in answers if self._is_signed(by_name[one.participant], one)]

    def missing(self) -> Mapping[str, str]:
        """Why who was asked last and did not answer did not."""
        return {**self._exchange.missing(), **self._refused}

    def close(self) -> None:
        """Close the inner one."""
        self._exchange.close()

    def _is_signed(self, task: Task, answer: Answer) -> bool:
        try:
            with self._database.reading() as db:
                require_signed(db, task, answer, self._engine, now=self._clock.now())
        except UpdateRefused as refused:
            self._refuse(task, refused)
            return False
        return True

    def _refuse(self, task: Task, refused: UpdateRefused) -> None:
        reason = refused.code()
        self._refused[task.participant] = reason
        log.info("federated.refused", round_id=task.round_id, reason=reason)
        with self._database.transaction() as db:
            if db.get(FederatedRound, task.round_id) is not None:
                receiving.count(db, task.round_id, reason)


def require_signed(db: Session, task: Task, answer: Answer, engine: str, *, now: datetime) -> None:
    """Check that the participant who was asked says just this, and says it of this task.

    Raises:
        UpdateRefused: In one of its forms, saying what is wrong.
    """
    said, sender = read(db, answer.signature, engine, now=now)
    if sender.site_id != task.participant:
        raise SignedByAnother
    if not task.asked_at < said.expires_at <= task.asked_at + 2 * LIFETIME_S:
        raise StatementRefused("The statement has expired, or holds for too long.")
    asked = (kind_of(answer), task.round_id, task.parent_hash)
    if (said.kind, said.round_id, said.parent_hash) != asked:
        raise StaleUpdate
    try:
        content = hash_of_answer(task, answer)
    except (TypeError, ValueError) as bad:  # arrays that no number can be read from
        raise NotWhatWasSigned from bad
    trained = answer if isinstance(answer, TrainAnswer | TreeAnswer) else None
    figures = (trained.num_examples, trained.metrics) if trained else (0, {})
    if (said.content_hash, said.num_examples, said.metrics) != (content, *figures):
        raise NotWhatWasSigned
