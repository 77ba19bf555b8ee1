"""The process in which didkit runs, started as `python -m backend.adapters.verifier.didkit_worker`.

didkit can be crashed and stalled by documents, so it lives where that does no harm. The parent
sends lists of questions over a socket pair and kills a worker that is late. The worker holds no
secret, and once it is warm it cannot open anything: every free file descriptor is used up, so that
no code of this process can reach a file or a network.
"""

import asyncio
import json
import os
import queue
import resource
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

LENGTH = struct.Struct(">I")
STACK_BYTES = 64 * 2**20  # nested documents overflow the usual stack
MEMORY_BYTES = 4 * 2**30  # of addresses; what is used is far less
MOST_DESCRIPTORS = 64
READ_BYTES = 262_144


class _Future:
    """What didkit asks of a future: somewhere to put how its work ended."""

    answer = "failed"

    def add_done_callback(self, callback: object) -> None:
        """Nobody cancels."""

    def cancelled(self) -> bool:
        """Nobody cancels."""
        return False

    def set_result(self, result: str) -> None:
        """Its only trustworthy sign is an empty list of errors: `checks` names failed ones too."""
        self.answer = "ok" if json.loads(result)["errors"] == [] else "no"

    def set_exception(self, error: BaseException) -> None:
        """A document it cannot read is refused; a Rust panic arrives as another exception."""
        is_refusal = isinstance(error, ValueError) or type(error).__name__ == "DIDKitException"
        self.answer = "no" if is_refusal else "failed"


class _Loop:
    """The two things didkit asks of an event loop; a real one costs a quarter more per question."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = (
            queue.SimpleQueue()
        )

    def create_future(self) -> _Future:
        """Where didkit puts an answer."""
        return _Future()

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *arguments: object, **_context: object
    ) -> None:
        """Called by didkit's threads when an answer is there."""
        self.ended.put((callback, arguments))


def main(descriptor: int) -> None:
    """Answer questions until the parent closes its end."""
    _limit()
    import didkit  # noqa: PLC0415 - after the limits

    loop = _Loop()
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]  # noqa: SLF001
    ask = {"credential": didkit.verify_credential, "presentation": didkit.verify_presentation}
    _answers(loop, ask, [["credential", "{}", "{}"]])  # starts its threads
    _shut_all_doors()
    with socket.socket(fileno=descriptor) as parent:
        _send(parent, b"ready")
        while (question := receive(parent)) is not None:
            _send(parent, json.dumps(_answers(loop, ask, json.loads(question))).encode())
    os._exit(0)  # didkit's threads crash an interpreter that ends in the regular way


def _answers(loop: _Loop, ask: Any, questions: list[list[str]]) -> list[str]:  # noqa: ANN401
    """`ok`, `no`, or `failed` (the library itself gave way) for each question."""
    futures = [ask[kind](document, options) for kind, document, options in questions]
    for _ in futures:
        callback, arguments = loop.ended.get()
        callback(*arguments)
    return [future.answer for future in futures]


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _shut_all_doors() -> None:
    """Use up every file descriptor below a limit, so that nothing can be opened."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_DESCRIPTORS, MOST_DESCRIPTORS))
    while True:
        try:
            os.dup(0)
        except OSError:
            return


def _send(connection: socket.socket, content: bytes) -> None:
    connection.sendall(LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> bytes | None:
    """One message; None when the other side has closed. Nobody sends two before an answer."""
    content, size = b"", LENGTH.size
    while len(content) < size:
        part = connection.recv(READ_BYTES)
        if not part:
            return None
        content += part
        if len(content) >= LENGTH.size:
            size = LENGTH.size + LENGTH.unpack_from(content)[0]
    return content[LENGTH.size :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
