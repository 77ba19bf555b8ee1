"""What every engine promises a conductor."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.exchange import Exchange
from backend.federation.participant import score, train
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import (
    SETTINGS,
    examples_of,
    run_rounds,
    score_tasks,
    train_tasks,
)

NAMES = ("bridge", "canal", "depot", "north", "works")
SITES = {name: examples_of(number) for number, name in enumerate(NAMES)}
PATIENT_S = 60
Open = Callable[[], Exchange]


def embedded() -> Exchange:
    return EmbeddedExchange(SITES, noise_keys={"canal": b"k" * 32})


ENGINES: dict[str, Open] = {"embedded": embedded}


@pytest.fixture(params=ENGINES, scope="module")
def exchange(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    with closing(ENGINES[request.param]()) as opened:
        yield opened


def test_participants_come_in_order_of_their_names(exchange: Exchange) -> None:
    assert list(exchange.participants()) == sorted(NAMES)


def test_an_update_is_bit_by_bit_what_training_gives(exchange: Exchange) -> None:
    tasks = train_tasks(NAMES)

    answers = exchange.ask(tasks, timeout_s=PATIENT_S)

    for task, answer in zip(tasks, answers, strict=True):
        alone = train(task, SITES[task.participant])
        assert isinstance(answer, TrainAnswer)
        assert content_hash(answer.delta) == content_hash(alone.delta)
        assert answer.num_examples == alone.num_examples
        assert answer.metrics == alone.metrics


def test_opinions_are_what_scoring_gives(exchange: Exchange) -> None:
    [task] = train_tasks(["depot"])
    candidates = {name: train(task, SITES["depot"]).delta for name in ("depot", "north")}
    wanted = score_tasks(["works", "canal"], task, candidates)

    answers = exchange.ask(wanted, timeout_s=PATIENT_S)

    assert answers == [score(one, SITES[one.participant]) for one in wanted]
    assert all(isinstance(one, ScoreAnswer) and one.gains for one in answers)


def test_answers_come_in_the_order_of_their_tasks(exchange: Exchange) -> None:
    names = ["works", "bridge", "north"]

    answers = exchange.ask(train_tasks(names), timeout_s=PATIENT_S)

    assert [one.participant for one in answers] == names
    assert exchange.missing() == {}


def test_who_is_not_there_is_missing_and_the_others_answer(exchange: Exchange) -> None:
    answers = exchange.ask(train_tasks(["canal", "nobody"]), timeout_s=PATIENT_S)

    assert [one.participant for one in answers] == ["canal"]
    assert exchange.missing() == {"nobody": "not connected"}


def test_who_fails_is_missing_with_the_reason_and_the_others_answer(exchange: Exchange) -> None:
    first, second = train_tasks(["canal", "depot"])
    broken = replace(first, parent_hash="0" * 64)

    answers = exchange.ask([broken, second], timeout_s=PATIENT_S)

    assert [one.participant for one in answers] == ["depot"]
    assert "WrongModel" in exchange.missing()["canal"]


def test_an_ask_forgets_who_was_missing_before(exchange: Exchange) -> None:
    exchange.ask(train_tasks(["nobody"]), timeout_s=PATIENT_S)

    answers = exchange.ask([], timeout_s=PATIENT_S)

    assert answers == []
    assert exchange.missing() == {}


def test_two_tasks_for_one_participant_are_a_mistake(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match="one task"):
        exchange.ask(train_tasks(["canal", "canal"]), timeout_s=PATIENT_S)


def test_private_training_gives_equal_noise_with_the_participants_key(exchange: Exchange) -> None:
    private = replace(SETTINGS, clip_norm=1.0, noise_multiplier=1.0)
    tasks = [replace(one, settings=private) for one in train_tasks(["canal", "depot"])]

    twice = [exchange.ask(tasks, timeout_s=PATIENT_S) for _ in range(2)]

    hashes = [
        [content_hash(one.delta) for one in each if isinstance(one, TrainAnswer)] for each in twice
    ]
    assert hashes[0][0] == hashes[1][0], "canal has a key"
    assert hashes[0][1] != hashes[1][1], "depot has none and draws anew"


def test_equal_data_and_seed_give_an_equal_model(exchange: Exchange) -> None:
    models = [run_rounds(exchange, NAMES, num_rounds=2, timeout_s=PATIENT_S) for _ in range(2)]

    assert content_hash(models[0]) == content_hash(models[1])
    assert any(np.any(array) for name, array in models[0].items() if name == "w2"), "it learned"
