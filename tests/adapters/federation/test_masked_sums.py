"""Masked sums through an engine: four messages to the nodes of a grid, and their mean."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from flwr.app import UserConfig

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.exchange import Exchange
from backend.adapters.federation.grid_exchange import GridExchange
from backend.adapters.federation.site import app
from backend.adapters.federation.thread_grid import ThreadGrid
from backend.federation.networks import shapes
from backend.federation.participant import train
from backend.federation.secure import CLIP_NORM, WHOLE, GroupSum, SecureSums, mean_of
from backend.federation.secure_participant import vector_of
from backend.federation.signing import did_of
from backend.federation.tasks import MaskAnswer, MaskTask
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import ZONE, examples_of, train_tasks, write_series
from tests.adapters.federation.supernodes import write_key

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


@contextmanager
def nodes_with(config: Callable[[str], UserConfig]) -> Iterator[GridExchange]:
    """The nodes of one run, whose Flower context is new."""
    grid = ThreadGrid(app, {at: config(name) for at, name in enumerate(NAMES)}, workers=2)
    with closing(grid):
        yield GridExchange(grid, lambda: {name: at for at, name in enumerate(NAMES)})


def test_a_node_refuses_a_second_sum_of_a_round_in_another_run_too(tmp_path: Path) -> None:
    keys = {name: write_key(tmp_path / f"{name}.pem") for name in NAMES}
    peers = {name: did_of(key) for name, key in keys.items()}
    (tmp_path / "peers.json").write_text(json.dumps(peers))

    def _config(name: str) -> UserConfig:
        series = write_series(tmp_path / f"{name}.csv", NAMES.index(name))
        return {
            "participant": name,
            "key": str(tmp_path / f"{name}.pem"),
            "peers": str(tmp_path / "peers.json"),
            "memory": str(tmp_path / f"{name}.sums"),
            "series": str(series),
            "timezone": ZONE,
        }

    def _forgetful(name: str) -> UserConfig:
        return {key: one for key, one in _config(name).items() if key != "memory"}

    with nodes_with(_config) as exchange:
        first, _ = summed(exchange, WHOLE, NAMES)
    with nodes_with(_config) as exchange:
        second, why = summed(exchange, "others", NAMES[:4])
    with nodes_with(_forgetful) as exchange:
        third, no_memory = summed(exchange, "third", NAMES[:4])

    assert first.members == NAMES
    assert (second.mean, third.mean) == (None, None)
    assert all("shared in another sum" in reason for reason in why.values())
    assert all("has no memory" in reason for reason in no_memory.values())
    assert len(why) == len(no_memory) == 4


def summed(
    exchange: Exchange, group: str, names: Sequence[str]
) -> tuple[GroupSum, Mapping[str, str]]:
    """A sum of the round, and why who said no hello did not."""
    sums, missing = SecureSums({group: train_tasks(names)}, shapes("mlp")), dict[str, str]()

    def _ask(steps: Sequence[MaskTask]) -> list[MaskAnswer]:
        said = exchange.ask(steps, timeout_s=PATIENT_S)
        missing.update(exchange.missing())
        return [one for one in said if isinstance(one, MaskAnswer)]

    while sums.stage is not None:
        sums.step(_ask)
    return sums.sums()[group], missing


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
    assert all("shared in another sum" in reason for reason in exchange.missing().values())
    assert set(exchange.missing()) == set(NAMES[:4])
