"""Solving and training away from the request threads: processes that can be killed."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import ParamSpec, Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

P = ParamSpec("P")
R = TypeVar("R")


class Overdue(Exception):
    """The computation did not end in its time; its worker was killed and replaced."""


class WorkerLost(Exception):
    """The worker died while computing; it was replaced."""


class Compute(Protocol):
    """Runs a pure function somewhere and gives its result."""

    def run(
        self, function: Callable[P, R], timeout_s: float, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run the function.

        Raises:
            Overdue: If it takes longer than `timeout_s`.
            WorkerLost: If its worker dies.
        """
        ...

    def warm_up(self) -> None:
        """Wait until the first task will be as quick as the next."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


class InPlace:
    """Runs the function in the calling thread; nothing can be cut short."""

    def run(
        self,
        function: Callable[P, R],
        timeout_s: float,  # noqa: ARG002 - a thread cannot be killed
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run the function here."""
        return function(*args, **kwargs)

    def warm_up(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to stop."""


class Processes:
    """A pool of worker processes; an overdue one is killed and replaced.

    Args:
        workers: How many processes.
        warm_ups: Called in each worker before its first task, so that no request pays for it.
        modules: Imported once, by the server that the workers are forked from.
    """

    def __init__(
        self,
        workers: int,
        warm_ups: tuple[Callable[[], object], ...] = (),
        modules: tuple[str, ...] = (),
    ) -> None:
        # A fork server starts replacements in milliseconds and inherits no threads.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *(one.__module__ for one in warm_ups), *modules])
        self._pool = ProcessPool(
            max_workers=workers,
            initializer=_prepare_worker,
            initargs=(warm_ups,),
            context=context,
        )
        self._first = self._pool.schedule(os.getpid)  # the pool starts with its first task

    def run(
        self, function: Callable[P, R], timeout_s: float, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run the function in a worker."""
        future = self._pool.schedule(function, list(args), kwargs, timeout=timeout_s)
        try:
            # The pool's own timeout begins when a worker is free; waiting for one counts too.
            return future.result(timeout_s)
        except FutureTimeout as error:
            future.cancel()  # type: ignore[no-untyped-call]  # pebble has no types
            raise Overdue(f"{function.__name__} took over {timeout_s} s") from error
        except ProcessExpired as error:
            raise WorkerLost(f"{function.__name__} lost its worker") from error

    def warm_up(self) -> None:
        """Wait until a worker is ready."""
        self._first.result()

    def close(self) -> None:
        """Stop the workers, those that compute too."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble has no types
        self._pool.join(5)


def _prepare_worker(warm_ups: tuple[Callable[[], object], ...]) -> None:
    """Leave Ctrl-C to the parent, end with it, and get ready for the first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for warm_up in warm_ups:
        warm_up()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)
