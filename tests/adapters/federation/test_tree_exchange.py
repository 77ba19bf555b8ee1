"""Trees through the engines: the same ClientApp, the same bytes as functions called directly."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, RecordDict, UserConfig

from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.site import site_of_node
from backend.adapters.federation.superlink import COMPLETED, superlink_at
from backend.federation.signing import Signer, read_signed
from backend.federation.sites import NothingToLearnFrom
from backend.federation.statements import hash_of_answer
from backend.federation.tree_models import TreeModel
from backend.federation.tree_rounds import among
from backend.federation.tree_rows import to_npz
from backend.federation.tree_tasks import ExamTask, GradeTask, GrowTask, TreeAnswer, TreeTask
from tests.adapters.federation.scene import ZONE, train_tasks
from tests.adapters.federation.supernodes import (
    CA,
    END_S,
    ROWS_FILE,
    end,
    new_node,
    write_key,
)
from tests.adapters.federation.test_superlink import ANSWER_S, wait_for
from tests.adapters.federation.tree_scene import SETTINGS, TARGET, asking, learned, rows_of

NAMES = ("bridge", "canal", "depot", "north")
SITES = {name: rows_of(number) for number, name in enumerate(NAMES)}
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in NAMES}
COMMON: dict[str, Any] = {
    "experiment_id": "test",
    "round_number": 1,
    "target": TARGET,
    "settings": SETTINGS,
    "model": "[]",
    "parent_hash": TreeModel().content_hash(SETTINGS),
    "round_id": "test-1",
    "asked_at": 1_800_000_000,
}
PATIENT_S = 60


@pytest.fixture(scope="module")
def exchange() -> Iterator[EmbeddedExchange]:
    signers = {name: Signer(key) for name, key in KEYS.items()}
    rows = {name: {TARGET: own} for name, own in SITES.items()}
    with closing(EmbeddedExchange({}, signers=signers, rows=rows)) as opened:
        yield opened


def test_threads_come_to_the_model_that_functions_come_to(exchange: EmbeddedExchange) -> None:
    assert learned(NAMES, asking(exchange, PATIENT_S)) == learned(NAMES, among(SITES))


def test_every_answer_is_signed_by_its_participant(exchange: EmbeddedExchange) -> None:
    grown = {
        one.participant: one
        for one in exchange.ask(
            [GrowTask(participant=name, **COMMON) for name in NAMES], timeout_s=PATIENT_S
        )
    }
    trees = grown["north"]
    assert isinstance(trees, TreeAnswer)
    tasks: list[TreeTask] = [
        GrowTask(participant="bridge", **COMMON),
        GradeTask(participant="canal", candidates={"north": trees.text}, **COMMON),
        ExamTask(participant="depot", rounds=1, **COMMON),
    ]

    answers = exchange.ask(tasks, timeout_s=PATIENT_S)

    for task, answer in zip(tasks, answers, strict=True):
        said = read_signed(answer.signature, Signer(KEYS[task.participant]).did)
        assert said.content_hash == hash_of_answer(task, answer)
        assert (said.site_id, said.round_id) == (task.participant, "test-1")
        assert said.parent_hash == COMMON["parent_hash"]


def test_who_has_no_such_rows_says_so_and_the_others_answer(exchange: EmbeddedExchange) -> None:
    other = {**COMMON, "target": "energy_to_full"}
    growing = [
        GrowTask(participant="bridge", **other),
        GrowTask(participant="canal", **COMMON),
    ]

    answers = exchange.ask([*growing, *train_tasks(["depot"])], timeout_s=PATIENT_S)

    assert [one.participant for one in answers] == ["canal"]
    missing = exchange.missing()
    assert "no rows of energy_to_full" in missing["bridge"]
    assert "no hours of demand" in missing["depot"]


def node_config(folder: Path) -> UserConfig:
    write_key(folder / "site.pem")
    return {"participant": "depot", "key": str(folder / "site.pem")}


def test_a_node_reads_its_rows_from_the_file_that_its_settings_name(tmp_path: Path) -> None:
    (tmp_path / ROWS_FILE).write_bytes(to_npz({TARGET: SITES["depot"]}))
    config = {**node_config(tmp_path), "trees": str(tmp_path / ROWS_FILE)}

    site = site_of_node(Context(1, 1, config, RecordDict(), {}))

    task = GrowTask(participant="depot", **COMMON)
    [wanted] = among(SITES)([task])
    grown = site.trees(task)
    assert isinstance(grown, TreeAnswer)
    assert isinstance(wanted, TreeAnswer)
    assert grown.text == wanted.text
    with pytest.raises(NothingToLearnFrom):
        site.train(train_tasks(["depot"])[0])


def test_a_node_without_rows_and_hours_does_not_start_to_answer(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="series"):
        site_of_node(Context(1, 1, node_config(tmp_path), RecordDict(), {}))


URL = os.environ.get("TASCO_TEST_SUPERLINK")


@pytest.mark.skipif(URL is None, reason="python3 run.py services superlink")
def test_three_supernodes_come_to_the_model_that_functions_come_to(tmp_path: Path) -> None:
    assert URL is not None
    link, out, sites = superlink_at(URL, ca_file=CA), tmp_path / "said", {}
    with ExitStack() as stack:
        for number in range(3):
            node = new_node(tmp_path / str(number), f"trees_{os.getpid()}_{number}")
            sites[node.name] = rows_of(number)
            (node.folder / ROWS_FILE).write_bytes(to_npz({TARGET: sites[node.name]}))
            link.register(node.name, node.public_key)
            stack.callback(end, node.start(link, timezone=ZONE))
        settings = {"names": ",".join(sites), "timeout-s": str(ANSWER_S), "out": str(out)}

        run_id = link.submit("tests.adapters.federation.tree_scene:conduct", settings)
        wait_for(out)
        status = link.wait(run_id, timeout_s=END_S)

    assert status == COMPLETED
    assert json.loads(out.read_text()) == list(learned(list(sites), among(sites)))
