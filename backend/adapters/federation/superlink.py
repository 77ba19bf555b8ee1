"""A SuperLink from outside: register sites, start runs and follow them, by Flower's own command.

What Flower offers to be called from Python changes from version to version; the command and its
JSON do not. Each call is a process of a second or two, with a Flower home of its own that names
the one connection, so that no setting of whoever runs us has a say.
"""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from backend.adapters.federation.bundle import write_app

SCHEME = "flower"
COMMAND_S, ANSWER_S = 120, 30
POLL_S = 5.0
FINISHED = "finished"
COMPLETED = "finished:completed"
ONLINE, UNREGISTERED = "online", "unregistered"
PROTOBUF = "application/protobuf"
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
MOST_OUTPUT = 500  # characters of what a failed command said


class SuperLinkUnavailable(Exception):
    """The SuperLink does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Node:
    """A SuperNode whose key is let in.

    Attributes:
        name: Under which its key was registered; empty if under none.
        is_connected: Whether it is there now.
    """

    id: str
    name: str
    is_connected: bool


@dataclass(frozen=True, slots=True)
class SuperLink:
    """Where a SuperLink is.

    Attributes:
        address: Host and port.
        ca_file: Whose certificates are believed (PEM).
    """

    address: str
    ca_file: Path

    def submit(self, conduct: str, settings: Mapping[str, str]) -> str:
        """Start a run and give its id.

        Args:
            conduct: What the ServerApp calls with the exchange and the settings, as
                `package.module:function`; importable where the SuperLink runs.
            settings: Of the run. Every site sees them, so they hold no secret.

        Raises:
            SuperLinkUnavailable: If it was not started.
        """
        with TemporaryDirectory(prefix="tasco-") as folder:
            app = write_app(Path(folder) / "tasco", conduct, settings)
            answer = self._command("run", str(app), "here")
        return str(answer["run-id"])

    def status(self, run_id: str) -> str:
        """How a run is: `pending`, `starting`, `running` or `finished:…`.

        Raises:
            SuperLinkUnavailable: If it does not say.
        """
        runs = self._command("ls", "here", "--run-id", run_id)["runs"]
        return str(runs[0]["status"])

    def wait(self, run_id: str, *, timeout_s: float) -> str:
        """Wait until a run is finished and give its status; the last one seen if it is not.

        Raises:
            SuperLinkUnavailable: If it does not say.
        """
        until = time.monotonic() + timeout_s
        while not (status := self.status(run_id)).startswith(FINISHED):
            if time.monotonic() > until:
                return status
            time.sleep(POLL_S)
        return status

    def register(self, name: str, public_key: Path) -> str:
        """Let the node with a P-384 key (OpenSSH format) in under a name; gives its id.

        Raises:
            SuperLinkUnavailable: If it is not let in, for example because the key is known.
        """
        answer = self._command("supernode", "register", str(public_key), "here", "--name", name)
        return str(answer["node-id"])

    def nodes(self) -> list[Node]:
        """The nodes that are let in, in the order in which they were registered.

        Asked of the Control API itself: the command does not print names.

        Raises:
            SuperLinkUnavailable: If it does not say.
        """
        from flwr.proto.control_pb2 import ListNodesRequest  # noqa: PLC0415 - slow to load

        return _nodes_in(self._posted("list-nodes", ListNodesRequest().SerializeToString()))

    def unregister(self, node_id: str) -> None:
        """Let a node in no longer.

        Raises:
            SuperLinkUnavailable: If it does not.
        """
        self._command("supernode", "unregister", node_id, "here")

    def _command(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        with TemporaryDirectory(prefix="tasco-") as home:
            self._write_connection(Path(home))
            program = str(Path(sys.executable).parent / "flwr")
            try:
                done = subprocess.run(  # noqa: S603 - Flower's command, no shell
                    [program, *words, "--format", "json"],
                    env={**os.environ, **QUIET, "FLWR_HOME": home},
                    capture_output=True,
                    text=True,
                    timeout=COMMAND_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as failed:
                raise SuperLinkUnavailable(f"flwr {words[0]}: {type(failed).__name__}") from failed
        return _answer(words[0], done)

    def _posted(self, action: str, message: bytes) -> bytes:
        """The Control API's answer to a protobuf message."""
        place = f"https://{self.address}/v1/control/{action}"
        request = Request(place, message, {"Content-Type": PROTOBUF})
        try:
            trust = ssl.create_default_context(cafile=self.ca_file)
            with urlopen(request, timeout=ANSWER_S, context=trust) as answer:  # noqa: S310 - https
                return bytes(answer.read())
        except (OSError, HTTPException) as failed:
            raise SuperLinkUnavailable(f"{action}: {failed}") from failed

    def _write_connection(self, home: Path) -> None:
        lines = [
            *("[superlink]", 'default = "here"', "[superlink.here]"),
            f"address = {json.dumps(self.address)}",
            f"root-certificates = {json.dumps(str(self.ca_file.resolve()))}",
        ]
        (home / "config.toml").write_text("\n".join(lines) + "\n")


def superlink_at(url: str, *, ca_file: Path) -> SuperLink:
    """The SuperLink of a `flower://HOST:PORT` address.

    Raises:
        ValueError: If it is none.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME or not parts.hostname or not parts.port:
        raise ValueError("A SuperLink's address is flower://HOST:PORT.")
    return SuperLink(parts.netloc, ca_file)


def _nodes_in(said: bytes) -> list[Node]:
    from flwr.proto.control_pb2 import ListNodesResponse  # noqa: PLC0415 - slow to load
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        infos = ListNodesResponse.FromString(said).nodes_info
    except DecodeError as unreadable:
        raise SuperLinkUnavailable("list-nodes: the answer cannot be read") from unreadable
    let_in = [one for one in infos if one.status != UNREGISTERED]
    let_in.sort(key=lambda one: one.registered_at)
    return [Node(str(one.node_id), one.name, one.status == ONLINE) for one in let_in]


def _answer(word: str, done: "subprocess.CompletedProcess[str]") -> Any:  # noqa: ANN401 - JSON
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        answer = {}
    if done.returncode or not answer.get("success"):
        said = answer.get("error-message") or (done.stderr or done.stdout).strip()
        raise SuperLinkUnavailable(f"flwr {word}: {said[-MOST_OUTPUT:]}")
    return answer
