"""The conductor with participants that lie, fail or spend their privacy, and with a rival."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.adapters.federation.exchange import Exchange
from backend.components import embedded_exchange
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.issuer import service_issuer
from backend.features.federated import embedded, lease, queries, service
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.lease import LeaseLost
from backend.features.federated.models import EMBEDDED, FederatedExperiment, FederatedRound
from backend.features.federated.schemas import RoundsNew
from backend.features.jobs.service import await_all
from backend.federation.tasks import Answer, ScoreAnswer, Task, TrainAnswer
from tests.conftest import House, house_on
from tests.features.federated_sites import add_sites, examples

Change = Callable[[TrainAnswer], TrainAnswer | None]


class Twisted:
    """An exchange that changes what one participant sends."""

    def __init__(self, inner: Exchange, name: str, change: Change) -> None:
        self._inner, self._name, self._change = inner, name, change
        self.silent: frozenset[str] = frozenset()
        self.opinions: Mapping[str, float] | None = None

    def participants(self) -> Sequence[str]:
        """As the inner one."""
        return self._inner.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Changed, or dropped."""
        found: list[Answer] = []
        for one in self._inner.ask(tasks, timeout_s=timeout_s):
            if isinstance(one, ScoreAnswer) and one.participant in self.silent:
                continue
            if isinstance(one, ScoreAnswer) and self.opinions and one.participant == self._name:
                found.append(replace(one, gains=self.opinions))
                continue
            is_his = isinstance(one, TrainAnswer) and one.participant == self._name
            answer = self._change(one) if is_his and isinstance(one, TrainAnswer) else one
            found += [] if answer is None else [answer]
        return found

    def missing(self) -> Mapping[str, str]:
        """As the inner one."""
        return self._inner.missing()

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()


@pytest.fixture
def house(sqlite_url: str, tmp_path: Any) -> Iterator[House]:
    """Five sites with history, on SQLite: what the database does is tested elsewhere."""
    with house_on(sqlite_url, tmp_path) as made:
        add_sites(made)
        yield made


def _conducted(
    house: House,
    change: Change,
    *,
    silent: int = 0,
    opinions: Mapping[str, float] | None = None,
    **terms: Any,
) -> tuple[FederatedExperiment, list[FederatedRound]]:
    """An experiment in which site_4 sends something else and the first ones score nothing."""
    parts = house.parts
    keys = embedded.Keys(service_issuer(parts).key)
    with parts.database.transaction() as db:
        experiment_id = service.start(db, parts, RoundsNew(**terms), holder=DEMO_HOLDER)
        embedded.enrol(db, [f"site_{n}" for n in range(5)], keys, now=parts.clock.now())
    exchange = Twisted(embedded_exchange(examples(house)), "site_4", change)
    exchange.silent = frozenset(f"site_{n}" for n in range(silent))
    exchange.opinions = opinions
    chair = Chair(parts.database, exchange, parts.clock, _unheard, parts.artifacts)
    try:
        conduct(chair, experiment_id)
    finally:
        exchange.close()
    with parts.database.reading() as db:
        rows = list(queries.rounds_of(db, experiment_id))
        return db.get_one(FederatedExperiment, experiment_id), rows


def _unheard(_share: float, _stage: str) -> None:
    """Nobody listens."""


def _times(factor: float) -> Change:
    return lambda one: replace(
        one, delta={n: np.asarray(a * factor, dtype=np.float32) for n, a in one.delta.items()}
    )


def test_what_is_no_update_is_refused_and_counted_and_the_others_go_on(house: House) -> None:
    experiment, rounds = _conducted(house, _times(np.nan), num_rounds=1)

    with house.parts.database.reading() as db:
        refused = queries.refusals_of(db, rounds[0].id)
        names = [one.participant for one in queries.updates_of(db, rounds[0].id)]
    assert experiment.state == "closed"
    assert refused == {"update_not_finite": 1}
    assert names == ["site_0", "site_1", "site_2", "site_3"]


def test_who_keeps_sending_far_too_long_updates_is_not_asked_any_more(house: House) -> None:
    _, rounds = _conducted(house, _times(100.0), num_rounds=4)

    with house.parts.database.reading() as db:
        verdicts = [
            {one.participant: one.verdict for one in queries.updates_of(db, row.id)}
            for row in rounds
        ]
        states = {one.site_id: one.state for one in queries.participants(db, EMBEDDED)}
    assert [one.get("site_4") for one in verdicts] == ["rejected_norm"] * 3 + [None]
    assert "site_4" not in rounds[3].selected
    assert states == {**{f"site_{n}": "active" for n in range(4)}, "site_4": "suspended"}
    path = "/federated/participants/site_4/reinstate?engine=embedded"
    again = house.post(path).json()
    assert (again["state"], again["strikes"]) == ("active", 0)


def test_a_liar_changes_the_model_less_than_plain_averaging_lets_it(house: House) -> None:
    honest, _ = _conducted(house, lambda one: one, num_rounds=1)
    checked, _ = _conducted(house, _times(-50.0), num_rounds=1)
    plain, _ = _conducted(house, _times(-50.0), num_rounds=1, strategy="fedavg")

    final = [(one.summary or {})["final_loss"] for one in (honest, checked, plain)]
    assert final[1] < 1.1 * final[0]
    assert final[2] > 1.5 * final[0]


