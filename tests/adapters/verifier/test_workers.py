"""didkit's processes: deadlines, deaths, rest, clean ends, and nothing they could open."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from backend.adapters.verifier import workers as workers_module
from backend.adapters.verifier.didkit_worker import MOST_DESCRIPTORS
from backend.adapters.verifier.interface import Reason
from backend.adapters.verifier.second_opinion import ask
from backend.adapters.verifier.verifier import DocumentVerifier
from backend.adapters.verifier.workers import (
    BREAKS_AFTER,
    DidkitWorkers,
    Question,
    WorkerDied,
    WorkerOverdue,
    WorkersResting,
)
from tests.adapters.verifier.attacks import clique
from tests.adapters.verifier.scene import Scene

ROOT = Path(__file__).parents[3]
JWT_OPTIONS = json.dumps({"proofFormat": "jwt", "proofPurpose": "assertionMethod"})
OPTIONS = json.dumps({"proofPurpose": "assertionMethod"})


@pytest.fixture
def pool() -> Iterator[DidkitWorkers]:
    pool = DidkitWorkers(1, timeout_s=1.0)
    pool.warm_up()
    yield pool
    pool.close()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def good(scene: Scene) -> Question:
    return ("credential", scene.jwt(), JWT_OPTIONS)


def bomb(scene: Scene, size: int) -> Question:
    """Blank nodes that didkit would canonicalise for minutes; our gate never lets one this far."""
    document = scene.ldp("Ed25519Signature2018")
    document["@context"].append(
        {"knows": "https://x.example/knows", "id": "@id"}  # defined, so that nothing refuses
    )
    document["credentialSubject"]["knows"] = clique(size)
    return ("credential", json.dumps(document), OPTIONS)


def test_answers_come_in_the_order_of_the_questions(pool: DidkitWorkers, scene: Scene) -> None:
    bad: Question = ("credential", scene.jwt()[:-6] + "AAAAAA", JWT_OPTIONS)

    assert pool.ask([good(scene), bad, good(scene)]) == ["ok", "no", "ok"]


def test_a_worker_that_is_late_is_killed_and_replaced(pool: DidkitWorkers, scene: Scene) -> None:
    (before,) = pool.pids

    with pytest.raises(WorkerOverdue):
        pool.ask([bomb(scene, 9)])

    assert not psutil.pid_exists(before)
    assert pool.ask([good(scene)]) == ["ok"]
    assert pool.restarts == 1


def test_a_worker_that_dies_is_replaced(pool: DidkitWorkers, scene: Scene) -> None:
    os.kill(pool.pids[0], signal.SIGSEGV)

    with pytest.raises(WorkerDied):
        pool.ask([good(scene)])

    assert pool.ask([good(scene)]) == ["ok"]


def test_a_panic_of_the_library_is_a_failure_and_harms_nobody_else(
    pool: DidkitWorkers, scene: Scene
) -> None:
    document = scene.vp_ldp(scene.ldp("Ed25519Signature2018"), suite="Ed25519Signature2018")
    document["proof"]["type"] = "CLSignature2019"
    options = json.dumps({"proofPurpose": "authentication"})

    answers = pool.ask([("presentation", json.dumps(document), options), good(scene)])

    assert answers[0] in {"failed", "no"}
    assert answers[1] == "ok"


def test_workers_rest_after_repeated_failures_and_the_first_engine_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "REST_S", 60.0)
    pool = DidkitWorkers(1, timeout_s=1.0)
    verifier = DocumentVerifier(pool)

    for _ in range(BREAKS_AFTER):
        pool.warm_up()
        os.kill(pool.pids[0], signal.SIGKILL)
        assert ask(pool, [good(scene)]) == [Reason.ENGINE_FAILED]
    with pytest.raises(WorkersResting):
        pool.ask([good(scene)])
    verdict = verifier.verify_credential(scene.jwt(), at=scene.at, registry=scene.book)

    assert verdict.verified
    assert verifier.signatures.counts["unavailable"] == 1
    verifier.close()


def test_a_worker_ends_cleanly(pool: DidkitWorkers, scene: Scene) -> None:
    pool.ask([good(scene)])

    assert pool.close() == [0]


def test_a_worker_can_open_nothing(pool: DidkitWorkers) -> None:
    (pid,) = pool.pids
    worker = psutil.Process(pid)

    assert worker.num_fds() == MOST_DESCRIPTORS
    assert worker.rlimit(psutil.RLIMIT_NOFILE) == (MOST_DESCRIPTORS, MOST_DESCRIPTORS)
    assert worker.net_connections(kind="inet") == []
    assert "RUST_MIN_STACK" in worker.environ()


def test_a_did_of_the_web_is_not_fetched(pool: DidkitWorkers, scene: Scene) -> None:
    document = scene.ldp("Ed25519Signature2018")
    document["issuer"] = "did:web:localhost"
    document["proof"]["verificationMethod"] = "did:web:localhost#key"

    assert pool.ask([("credential", json.dumps(document), OPTIONS)]) == ["no"]


def test_the_application_never_imports_didkit() -> None:
    script = (
        "import sys, backend.main, backend.adapters.verifier.verifier as v\n"
        "opened = v.open_verifier('both'); opened.workers.warm_up(); opened.close()\n"
        "sys.exit('didkit' in sys.modules)"
    )

    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60
    )

    assert ended.returncode == 0
