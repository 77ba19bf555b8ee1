"""The README's curl lines, run as they are printed against a fresh demo."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.real.server import ROOT, free_port, launch, serving

README = ROOT / "README.md"
PRINTED = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "-- block --"
REQUEST = re.compile(r"\bcurl\b")


def curl_blocks(text: str) -> list[str]:
    """The fenced shell blocks that ask the server something, without prompts."""
    blocks = [re.sub(r"^\$ ", "", found, flags=re.MULTILINE) for found in BLOCK.findall(text)]
    return [block for block in blocks if REQUEST.search(block)]


def script_of(blocks: list[str], address: str) -> str:
    """One script for one shell, as variables of a block are used in later ones.

    It ends with the first line that fails. A reader that has seen enough, such as `head`, is no
    failure of curl's (status 23).
    """
    bounded = (
        'curl() { command curl --max-time 60 "$@" || { local s=$?; [ $s -eq 23 ] || return $s; }; }'
    )
    lines = ["set -euo pipefail", bounded]
    for block in blocks:
        lines += [f"echo '{SEPARATOR}'", PRINTED.sub(address, block)]
    return "\n".join(lines)


def missing_tool() -> str:
    """Name of the first tool this test lacks, empty if none."""
    return next((tool for tool in ("bash", "curl") if shutil.which(tool) is None), "")


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
@pytest.mark.skipif(bool(missing_tool()), reason=f"this machine has no {missing_tool()}")
def test_every_curl_line_of_the_readme_works_on_a_fresh_demo(tmp_path: Path) -> None:
    blocks = curl_blocks(README.read_text())
    port = free_port()
    url = f"sqlite:///{tmp_path / 'demo.db'}"
    server = launch(
        ["backend", "demo", "--port", str(port)], port=port, folder=tmp_path, database_url=url
    )
    with serving(server):
        script = script_of(blocks, server.address)
        done = subprocess.run(  # noqa: S603 - our own README
            [str(shutil.which("bash")), "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    assert blocks, "the README shows no request"
    assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr}"
    assert done.stdout.count(SEPARATOR) == len(blocks)
    assert '"/problems/' not in done.stdout, done.stdout


@pytest.mark.skipif(bool(missing_tool()), reason=f"this machine has no {missing_tool()}")
def test_a_line_that_fails_would_be_noticed() -> None:
    text = "```sh\ncurl -s http://127.0.0.1:8000/x | cat\n```\n"

    script = script_of(curl_blocks(text), "http://127.0.0.1:9")
    done = subprocess.run(  # noqa: S603 - our own lines
        [str(shutil.which("bash")), "-c", script], capture_output=True, text=True, check=False
    )

    assert "http://127.0.0.1:9/x" in script
    assert done.returncode != 0
