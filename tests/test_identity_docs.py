"""The page on identity: its shell lines, run as they are printed, from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.server import ROOT, free_port, launch, serving
from tests.test_readme import BLOCK, PRINTED, missing_tool, script_of

PAGE = ROOT / "docs" / "identity.md"


def _run(script: str, folder: Path, **environment: str) -> str:
    """What a shell prints, `python` being the one that runs the tests."""
    python = f'python() {{ "{sys.executable}" "$@"; }}'
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASCO_")}
    done = subprocess.run(  # noqa: S603 - our own page
        [str(shutil.which("bash")), "-c", f"{python}\n{script}"],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(bool(missing_tool()), reason=f"this machine has no {missing_tool()}")
def test_every_line_of_the_page_works_from_an_empty_folder(tmp_path: Path) -> None:
    setup, *rest = BLOCK.findall(PAGE.read_text())
    port, url = free_port(), f"sqlite:///{tmp_path / 'tasco.db'}"
    address = f"http://127.0.0.1:{port}"

    _run(script_of([setup], address), tmp_path, TASCO_DATABASE_URL=url)
    settings = {"profile": "production", "public_url": address, "verifier": "pure"}
    server = launch(
        ["backend", "serve", "--port", str(port)],
        port=port,
        folder=tmp_path,
        database_url=url,
        **settings,
    )
    with serving(server):
        printed = _run(script_of(rest, address), tmp_path)

    assert len(rest) == 3
    assert re.search(r'"roles":\["administrator"\]', printed)
    assert re.search(r'"roles": \[\s*"driver"\s*\]', printed)
    assert PRINTED.search(printed) is None
    assert "/problems/" not in printed
