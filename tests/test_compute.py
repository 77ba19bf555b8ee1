"""Computing elsewhere: results come back, overdue and lost workers are replaced."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from backend.compute import Compute, InPlace, Overdue, Processes, WorkerLost

SOON_S = 20.0  # generous: starting a worker on a busy machine takes a while


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    pool = Processes(2)
    pool.warm_up()
    yield pool
    pool.close()


@pytest.fixture(params=["in place", "processes"])
def compute(request: pytest.FixtureRequest) -> Compute:
    """Every implementation of the interface."""
    if request.param == "in place":
        return InPlace()
    pool: Processes = request.getfixturevalue("processes")
    return pool


def _double(values: np.ndarray, *, offset: float = 0.0) -> np.ndarray:
    return 2 * values + offset


def _fail(message: str) -> None:
    raise LookupError(message)


def _die() -> None:
    os._exit(3)


def test_a_result_comes_back(compute: Compute) -> None:
    values = np.arange(4.0)

    result = compute.run(_double, SOON_S, values, offset=1.0)

    np.testing.assert_array_equal(result, [1.0, 3.0, 5.0, 7.0])


def test_an_exception_comes_back_as_it_was_raised(compute: Compute) -> None:
    with pytest.raises(LookupError, match="no such thing"):
        compute.run(_fail, SOON_S, "no such thing")


def test_in_place_means_this_process_and_processes_mean_others(processes: Processes) -> None:
    assert InPlace().run(os.getpid, SOON_S) == os.getpid()
    assert processes.run(os.getpid, SOON_S) != os.getpid()


def test_an_overdue_worker_is_killed_and_replaced(processes: Processes) -> None:
    workers_before = _workers()
    began = time.monotonic()

    with pytest.raises(Overdue, match=r"sleep took over 0\.3 s"):
        processes.run(time.sleep, 0.3, 60.0)

    assert time.monotonic() - began < 10
    assert processes.run(os.getpid, SOON_S) != os.getpid()
    assert _eventually(lambda: bool(workers_before - _workers()))


def test_a_worker_that_dies_is_named_and_replaced(processes: Processes) -> None:
    with pytest.raises(WorkerLost, match="_die lost its worker"):
        processes.run(_die, SOON_S)

    assert processes.run(os.getpid, SOON_S) != os.getpid()


def test_waiting_for_a_busy_worker_counts_as_time_taken(processes: Processes) -> None:
    def _busy() -> None:
        with pytest.raises(Overdue):
            processes.run(time.sleep, 3.0, 60.0)

    busy = [threading.Thread(target=_busy) for _ in range(2)]
    for thread in busy:
        thread.start()
    time.sleep(0.2)
    began = time.monotonic()

    with pytest.raises(Overdue):
        processes.run(os.getpid, 0.5)

    assert time.monotonic() - began < 2.5  # the busy ones still had time
    for thread in busy:
        thread.join()


def test_many_threads_compute_at_once(processes: Processes) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda n: processes.run(pow, SOON_S, n, 2), range(40))

    assert list(results) == [n * n for n in range(40)]


def test_closing_ends_the_workers() -> None:
    pool = Processes(1)
    worker = psutil.Process(pool.run(os.getpid, SOON_S))

    pool.close()

    assert _eventually(lambda: not worker.is_running())


def _workers() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _eventually(is_so: object) -> bool:
    assert callable(is_so)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if is_so():
            return True
        time.sleep(0.02)
    return False
