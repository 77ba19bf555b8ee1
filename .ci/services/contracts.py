"""Compiler, test engine and analyser of the contracts, from Python and JavaScript packages.

Run by `run.py services` as `contracts.py start | stop | env`. Node.js comes from a Python package;
contracts/package-lock.json says what is installed into contracts/node_modules. The analyser wants
older packages than the application, so it has a folder of its own.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
BIN = Path(sys.executable).parent
ANALYSER = ROOT / ".services" / "slither"
ANALYSER_PACKAGE = "slither-analyzer==0.11.6"
LOCK, INSTALLED = CONTRACTS / "package-lock.json", CONTRACTS / "node_modules" / ".tasco-lock"


def is_installed() -> bool:
    """Tell whether what the lock file names is there."""
    return INSTALLED.exists() and INSTALLED.read_text() == LOCK.read_text() and ANALYSER.exists()


def show() -> None:
    """Print the variables that lead tests to the tools, if they are there."""
    if is_installed():
        print(f"TASCO_TEST_NODE={BIN / 'node'}")
        print(f"TASCO_TEST_SLITHER={ANALYSER}")


def start() -> None:
    """Install the tools unless they are there."""
    if is_installed():
        return
    run = [str(BIN / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(run, cwd=CONTRACTS, check=True)  # noqa: S603 - our own lock file
    install = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", sys.executable]
    target = ["--target", str(ANALYSER), ANALYSER_PACKAGE]
    subprocess.run([*install, *target], check=True)  # noqa: S603 - a pinned package
    INSTALLED.write_text(LOCK.read_text())


if __name__ == "__main__":
    {"start": start, "stop": lambda: None, "env": show}[sys.argv[1]]()
