"""Rounds whose updates come masked: the model, what is stored, dropouts, liars, interruptions."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.adapters.federation.exchange import Exchange
from backend.components import embedded_exchange
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.issuer import service_issuer
from backend.features.federated import embedded, queries, service
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.masked import members_of
from backend.features.federated.models import FederatedExperiment, FederatedRound, FederatedUpdate
from backend.features.federated.schemas import NAME, RoundsNew
from backend.federation.cells import cells_of
from backend.federation.demand import Examples, Rows
from backend.federation.fixed_point import decode, encode
from backend.federation.networks import shapes
from backend.federation.participant import train
from backend.federation.secure import CLIP_NORM, WHOLE, mean_of
from backend.federation.secure_participant import vector_of
from backend.federation.tasks import Answer, MaskTask, Task, TrainTask
from backend.federation.weights import content_hash
from tests.conftest import House, house_on
from tests.features.federated_sites import add_sites, examples
from tests.features.test_sessions import refused

Keep = Callable[[Task], bool]
ROUNDS = "/federated/rounds"


class Killed(Exception):
    """The process ends here."""


class Watched:
    """An exchange that remembers what was asked, and brings some tasks to nobody."""

    def __init__(self, inner: Exchange, keeps: Keep) -> None:
        self._inner, self._keeps = inner, keeps
        self.asked: list[Task] = []

    def participants(self) -> Sequence[str]:
        """As the inner one."""
        return self._inner.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Those tasks that are kept."""
        self.asked += tasks
        return self._inner.ask([one for one in tasks if self._keeps(one)], timeout_s=timeout_s)

    def missing(self) -> Mapping[str, str]:
        """As the inner one."""
        return self._inner.missing()

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()


@pytest.fixture
def house(sqlite_url: str, tmp_path: Any) -> Iterator[House]:
    """On SQLite: what the database does is tested elsewhere."""
    with house_on(sqlite_url, tmp_path) as made:
        yield made


def unheard(_share: float, _stage: str) -> None:
    """Nobody listens."""


def conducted(
    house: House,
    data: Mapping[str, Examples],
    *,
    keeps: Keep = lambda _: True,
    passed: Callable[[str], None] = lambda _: None,
    experiment_id: str | None = None,
    **terms: Any,
) -> tuple[list[FederatedRound], Watched]:
    """The rounds of an experiment, begun or taken up."""
    parts = house.parts
    keys = embedded.Keys(service_issuer(parts).key)
    new = RoundsNew(num_rounds=1, family="linear", **terms)
    with parts.database.transaction() as db:
        experiment_id = experiment_id or service.start(db, parts, new, holder=DEMO_HOLDER)
        embedded.enrol(db, sorted(data), keys, now=parts.clock.now())
    secrets = {name: keys.of(name).private_jwk()["d"].encode() for name in data}
    exchange = Watched(embedded_exchange(data, secrets), keeps)
    chair = Chair(parts.database, exchange, parts.clock, unheard, parts.artifacts, passed=passed)
    try:
        conduct(chair, experiment_id)
    finally:
        exchange.close()
    with parts.database.reading() as db:
        return list(queries.rounds_of(db, experiment_id)), exchange


def updates(house: House, round_id: str) -> dict[str, FederatedUpdate]:
    with house.parts.database.reading() as db:
        return {one.participant: one for one in queries.updates_of(db, round_id)}


def sent_without_noise(house: House) -> dict[str, int]:
    """How many updates of each site no epsilon bounds."""
    with house.parts.database.reading() as db:
        rows = queries.participants(db)
        return {one.site_id: one.standing.get("updates_without_noise", 0) for one in rows}


def mean_of_plain(exchange: Watched, data: Mapping[str, Examples], names: Sequence[str]) -> str:
    """The hash of the model that the survivors' plain updates lead to."""
    tasks = {one.participant: one.train for one in exchange.asked if isinstance(one, MaskTask)}
    vectors = [vector_of(train(tasks[name], data[name]), clip_norm=CLIP_NORM) for name in names]
    shape = shapes("linear")
    delta, _ = mean_of(np.sum(vectors, axis=0), shape, members=len(names))
    parent = next(iter(tasks.values())).weights
    return content_hash(decode(encode(parent) + encode(delta), shape))


def plainly_asked(exchange: Watched) -> int:
    """Tasks whose answer would be an update; without epochs it says how a model does."""
    return sum(
        isinstance(one, TrainTask) and one.settings.local_epochs > 0 for one in exchange.asked
    )


def upside_down(data: Examples) -> Examples:
    """A liar's data: the opposite of what happened, many times over."""
    return replace(data, train=Rows(data.train.x, -20 * data.train.y, data.train.usual))


def test_a_secure_round_comes_to_the_mean_and_no_single_update_is_asked_for_or_stored(
    house: House,
) -> None:
    names = add_sites(house)
    data = examples(house)

    rounds, exchange = conducted(house, data, mode="secure")

    stored = updates(house, rounds[0].id)
    assert rounds[0].state == "closed", rounds[0].reason
    assert rounds[0].model_sha256 == mean_of_plain(exchange, data, names)
    assert list(stored) == ["all sites"]
    assert plainly_asked(exchange) == 0
    assert rounds[0].protocol is not None
    assert rounds[0].protocol["groups"] == {"all sites": {"members": names, "reason": None}}
    assert "letters" not in rounds[0].protocol
    assert (rounds[0].metrics or {})["received"] == 5
    assert (rounds[0].metrics or {})["participation"] == 1.0
    assert sent_without_noise(house) == dict.fromkeys(names, 1)


