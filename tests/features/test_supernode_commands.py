"""`python -m backend supernode …`: who is let in is seen, and let in no longer."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import certifi
import pytest
from click.testing import Result
from typer.testing import CliRunner

from backend import cli
from backend.adapters.federation.superlink import superlink_at
from backend.database import Database
from backend.features.federated import flower
from backend.settings import read_settings
from tests.adapters.federation.scene import ZONE, write_series
from tests.adapters.federation.supernodes import (
    CA,
    END_S,
    HOURS_FILE,
    Node,
    end,
    free_port,
    new_node,
)
from tests.conftest import NOON
from tests.tables import rows_of

SUPERLINK = os.environ.get("TASCO_TEST_SUPERLINK", "")
CONNECTED_S = 60
SITE = f"site_{os.getpid()}_commanded"  # the SuperLink is shared
needs_superlink = pytest.mark.skipif(not SUPERLINK, reason="python3 run.py services superlink")


@pytest.fixture
def settings(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What the commands read of their environment, once in a process."""
    variables = {
        "TASCO_PROFILE": "demo",
        "TASCO_DATABASE_URL": sqlite_url,
        "TASCO_FEDERATION_URL": SUPERLINK,
        "TASCO_FEDERATION_CA_FILE": str(CA),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    read_settings.cache_clear()
    yield monkeypatch
    read_settings.cache_clear()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = new_node(tmp_path / "node", SITE)
    write_series(made.folder / HOURS_FILE, 0)
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["supernode", *words])


def listed(site: str) -> list[str]:
    """What `list` says of a site: state, node and DID; nothing if it is not in it."""
    shown = run("list")
    assert shown.exit_code == 0, shown.output
    lines = [line for line in shown.output.splitlines()[1:] if line.startswith(f"{site} ")]
    assert len(lines) <= 1
    return [word.strip() for line in lines for word in line.split("  ")[1:] if word.strip()]


def enrol(url: str, site: str, did: str) -> None:
    with closing(Database(url)) as database, database.transaction() as db:
        flower.enrol(db, site, did, now=NOON)


def states(url: str) -> dict[str, str]:
    with closing(Database(url)) as database:
        return {one["site_id"]: one["state"] for one in rows_of(database, "federated_participants")}


@needs_superlink
@pytest.mark.usefixtures("settings")
def test_a_node_that_was_let_in_is_listed_and_is_let_in_no_longer_once_removed(
    node: Node, sqlite_url: str
) -> None:
    link = superlink_at(SUPERLINK, ca_file=CA)
    before = listed(SITE)
    assert run("register", SITE, str(node.public_key), "--did", node.did).exit_code == 0
    let_in = listed(SITE)
    process = node.start(link, timezone=ZONE)
    try:
        until = time.monotonic() + CONNECTED_S
        while "connected" not in (connected := listed(SITE)) and time.monotonic() < until:
            time.sleep(1)

        removed, again = run("remove", SITE), run("remove", SITE)
    finally:
        end(process)

    after = listed(SITE)
    anew = node.start(link, timezone=ZONE)
    try:
        assert anew.wait(END_S) != 0
    finally:
        anew.kill()
    assert before == []
    assert let_in == ["active", "away", node.did]
    assert connected == ["active", "connected", node.did]
    assert (removed.exit_code, removed.output) == (0, f"{SITE} takes part no longer\n")
    assert (again.exit_code, again.output) == (2, f"There is no SuperNode of {SITE}.\n")
    assert after == ["left", "not let in", node.did]
    assert states(sqlite_url) == {SITE: "left"}


@needs_superlink
@pytest.mark.usefixtures("settings")
def test_a_node_whose_site_never_enrolled_is_listed_and_removed(node: Node) -> None:
    assert run("register", SITE, str(node.public_key)).exit_code == 0
    let_in = listed(SITE)

    removed = run("remove", SITE)

    assert let_in == ["not enrolled", "away", "-"]
    assert removed.exit_code == 0
    assert listed(SITE) == []


@needs_superlink
@pytest.mark.usefixtures("settings")
def test_an_enrolled_site_without_a_node_leaves_and_others_stay(sqlite_url: str) -> None:
    for site in (SITE, f"{SITE}_2"):
        enrol(sqlite_url, site, f"did:key:{site}")
    enrolled = listed(SITE)

    removed = run("remove", SITE)

    assert enrolled == ["active", "not let in", f"did:key:{SITE}"]
    assert removed.exit_code == 0
    assert states(sqlite_url) == {SITE: "left", f"{SITE}_2": "active"}


@needs_superlink
@pytest.mark.usefixtures("settings")
def test_a_name_that_was_given_twice_is_told_and_both_nodes_are_removed(
    node: Node, tmp_path: Path
) -> None:
    other = new_node(tmp_path / "other", SITE)
    for one in (node, other):
        assert run("register", SITE, str(one.public_key)).exit_code == 0
    twice = listed(SITE)

    removed = run("remove", SITE)

    assert twice == ["not enrolled", "let in twice", "-"]
    assert (removed.exit_code, listed(SITE)) == (0, [])


@pytest.mark.parametrize(
    ("site", "did", "reason"),
    [
        ("two words", None, "'two words' is no id of a site."),
        ("s" * 65, None, "is no id of a site."),
        (SITE, "did:key:z6Mk", "'did:key:z6Mk' has no key"),
        (SITE, "did:web:example.org", "has no key"),
    ],
    ids=["two words", "too long", "no key", "a DID of the web"],
)
def test_no_node_is_let_in_under_a_name_or_with_a_did_that_nobody_would_believe(
    settings: pytest.MonkeyPatch, node: Node, site: str, did: str | None, reason: str
) -> None:
    settings.setenv("TASCO_FEDERATION_URL", f"flower://127.0.0.1:{free_port()}")
    settings.setenv("TASCO_FEDERATION_CA_FILE", certifi.where())

    refused = run("register", site, str(node.public_key), *(["--did", did] if did else []))

    assert refused.exit_code == 2
    assert reason in refused.output


def test_a_site_stays_enrolled_while_the_superlink_does_not_answer(
    settings: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    settings.setenv("TASCO_FEDERATION_URL", f"flower://127.0.0.1:{free_port()}")
    settings.setenv("TASCO_FEDERATION_CA_FILE", certifi.where())
    enrol(sqlite_url, SITE, "did:key:zA")

    answers = [run(*words) for words in (["remove", SITE], ["list"])]

    assert [one.exit_code for one in answers] == [2, 2]
    assert all(one.output.startswith("list-nodes: ") and "refused" in one.output for one in answers)
    assert states(sqlite_url) == {SITE: "active"}
