"""Masked sums through an engine: four messages to the nodes of a grid, and their mean."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pytest

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.federation.networks import shapes
from backend.federation.participant import train
from backend.federation.secure import CLIP_NORM, WHOLE, SecureSums, mean_of
from backend.federation.secure_participant import vector_of
from backend.federation.tasks import MaskAnswer, MaskTask
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import examples_of, train_tasks

NAMES = ("bridge", "canal", "depot", "north", "works")
SITES = {name: examples_of(number) for number, name in enumerate(NAMES)}
PATIENT_S = 60


@pytest.fixture
def exchange() -> Iterator[EmbeddedExchange]:
    with closing(EmbeddedExchange(SITES)) as opened:
        yield opened


@pytest.mark.parametrize("silent", [None, "depot"])
def test_a_masked_mean_over_an_engine_is_the_plain_one(
    exchange: EmbeddedExchange, silent: str | None
) -> None:
    tasks = train_tasks(NAMES)
    shape = shapes(tasks[0].family)
    sums = SecureSums({WHOLE: tasks}, shape)

    def _ask(steps: Sequence[MaskTask]) -> list[MaskAnswer]:
        is_late = steps[0].stage == "mask"
        wanted = [one for one in steps if not (is_late and one.participant == silent)]
        said = exchange.ask(wanted, timeout_s=PATIENT_S)
        return [one for one in said if isinstance(one, MaskAnswer)]

    while sums.stage is not None:
        sums.step(_ask)
    made = sums.sums()[WHOLE]

    names = [name for name in NAMES if name != silent]
    vectors = [
        vector_of(train(task, SITES[task.participant]), clip_norm=CLIP_NORM)
        for task in tasks
        if task.participant in names
    ]
    delta, count = mean_of(np.sum(vectors, axis=0), shape, members=len(names))
    assert made.mean is not None, made.reason
    assert made.members == tuple(names)
    assert content_hash(made.mean.delta) == content_hash(delta)
    assert made.mean.num_examples == count
    assert exchange.missing() == {}


def test_a_node_refuses_a_second_sum_of_a_round(exchange: EmbeddedExchange) -> None:
    tasks = train_tasks(NAMES)
    shape = shapes(tasks[0].family)

    def _ask(steps: Sequence[MaskTask]) -> list[MaskAnswer]:
        said = exchange.ask(steps, timeout_s=PATIENT_S)
        return [one for one in said if isinstance(one, MaskAnswer)]

    first = SecureSums({WHOLE: tasks}, shape)
    while first.stage is not None:
        first.step(_ask)
    again = SecureSums({"others": tasks[:4]}, shape)
    again.step(_ask)

    assert again.letters["hello"]["others"] == {}
    assert all("given out already" in reason for reason in exchange.missing().values())
    assert set(exchange.missing()) == set(NAMES[:4])
