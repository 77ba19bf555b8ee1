"""A local Ethereum node for tests: anvil, from a JavaScript package.

Run by `run.py services` as `anvil.py start | stop | env`. Node.js comes from a Python package; the
node's program and its state are in .services/anvil. It keeps to the rules of the Cancun upgrade,
as the embedded chain's contracts do.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / ".services" / "anvil"
BIN = Path(sys.executable).parent
PACKAGE = "@foundry-rs/anvil@1.7.1"
ADDRESS = HOME / "address"  # pid and port of the node that was started
INSTALL_S, START_S = 300, 20
HARDFORK = "cancun"


def program() -> Path | None:
    """Find the node's program; None if it is not installed."""
    return next(HOME.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"), None)


def url() -> str | None:
    """Find the address at which our node answers; None when it does not."""
    with contextlib.suppress(OSError, ValueError):
        port = ADDRESS.read_text().split()[1]
        found = f"http://127.0.0.1:{port}"
        call = {"jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": []}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(found, json.dumps(call).encode(), headers)
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310 - our own node
            return found if "anvil" in json.load(answer)["result"] else None
    return None


def show() -> None:
    """Print the variables that lead tests to the node, if it answers."""
    found, binary = url(), program()
    if found and binary:
        print(f"TASCO_TEST_ETHEREUM_URL={found}")
        print(f"TASCO_TEST_ANVIL={binary}")


def start() -> None:
    """Start the node unless it answers; it stays up when this process ends."""
    if url():
        return
    if program() is None and not install():
        return
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--hardfork", HARDFORK, "--silent"]
    command = [str(program()), *options]
    with (HOME / "log").open("w") as log:
        node = subprocess.Popen(  # noqa: S603 - what we installed
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    ADDRESS.write_text(f"{node.pid} {port}")
    until = time.monotonic() + START_S
    while not url():
        if node.poll() is not None or time.monotonic() > until:
            sys.exit(f"anvil did not start: {(HOME / 'log').read_text()[-500:]}")
        time.sleep(0.1)


def install() -> bool:
    """Install the program; False, and the reason, where that is not possible."""
    npm = BIN / "npm"
    if not npm.exists():
        print("anvil is left out: npm is not here.", file=sys.stderr)
        return False
    HOME.mkdir(parents=True, exist_ok=True)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    command = [str(npm), "install", *quiet, "--prefix", str(HOME), PACKAGE]
    variables = dict(os.environ, PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    try:
        subprocess.run(command, check=True, timeout=INSTALL_S, env=variables)  # noqa: S603 - pinned
    except (OSError, subprocess.SubprocessError) as failed:
        print(f"anvil is left out: {type(failed).__name__} while installing it.", file=sys.stderr)
        return False
    return program() is not None


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop() -> None:
    """Stop the node that was started here, if it answers."""
    if url():
        os.kill(int(ADDRESS.read_text().split()[0]), signal.SIGTERM)
    ADDRESS.unlink(missing_ok=True)


if __name__ == "__main__":
    {"start": start, "stop": stop, "env": show}[sys.argv[1]]()