def test_what_a_liar_says_of_itself_moves_no_figure_and_is_kept_only_if_it_is_one(
    house: House,
) -> None:
    boast = {"received_r2": 1e29, "received_loss": np.inf, "holdout_r2": np.nan, "a\x00": 1.0}

    experiment, rounds = _conducted(house, lambda one: replace(one, metrics=boast), num_rounds=1)

    with house.parts.database.reading() as db:
        said = {one.participant: one.metrics for one in queries.updates_of(db, rounds[0].id)}
    figures = (rounds[0].metrics or {}) | (experiment.summary or {})
    assert said["site_4"] == {"received_r2": 1e29}
    assert figures["received_r2"] < 1
    assert figures["final_r2"] < 1
    assert 0 < figures["final_loss"] < np.inf


def test_opinions_that_are_no_numbers_are_not_kept(house: House) -> None:
    odd = {"site_0": np.nan, "site_1": np.inf, "site_2": 0.5}
    experiment, rounds = _conducted(house, lambda one: one, opinions=odd, num_rounds=1)

    with house.parts.database.reading() as db:
        said = {one.participant: one.gains for one in queries.validations_of(db, rounds[0].id)}
    assert experiment.state == "closed"
    assert list(said["site_4"].values()) == [0.5]


def test_a_dropout_costs_its_round_nothing_but_its_update(house: House) -> None:
    experiment, rounds = _conducted(house, lambda _one: None, num_rounds=2)

    assert experiment.state == "closed"
    assert [(one.metrics or {})["participation"] for one in rounds] == [0.8, 0.8]


def test_what_too_few_of_the_committee_saw_becomes_no_model(house: House) -> None:
    seen, _ = _conducted(house, lambda one: one, silent=2, num_rounds=1)
    unseen, rounds = _conducted(house, lambda one: one, silent=3, num_rounds=1)

    assert (seen.state, unseen.state) == ("closed", "failed")
    assert rounds[0].reason == "2 members of the committee answered"


def test_three_rounds_without_a_quorum_end_the_experiment(house: House) -> None:
    experiment, rounds = _conducted(house, lambda _one: None, num_rounds=9, min_fit_clients=5)

    assert (experiment.state, len(rounds)) == ("failed", 3)
    assert experiment.reason == "4 updates came; 5 are needed"


def test_private_training_is_accounted_and_ends_when_the_budget_is_spent(house: House) -> None:
    privacy = {"clip_norm": 1.0, "noise_multiplier": 4.0, "max_epsilon": 1.5}
    new: dict[str, Any] = {"num_rounds": 12, "privacy": privacy, "local_epochs": 1}

    experiment, rounds = _conducted(house, lambda one: one, **new)

    spent = [(one.metrics or {})["epsilon"] for one in rounds if one.state == "closed"]
    assert 1 <= len(spent) < 12
    assert spent == sorted(spent)
    assert 0 < spent[0] < spent[-1] <= 1.5
    assert rounds[-1].reason == "0 participants can be asked; 3 are needed"
    assert (experiment.summary or {})["privacy_unit"].startswith("example")


def test_what_was_sent_without_noise_stands_beside_every_later_epsilon(house: House) -> None:
    privacy: dict[str, Any] = {"clip_norm": 1.0, "noise_multiplier": 4.0, "max_epsilon": 9.0}

    _, before = _conducted(house, lambda one: one, num_rounds=1, privacy=privacy)
    _conducted(house, lambda one: one, num_rounds=2)
    _, after = _conducted(house, lambda one: one, num_rounds=1, privacy=privacy)

    figures = [rows[0].metrics or {} for rows in (before, after)]
    assert [one["updates_without_noise"] for one in figures] == [0, 2]
    assert figures[1]["epsilon"] > figures[0]["epsilon"] > 0


def test_of_two_conductors_one_gets_on(house: House) -> None:
    parts = house.parts
    with parts.database.transaction() as db:
        experiment_id = service.start(db, parts, RoundsNew(num_rounds=1), holder=DEMO_HOLDER)
    exchange = embedded_exchange(examples(house))
    chair = Chair(parts.database, exchange, parts.clock, _unheard, parts.artifacts)

    with lease.kept(parts.database, experiment_id, "a rival"), pytest.raises(LeaseLost):
        conduct(chair, experiment_id)
    summary = conduct(chair, experiment_id)

    exchange.close()
    assert summary["rounds_closed"] == 1


def test_what_nobody_conducts_is_taken_up_again(house: House) -> None:
    parts = house.parts
    with parts.database.transaction() as db:
        experiment_id = service.start(db, parts, RoundsNew(num_rounds=1), holder=DEMO_HOLDER)
    assert service.resume_orphans(parts) == []  # it waits for its job
    with parts.database.transaction() as db:
        lease.release(db, experiment_id, lease.QUEUED)

    (job_id,) = service.resume_orphans(parts)

    await_all(parts.database, timeout_s=30)
    assert house.get(f"/jobs/{job_id}").json()["state"] == "succeeded"
    assert house.get(f"/federated/experiments/{experiment_id}").json()["state"] == "closed"
