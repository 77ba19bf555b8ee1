"""Real servers: processes on a loopback port that are started, asked, interrupted and killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 15.0
UNWANTED = ("TASCO_", "PYTHONDONTWRITEBYTECODE")
BYTECODE = ROOT / ".pytest_cache" / "bytecode"  # compiled once: two thirds of a first start
ASKING_S = 0.02


class NotReady(AssertionError):
    """The server ended or did not become ready in time; the message is what it printed."""


@dataclass
class Server:
    """A server and all processes it started: one process group with one log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, *, timeout_s: float = 30.0) -> httpx2.Client:
        """A client for its API; give paths such as `/sites`."""
        return httpx2.Client(base_url=f"{self.address}/api/v1", timeout=timeout_s, trust_env=False)

    def printed(self) -> str:
        """Everything it wrote to standard output and standard error."""
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> float:
        """Wait for /ready; gives the seconds it took.

        Raises:
            NotReady: If the process ends or a minute passes.
        """
        began = time.monotonic()
        with httpx2.Client(base_url=self.address, timeout=5.0, trust_env=False) as client:
            while time.monotonic() - began < STARTS_WITHIN_S:
                if self.process.poll() is not None:
                    raise NotReady(f"exit {self.process.returncode}: {self.printed()}")
                if _is_ready(client):
                    return time.monotonic() - began
                time.sleep(ASKING_S)
        raise NotReady(self.printed())

    def interrupt(self) -> int:
        """Press Ctrl-C: every process of the group hears it; gives the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(ENDS_WITHIN_S)

    def kill(self) -> None:
        """End every process of the group at once, in the middle of whatever it does."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait(ENDS_WITHIN_S)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def launch(
    arguments: Sequence[str], *, port: int, folder: Path, database_url: str, **settings: str
) -> Server:
    """Start `python -m …` in a folder of its own, as a process group of its own."""
    chosen = {
        "TASCO_DATABASE_URL": database_url,
        "TASCO_ARTIFACTS_DIR": str(folder / "artifacts"),
        "TASCO_COMPUTE_WORKERS": "1",
        "TASCO_LOG_LEVEL": "warning",
        **{f"TASCO_{name.upper()}": value for name, value in settings.items()},
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",  # a warning is printed, and a test finds it
        "PYTHONUNBUFFERED": "1",
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
    log = folder / f"server-{port}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=inherited | chosen,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, log)


def launch_app(
    *,
    folder: Path,
    database_url: str,
    workers: int = 1,
    module: str = "backend.main:app",
    **settings: str,
) -> Server:
    """Start uvicorn on the application in the demo profile, without demo data."""
    port = free_port()
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": str(workers),
        "--log-level": "warning",
        "--timeout-graceful-shutdown": "3",
    }
    flat = [word for option in options.items() for word in option]
    return launch(
        ["uvicorn", module, *flat, "--no-access-log"],
        port=port,
        folder=folder,
        database_url=database_url,
        profile="demo",
        **settings,
    )


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Wait until the server is ready; leave no process of it behind."""
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()
