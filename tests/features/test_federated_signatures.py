"""What counts as said by a participant: only what the key of its enrolled DID has signed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.adapters.federation.exchange import Exchange
from backend.components import embedded_exchange
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.issuer import service_issuer
from backend.features.federated import embedded, queries, service
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.models import EMBEDDED, FederatedRound
from backend.features.federated.schemas import RoundsNew
from backend.features.federated.signatures import Checked
from backend.federation.signing import Signer, signed
from backend.federation.statements import LIFETIME_S, statement_about
from backend.federation.tasks import Answer, ScoreAnswer, Task, TrainAnswer
from tests.conftest import House, house_on
from tests.features.federated_sites import add_sites, examples, experiment, train

LIAR, OTHERS = "site_4", ["site_0", "site_1", "site_2", "site_3"]
Change = Callable[[Task, Answer, Signer], Answer]


@pytest.fixture
def house(sqlite_url: str, tmp_path: Any) -> Iterator[House]:
    """Five sites with history, on SQLite: what the database does is tested elsewhere."""
    with house_on(sqlite_url, tmp_path) as made:
        add_sites(made)
        yield made


class Tampered:
    """An exchange that changes what one participant says."""

    def __init__(self, inner: Exchange, signer: Signer, change: Change) -> None:
        self._inner, self._signer, self._change = inner, signer, change

    def participants(self) -> Sequence[str]:
        """As the inner one."""
        return self._inner.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Changed where the liar speaks."""
        by_name = {task.participant: task for task in tasks}
        return [
            self._change(by_name[LIAR], one, self._signer) if one.participant == LIAR else one
            for one in self._inner.ask(tasks, timeout_s=timeout_s)
        ]

    def missing(self) -> Mapping[str, str]:
        """As the inner one."""
        return self._inner.missing()

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()


def conducted(house: House, change: Change, **terms: Any) -> tuple[FederatedRound, Checked]:
    """A round in which one participant's answers are changed on their way."""
    parts, data = house.parts, examples(house)
    keys = embedded.Keys(service_issuer(parts).key)
    with parts.database.transaction() as db:
        new = RoundsNew(num_rounds=1, family="linear", **terms)
        experiment_id = service.start(db, parts, new, holder=DEMO_HOLDER)
        embedded.enrol(db, sorted(data), keys, now=parts.clock.now())
    signers = {name: keys.signer_of(name) for name in data}
    tampered = Tampered(embedded_exchange(data, signers=signers), signers[LIAR], change)
    exchange = Checked(tampered, parts.database, engine=EMBEDDED, clock=parts.clock)
    chair = Chair(parts.database, exchange, parts.clock, _unheard, parts.artifacts)
    try:
        conduct(chair, experiment_id)
    finally:
        exchange.close()
    with parts.database.reading() as db:
        [row] = queries.rounds_of(db, experiment_id)
        return row, exchange


def _unheard(_share: float, _stage: str) -> None:
    """Nobody listens."""


def refused(house: House, row: FederatedRound) -> dict[str, int]:
    with house.parts.database.reading() as db:
        return queries.refusals_of(db, row.id)


def participants(house: House, row: FederatedRound) -> list[str]:
    with house.parts.database.reading() as db:
        return [one.participant for one in queries.updates_of(db, row.id)]


def _unsigned(_task: Task, answer: Answer, _signer: Signer) -> Answer:
    return replace(answer, signature="")


def _by_another(task: Task, answer: Answer, _signer: Signer) -> Answer:
    """Signed with a key of nobody here, in the participant's name."""
    return Signer(Ed25519PrivateKey.generate()).sign(task, answer)


def _in_its_name(task: Task, answer: Answer, signer: Signer) -> Answer:
    """The participant's DID over the signature of another key."""
    said = statement_about(task, answer, did=signer.did, nonce="n")
    return replace(answer, signature=signed(said, Ed25519PrivateKey.generate()))


def _changed(_task: Task, answer: Answer, _signer: Signer) -> Answer:
    """Other content than was signed."""
    if isinstance(answer, TrainAnswer):
        return replace(answer, delta={n: np.float32(0.9) * a - 1 for n, a in answer.delta.items()})
    assert isinstance(answer, ScoreAnswer)
    return replace(answer, gains={name: gain + 0.1 for name, gain in answer.gains.items()})


def _louder(_task: Task, answer: Answer, _signer: Signer) -> Answer:
    """More examples than were signed for."""
    if isinstance(answer, TrainAnswer):
        return replace(answer, num_examples=answer.num_examples + 1)
    return replace(answer, signature="")


def _praised(_task: Task, answer: Answer, _signer: Signer) -> Answer:
    """Better figures than were signed for."""
    if isinstance(answer, TrainAnswer):
        return replace(answer, metrics={**answer.metrics, "holdout_r2": 1.0})
    return replace(answer, signature="")


def _of_another_round(task: Task, answer: Answer, signer: Signer) -> Answer:
    said = statement_about(task, answer, did=signer.did, nonce="n")
    return replace(answer, signature=signed(replace(said, round_id="frd_before"), signer.key))


def _expired(task: Task, answer: Answer, signer: Signer) -> Answer:
    said = statement_about(task, answer, did=signer.did, nonce="n")
    late = replace(said, expires_at=said.expires_at - LIFETIME_S)
    return replace(answer, signature=signed(late, signer.key))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_unsigned, "statement_refused"),
        (_by_another, "stranger"),
        (_in_its_name, "signed_by_another"),
        (_changed, "not_what_was_signed"),
        (_louder, "not_what_was_signed"),
        (_praised, "not_what_was_signed"),
        (_of_another_round, "stale_update"),
        (_expired, "statement_refused"),
    ],
)
def test_what_its_participant_has_not_signed_is_refused_and_counted_and_the_round_goes_on(
    house: House, change: Change, reason: str
) -> None:
    row, exchange = conducted(house, change)

    assert row.state == "closed", row.reason
    assert participants(house, row) == OTHERS
    assert refused(house, row)[reason] >= 1
    assert sum(refused(house, row).values()) == 3  # its update, its scores, its last word
    assert exchange.missing()[LIAR] in refused(house, row)


def test_the_letters_of_a_masked_sum_are_signed_too(house: House) -> None:
    row, _ = conducted(house, _unsigned, mode="secure")

    groups = (row.protocol or {})["groups"]
    assert groups["all sites"]["members"] == OTHERS
    assert refused(house, row) == {"statement_refused": 3}  # its hello, its scores, its last word


@pytest.mark.parametrize("mode", ["validated", "secure"])
def test_every_update_and_every_mean_carries_the_statements_it_rests_on(
    house: House, mode: str
) -> None:
    made = experiment(house, train(house, engine="embedded", num_rounds=1, mode=mode))

    with house.parts.database.reading() as db:
        [row] = queries.rounds_of(db, made["id"])
        updates = queries.updates_of(db, row.id)
        statements = [one for update in updates for one in update.signature.splitlines()]
        scores = [one.signature for one in queries.validations_of(db, row.id)]
    assert len(statements) == len(row.selected)
    assert scores
    assert all(one.count(".") == 2 for one in [*statements, *scores])
