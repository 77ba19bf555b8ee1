"""Disposable processes that run didkit: a deadline, a kill, a new one; a breaker when that repeats.

Starting processes belongs to nobody else here, and the API process never imports didkit.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog

from backend.adapters.verifier.didkit_worker import LENGTH, STACK_BYTES, receive

log = structlog.get_logger("tasco")
ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 20.0
BREAKS_AFTER = 5
REST_S = 30.0

Question = tuple[Literal["credential", "presentation"], str, str]  # document, options in JSON
Answer = Literal["ok", "no", "failed"]


class WorkerOverdue(Exception):
    """A worker did not answer in time; it was killed."""


class WorkerDied(Exception):
    """A worker ended while it was asked."""


class WorkersResting(Exception):
    """Workers failed again and again; none is started for a while."""


class _Worker:
    """One process."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        ours, theirs = socket.socketpair()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "RUST_MIN_STACK": str(STACK_BYTES),
            "TOKIO_WORKER_THREADS": "1",
        }
        module = "backend.adapters.verifier.didkit_worker"
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # panics print there
                cwd=ROOT,
                env=environment,
            )
        self.connection = ours
        self.is_ready = False

    def await_ready(self) -> None:
        """Wait for its first word."""
        if not self.is_ready:
            self.connection.settimeout(START_TIMEOUT_S)
            if receive(self.connection) != b"ready":
                raise WorkerDied("it did not start")
            self.connection.settimeout(self._timeout_s)
            self.is_ready = True

    def ask(self, questions: list[Question]) -> list[Answer]:
        """Put questions and wait for the answers."""
        self.await_ready()
        content = json.dumps(questions).encode()
        self.connection.sendall(LENGTH.pack(len(content)) + content)
        answer = receive(self.connection)
        if answer is None:
            raise WorkerDied("it ended")
        answers: list[Answer] = json.loads(answer)
        return answers

    def stop(self, *, kill: bool = False) -> int:
        """End it and wait; gives its exit code."""
        self.connection.close()
        if kill:
            self.process.kill()
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Breaker:
    """Counts failures in a row; after too many, says no for a while."""

    failures: int = 0
    opened_at: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_open(self) -> bool:
        """Whether to leave workers alone; one try is let through after the rest."""
        with self.lock:
            if self.opened_at is None:
                return False
            if time.monotonic() - self.opened_at < REST_S:
                return True
            self.opened_at = time.monotonic()  # the next one waits again
            return False

    def note(self, *, failed: bool) -> None:
        """Remember how a question ended."""
        with self.lock:
            self.failures = self.failures + 1 if failed else 0
            if not failed:
                self.opened_at = None
            elif self.failures >= BREAKS_AFTER and self.opened_at is None:
                self.opened_at = time.monotonic()
                log.error("verifier.workers_resting", failures=self.failures, rest_s=REST_S)


class DidkitWorkers:
    """A pool of workers. It may be asked by any thread.

    Args:
        workers: How many processes at most; each is started when it is first needed.
        timeout_s: Longest time an answer may take, waiting for a free worker included.
    """

    def __init__(self, workers: int = 2, timeout_s: float = 2.0) -> None:
        self._timeout_s = timeout_s
        self._breaker = Breaker()
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self.restarts = 0
        for _ in range(workers):
            self._free.put(None)  # started when first needed, or by warming up

    def _start(self) -> _Worker:
        worker = _Worker(self._timeout_s)
        with self._lock:
            self._all.add(worker)
        return worker

    @property
    def pids(self) -> list[int]:
        """The processes, for those who measure."""
        with self._lock:
            return [worker.process.pid for worker in self._all]

    def ask(self, questions: list[Question]) -> list[Answer]:
        """One answer per question.

        Raises:
            WorkerOverdue: If they do not come in time.
            WorkerDied: If the worker ends instead.
            WorkersResting: If workers failed too often lately.
        """
        if self._is_closed or self._breaker.is_open():
            raise WorkersResting
        try:
            worker = self._free.get(timeout=self._timeout_s)
        except queue.Empty as error:
            raise WorkerOverdue("no worker was free") from error
        return self._ask(worker or self._start(), questions)

    def _ask(self, worker: _Worker, questions: list[Question]) -> list[Answer]:
        is_lost = True
        try:
            answers = worker.ask(questions)
            is_lost = False
        except TimeoutError as error:
            raise WorkerOverdue from error
        except (OSError, ValueError) as error:
            raise WorkerDied from error
        else:
            return answers
        finally:
            self._breaker.note(failed=is_lost)
            self._give_back(worker, is_lost=is_lost)

    def _give_back(self, worker: _Worker, *, is_lost: bool) -> None:
        if not is_lost:
            self._free.put(worker)
            return
        with self._lock:
            self._all.discard(worker)
            self.restarts += 1
        worker.stop(kill=True)
        log.warning("verifier.worker_replaced", restarts=self.restarts)
        self._free.put(None)

    def warm_up(self) -> None:
        """Wait until every worker is ready."""
        places = [self._free.get() for _ in range(self._free.qsize())]
        workers = [worker or self._start() for worker in places]
        for worker in workers:
            worker.await_ready()
            self._free.put(worker)

    def close(self) -> list[int]:
        """Stop every worker; gives their exit codes."""
        self._is_closed = True
        with self._lock:
            workers, self._all = self._all, set()
        return [worker.stop() for worker in workers]
