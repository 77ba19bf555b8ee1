"""The grid of threads: a real Flower Grid, whose nodes share nothing with the server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from backend.adapters.federation.client_app import make_client_app
from backend.adapters.federation.grid_exchange import LATE, GridExchange
from backend.adapters.federation.thread_grid import BUSY, ThreadGrid
from backend.federation.sites import Site
from tests.adapters.federation.scene import examples_of, train_tasks

TARGETS = {1: 1.0, 2: 2.0, 3: 6.0}
PATIENT_S = 30


@contextmanager
def open_grid(app: ClientApp, count: int) -> Iterator[ThreadGrid]:
    grid = ThreadGrid(app, {node: {"number": node} for node in range(1, count + 1)}, workers=2)
    try:
        yield grid
    finally:
        grid.close()


def content(value: float) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({"w": Array(np.full(3, value, np.float32))})})


def model_of(records: RecordDict) -> NDArray[np.float32]:
    return np.asarray(records.array_records["arrays"]["w"].numpy(), dtype=np.float32)


def stepping_app() -> ClientApp:
    """Each node moves the model halfway to a target of its own."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        shared = model_of(message.content)
        target = TARGETS[int(context.node_config["number"])]
        moved = ArrayRecord({"w": Array(np.float32(0.5) * (shared + np.float32(target)))})
        figures = MetricRecord({"num-examples": 1, "target": target})
        return Message(RecordDict({"arrays": moved, "metrics": figures}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        shared = model_of(message.content)
        error = abs(float(shared[0]) - TARGETS[int(context.node_config["number"])])
        figures = MetricRecord({"num-examples": 1, "error": error})
        return Message(RecordDict({"metrics": figures}), reply_to=message)

    return app


def test_flowers_own_strategy_runs_on_it() -> None:
    strategy = FedAvg(min_train_nodes=3, min_evaluate_nodes=3, min_available_nodes=3)
    start = ArrayRecord({"w": Array(np.zeros(3, np.float32))})

    with open_grid(stepping_app(), 3) as grid:
        result = strategy.start(grid, start, num_rounds=4, timeout=PATIENT_S)

    # Each round halves the way to the mean of the targets, 3; from m, which lies between the
    # targets 2 and 6, they are on average ((m - 1) + (m - 2) + (6 - m)) / 3 away.
    expected = 3 * (1 - 2**-4)
    [model] = result.arrays.to_numpy_ndarrays()
    np.testing.assert_allclose(model, expected, rtol=1e-6)
    assert result.evaluate_metrics_clientapp[4]["error"] == pytest.approx((expected + 3) / 3)


def test_a_node_cannot_reach_into_what_the_server_holds() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, _: Context) -> Message:
        message.content.array_records["arrays"]["w"] = Array(np.zeros(3, np.float32))
        message.content["more"] = ConfigRecord({"left": "behind"})
        return Message(message.content, reply_to=message)

    with open_grid(app, 2) as grid:
        shared = content(5.0)
        sent = [Message(shared, node, MessageType.TRAIN) for node in (1, 2)]
        replies = list(grid.send_and_receive(sent, timeout=PATIENT_S))

    assert [reply.has_content() for reply in replies] == [True, True]
    assert list(shared) == ["arrays"]
    np.testing.assert_array_equal(model_of(shared), 5.0)
    assert replies[0].content["arrays"] is not replies[1].content["arrays"]


def test_a_late_answer_is_missing_for_good_and_holds_nobody_up() -> None:
    may_go = threading.Event()
    examples = examples_of(0)

    def site_of(context: Context) -> Site:
        if context.node_config["number"] == 1:
            may_go.wait(PATIENT_S)
        return Site("slow" if context.node_config["number"] == 1 else "quick", examples)

    with open_grid(make_client_app(site_of), 2) as grid:
        exchange = GridExchange(grid, lambda: {"slow": 1, "quick": 2})
        first = exchange.ask(train_tasks(["quick", "slow"]), timeout_s=1.0)
        missing_first = exchange.missing()
        second = exchange.ask(train_tasks(["quick", "slow"]), timeout_s=PATIENT_S)
        missing_second = exchange.missing()
        may_go.set()

    assert [one.participant for one in [*first, *second]] == ["quick", "quick"]
    assert missing_first == {"slow": LATE}
    assert missing_second == {"slow": BUSY}


def test_an_answer_under_another_name_counts_as_none() -> None:
    def site_of(context: Context) -> Site:
        return Site(f"site_{context.node_config['number']}", examples_of(0))

    with open_grid(make_client_app(site_of), 2) as grid:
        exchange = GridExchange(grid, lambda: {"site_1": 2, "site_2": 1})
        answers = exchange.ask(train_tasks(["site_1", "site_2"]), timeout_s=PATIENT_S)

    assert answers == []
    assert all("NotMine" in reason for reason in exchange.missing().values())


def test_whatever_nodes_reply_the_others_are_heard() -> None:
    honest = make_client_app(lambda _: Site("honest", examples_of(0)))
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["number"])
        if number == 1:
            return honest(message, context)
        reply = Message(content(0.0), reply_to=message)
        if number == 2:
            reply.__dict__["_content"] = None
        if number == 3:
            garbage = Array("float32", (1,), "numpy.ndarray", b"\x93NUMPY\x01\x00\x03\x00{(\n")
            words: ConfigRecord = ConfigRecord({"participant": "liar", "signature": ""})
            words["num_examples"] = 1
            delta = ArrayRecord({"w": garbage})
            reply.content = RecordDict({"answer": words, "delta": delta})
        return reply

    nodes = {"honest": 1, "silent": 2, "liar": 3, "other": 4}
    with open_grid(app, 4) as grid:
        exchange = GridExchange(grid, lambda: nodes)
        answers = exchange.ask(train_tasks(list(nodes)), timeout_s=PATIENT_S)

    assert [one.participant for one in answers] == ["honest"]
    assert exchange.missing() == {
        "silent": "an empty reply",
        "liar": "not an array of numbers as numpy.save writes it",
        "other": "there is no answer",
    }


def test_closing_leaves_no_thread() -> None:
    before = threading.active_count()

    with open_grid(stepping_app(), 3) as grid:
        sent = [Message(content(0.0), node, MessageType.TRAIN) for node in (1, 2, 3)]
        grid.send_and_receive(sent, timeout=PATIENT_S)

    assert threading.active_count() == before
