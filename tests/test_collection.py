"""The order in which workers are given the files: what takes minutes first."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import LONG_FILES

ROOT = Path(__file__).resolve().parents[1]


def _files_in_turn(*files: str) -> list[str]:
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    done = subprocess.run(  # noqa: S603 - pytest itself
        collect, cwd=ROOT, capture_output=True, text=True, check=True
    )
    tests = [line.split("::")[0] for line in done.stdout.splitlines() if "::" in line]
    return list(dict.fromkeys(tests))


def test_the_long_files_are_there() -> None:
    assert [file for file in LONG_FILES if not (ROOT / file).is_file()] == []


def test_long_files_come_first_and_the_others_in_their_order() -> None:
    short = ["tests/test_settings.py", "tests/proofs/test_merkle.py"]
    long = ["tests/real/test_kill.py", "tests/test_schemathesis.py"]

    assert _files_in_turn(*short, *long) == [*long[::-1], *short]