def test_a_site_may_have_any_name_and_is_never_taken_for_a_group(house: House) -> None:
    add_sites(house)
    names = ["all", "cell-01", "cell_01", "site_3", "site_4"]
    data = dict(zip(names, examples(house).values(), strict=True))

    rounds, _ = conducted(house, data, mode="secure")

    assert members_of(rounds[0]) == set(names)
    assert sent_without_noise(house) == dict.fromkeys(names, 1)
    groups = [WHOLE, *cells_of("abcdefghi", seed=7, round_number=1)]
    assert not any(re.fullmatch(NAME, one) for one in groups)


def test_a_secure_round_goes_on_without_one_of_five_and_fails_without_two(house: House) -> None:
    add_sites(house)
    data = examples(house)

    def _without(*names: str) -> Keep:
        return lambda one: (
            not (isinstance(one, MaskTask) and one.stage == "mask" and one.participant in names)
        )

    one_gone, exchange = conducted(house, data, keeps=_without("site_1"), mode="secure")
    two_gone, _ = conducted(house, data, keeps=_without("site_1", "site_3"), mode="secure")

    others = ["site_0", "site_2", "site_3", "site_4"]
    assert one_gone[0].model_sha256 == mean_of_plain(exchange, data, others)
    assert two_gone[0].state == "failed"
    assert two_gone[0].reason == "3 sent a masked vector; 4 are needed"
    assert two_gone[0].model_sha256 is None
    # Who is in no sum has shown nothing of its data.
    assert sent_without_noise(house) == {**dict.fromkeys(others, 1), "site_1": 0}


def test_members_of_a_cell_have_sent_something_also_if_the_round_fails(house: House) -> None:
    names = add_sites(house, 9)
    data = examples(house)

    def _without_one(one: Task) -> bool:
        return not (isinstance(one, MaskTask) and one.participant == "site_1")

    rounds, _ = conducted(house, data, keeps=_without_one, mode="cells", min_available_clients=9)

    groups = (rounds[0].protocol or {})["groups"]
    broken = next(group for group, one in groups.items() if one["reason"])
    members = {name for one in groups.values() for name in one["members"]}
    assert str(rounds[0].reason).startswith(f"2 cells have a mean; 3 are needed ({broken}: ")
    assert len(members) == 6
    assert sent_without_noise(house) == {name: int(name in members) for name in names}


def test_a_spoiled_mean_is_refused_as_a_whole(house: House) -> None:
    add_sites(house)
    data = {name: upside_down(one) for name, one in examples(house).items()}

    rounds, _ = conducted(house, data, mode="secure")

    assert rounds[0].state == "failed"
    assert "the median member's loss rises by" in str(rounds[0].reason)


@pytest.mark.parametrize("stop", ["masked 1", "masked 2", "masked 3", "masked 4", "stored 1"])
def test_a_secure_round_that_was_killed_comes_to_the_same_model(house: House, stop: str) -> None:
    names = add_sites(house)
    data = examples(house)
    whole, _ = conducted(house, data, mode="secure", seed=3)
    points: list[str] = []

    def _kill(point: str) -> None:
        points.append(point)
        if f"{point} {points.count(point)}" == stop:
            raise Killed

    with pytest.raises(Killed):
        conducted(house, data, mode="secure", seed=3, experiment_id=None, passed=_kill)
    with house.parts.database.reading() as db:
        killed = db.query(FederatedExperiment).filter_by(state="running").one().id
    house.clock.advance(minutes=10)  # its lease runs out
    again, _ = conducted(house, data, experiment_id=killed)

    assert again[0].model_sha256 == whole[0].model_sha256
    assert (again[0].metrics or {})["received"] == 5
    assert sent_without_noise(house) == dict.fromkeys(names, 2)  # one in each experiment
    assert again[0].deadline_at is not None
    assert again[0].deadline_at > house.clock.now()  # nobody was late because the service was away


def test_cells_judge_their_means_and_leave_a_liars_cell_out(house: House) -> None:
    names = add_sites(house, 12, days=42)
    data = examples(house)
    data = {**data, "site_0": upside_down(data["site_0"])}

    rounds, exchange = conducted(house, data, mode="cells", min_available_clients=9)

    protocol = rounds[0].protocol or {}
    cells = {cell: one["members"] for cell, one in protocol["groups"].items()}
    liars = next(cell for cell, members in cells.items() if "site_0" in members)
    stored = updates(house, rounds[0].id)
    assert sorted(name for members in cells.values() for name in members) == sorted(names)
    assert {len(members) for members in cells.values()} == {3}
    assert plainly_asked(exchange) == 0
    assert str(stored[liars].verdict).startswith("rejected")
    assert rounds[0].state == "closed"
    assert {cell: one.verdict for cell, one in stored.items() if cell != liars} == dict.fromkeys(
        sorted(set(cells) - {liars}), "accepted"
    )


def test_five_sites_are_too_few_for_cells(house: House) -> None:
    add_sites(house)

    problem = refused(house.post(ROUNDS, {"mode": "cells"}), 409, "too_few_participants")

    assert problem["detail"] == "There are 5 participants; 9 are needed."


def test_a_round_that_draws_too_few_for_cells_fails(house: House) -> None:
    add_sites(house, 9)

    rounds, _ = conducted(house, examples(house), mode="cells", fraction_fit=0.5)

    assert (rounds[0].state, rounds[0].reason) == ("failed", "5 participants; cells need 9")


@pytest.mark.parametrize(
    "terms",
    [
        {"mode": "secure", "strategy": "krum"},
        {"mode": "cells", "privacy": {}},
        {"mode": "secure", "engine": "edge", "privacy": {}},
    ],
)
def test_what_masked_rounds_cannot_do_is_refused(house: House, terms: dict[str, Any]) -> None:
    add_sites(house)

    problem = refused(house.post(ROUNDS, terms), 409, "mode_not_supported")

    assert str(terms["mode"]) in problem["detail"]
