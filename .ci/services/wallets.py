"""Other implementations of verifiable credentials, from JavaScript packages.

Run by `run.py services` as `wallets.py start | stop | env`. package-lock.json beside the tests says
what is installed into .services/wallets. Node.js is the system's, or comes from a Python package.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "adapters" / "verifier" / "npm"
FOLDER = ROOT / ".services" / "wallets"
FILES = ("package.json", "package-lock.json", ".npmrc", "cross.mjs")
INSTALLED = FOLDER / "node_modules" / ".tasco-lock"
BIN = Path(sys.executable).parent


def tool(name: str) -> str | None:
    """Find node or npm; None where there is neither a package nor a system's."""
    own = BIN / name
    return str(own) if own.exists() else shutil.which(name)


def is_installed() -> bool:
    """Tell whether what the lock file names is there."""
    lock = (SOURCE / "package-lock.json").read_text()
    return INSTALLED.exists() and INSTALLED.read_text() == lock and tool("node") is not None


def show() -> None:
    """Print the variables that lead tests to the libraries, if they are there."""
    if is_installed():
        print(f"TASCO_TEST_WALLETS={FOLDER}")
        print(f"TASCO_TEST_WALLETS_NODE={tool('node')}")


def start() -> None:
    """Install the libraries unless they are there."""
    npm = tool("npm")
    if npm is None or is_installed():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(SOURCE / name, FOLDER / name)
    run = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(run, cwd=FOLDER, check=True)  # noqa: S603 - our own lock file
    INSTALLED.write_text((SOURCE / "package-lock.json").read_text())


if __name__ == "__main__":
    {"start": start, "stop": lambda: None, "env": show}[sys.argv[1]]()
