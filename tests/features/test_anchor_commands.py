"""The command line: receipts, the audit trail and the contracts of a node."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from typer.testing import CliRunner

from backend.adapters.ledger.contracts import GAS
from backend.cli import app
from backend.features.anchors import collecting, wiring
from backend.features.credentials.listeners import close_chain_now
from backend.proofs.checkpoints import FORMAT
from backend.proofs.signing import did_of, signed
from backend.settings import read_settings
from tests.conftest import House
from tests.features.test_anchors import collect, finished

NODE_URL = os.environ.get("TASCO_TEST_ETHEREUM_URL", "")
NEEDS_A_NODE = pytest.mark.skipif(
    not NODE_URL, reason="no Ethereum node: run `python3 run.py services anvil`"
)
ANVILS_FIRST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


@pytest.fixture(autouse=True)
def _settings_anew() -> Iterator[None]:
    """Settings are read once per process."""
    yield
    read_settings.cache_clear()


def run(*words: object, **variables: str) -> Result:
    read_settings.cache_clear()
    return CliRunner().invoke(app, [str(one) for one in words], env=variables)


@pytest.fixture
def trail(sqlite_house: House) -> dict[str, Any]:
    """A trail with a signed checkpoint in its middle; gives the checkpoint."""
    house = sqlite_house
    house.site()
    key = wiring.receipt_key(house.parts)
    seal: dict[str, Any] | None = None
    for number in (1, 2):
        finished(house, number=number, charger=number)
        close_chain_now(house.parts.database)
        if seal is None:
            with house.parts.database.transaction() as db:
                collecting.enter_audit_head(db, key, now=house.clock.now())
            with house.parts.database.reading() as db:
                seal = collecting.newest_audit_checkpoint(db)
    assert seal is not None
    return seal


def checked(house: House, seal: Any, folder: Path, signer: str | None = None) -> Result:
    file = folder / "seal.json"
    file.write_text(json.dumps(seal))
    url = house.settings.database_url
    named = signer or did_of(wiring.receipt_key(house.parts))
    words = ("audit", "check", "--checkpoint", file, "--signer", named)
    return run(*words, TASCO_DATABASE_URL=url, TASCO_PROFILE="demo")


def changed(house: House, *statements: str) -> None:
    with house.parts.database.transaction() as db:
        for one in statements:
            db.execute(text(one))


def test_an_untouched_trail_holds_and_leads_on_from_the_checkpoint(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path
) -> None:
    result = checked(sqlite_house, trail, tmp_path)

    assert result.exit_code == 0, result.output
    assert f"leads on from {trail['count']} signed events" in result.output


COPIED = "'aud_x', at, actor, action, object_id, facts, 99, previous_hash, hash"
SWAPPED = "CASE sequence WHEN 1 THEN 1001 WHEN 2 THEN 1 END"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET facts = '[1]' WHERE sequence = 2",
        "UPDATE audit_events SET actor = 'did:denso:driver:other' WHERE sequence = 1",
        "DELETE FROM audit_events WHERE sequence = 2",
        f"INSERT INTO audit_events SELECT {COPIED} FROM audit_events WHERE sequence = 3",  # noqa: S608 - ours
        f"UPDATE audit_events SET sequence = {SWAPPED} WHERE sequence IN (1, 2)",  # noqa: S608 - ours
    ],
    ids=["changed", "another actor", "deleted", "inserted", "reordered"],
)
def test_a_touched_trail_is_found(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path, statement: str
) -> None:
    changed(sqlite_house, statement)

    result = checked(sqlite_house, trail, tmp_path)

    assert result.exit_code == 1
    assert "broken at event" in result.output


def test_a_restored_old_database_is_whole_but_for_the_checkpoint(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path
) -> None:
    changed(
        sqlite_house,
        "DELETE FROM audit_events WHERE sequence > 3",
        "DELETE FROM anchor_items",
    )
    url = sqlite_house.settings.database_url
    alone = run("audit", "check", TASCO_DATABASE_URL=url, TASCO_PROFILE="demo")

    result = checked(sqlite_house, trail, tmp_path)

    assert alone.exit_code == 0
    assert result.exit_code == 1
    assert "older backup" in result.output


def test_a_trail_written_anew_does_not_lead_through_the_checkpoint(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path
) -> None:
    changed(
        sqlite_house,
        "DELETE FROM anchor_items",
        "UPDATE audit_events SET actor = 'did:denso:driver:other' WHERE sequence = 1",
        "UPDATE audit_events SET sequence = NULL, hash = NULL, previous_hash = NULL",
    )
    close_chain_now(sqlite_house.parts.database)

    result = checked(sqlite_house, trail, tmp_path)

    assert result.exit_code == 1
    assert "another one was signed" in result.output


def test_checkpoints_of_others_and_forged_ones_count_for_nothing(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path
) -> None:
    nested = tmp_path / "nested.json"
    nested.write_text("[" * 100_000)
    url = sqlite_house.settings.database_url
    assert (
        "no checkpoint"
        in run(
            "audit", "check", "--checkpoint", nested, TASCO_DATABASE_URL=url, TASCO_PROFILE="demo"
        ).output
    )
    for seal in ({**trail, "count": 1}, {**trail, "kind": "batch"}, {"a": 1}):
        assert checked(sqlite_house, seal, tmp_path).exit_code == 1
    assert checked(sqlite_house, trail, tmp_path, signer="did:key:z6Mk").exit_code == 1


def test_a_checkpoint_that_was_taken_away_is_missed(
    sqlite_house: House, trail: dict[str, Any], tmp_path: Path
) -> None:
    house = sqlite_house
    with house.parts.database.transaction() as db:
        collecting.enter_audit_head(db, wiring.receipt_key(house.parts), now=house.clock.now())
    with house.parts.database.reading() as db:
        newest = collecting.newest_audit_checkpoint(db)
    assert newest is not None
    assert newest["sequence"] == 2
    changed(house, f"DELETE FROM anchor_items WHERE name = 'audit:{newest['count']}'")  # noqa: S608 - ours

    without_last = checked(house, newest, tmp_path)
    with house.parts.database.transaction() as db:
        collecting.enter_audit_head(db, wiring.receipt_key(house.parts), now=house.clock.now())
    changed(house, f"DELETE FROM anchor_items WHERE name = 'audit:{trail['count']}'")  # noqa: S608 - ours
    without_first = checked(house, trail, tmp_path)

    assert (without_last.exit_code, without_first.exit_code) == (1, 1)
    assert "older backup" in without_last.output
    assert "Checkpoint 1 is forged, missing" in without_first.output


@pytest.mark.parametrize("said", [{}, {"count": [1]}, {"count": 0}, {"count": 2**50}, {"root": 5}])
def test_a_strangers_checkpoint_breaks_nothing(
    sqlite_house: House, tmp_path: Path, said: dict[str, Any]
) -> None:
    key = Ed25519PrivateKey.generate()
    seal = signed({"format": FORMAT, "kind": "audit", **said}, key)

    result = checked(sqlite_house, seal, tmp_path, signer=did_of(key))

    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert result.output.startswith("The checkpoint does not say")


def test_the_newest_checkpoint_is_printed(sqlite_house: House, trail: dict[str, Any]) -> None:
    url = sqlite_house.settings.database_url

    shown = run("audit", "checkpoint", TASCO_DATABASE_URL=url, TASCO_PROFILE="demo")

    assert json.loads(shown.output) == trail


def test_receipts_pass_and_fail_on_the_command_line(sqlite_house: House, tmp_path: Path) -> None:
    sqlite_house.site()
    session_id = finished(sqlite_house)
    collect(sqlite_house)
    content = sqlite_house.get(f"/sessions/{session_id}/receipt").content
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(content)
    bad.write_bytes(content.replace(b'"25.5000"', b'"15.5000"'))

    passed, failed = run("verify", good), run("verify", bad)

    assert passed.exit_code == 0
    assert passed.output.startswith("PASS form, hash, inclusion, checkpoint, signature")
    assert failed.exit_code == 1
    assert failed.output.startswith("FAIL hash")


def test_the_chain_of_the_demo_is_not_reached_from_the_command_line(sqlite_url: str) -> None:
    result = run("chain", "status", TASCO_DATABASE_URL=sqlite_url, TASCO_PROFILE="demo")

    assert result.exit_code == 2
    assert "TASCO_LEDGER_URL" in result.output


@NEEDS_A_NODE
@pytest.mark.parametrize(
    "words",
    [
        ("--writer", "garbage"),
        ("--writer", "0x1234"),
        ("--writer", "0x" + "00" * 20),
        ("--writer", "0xF39fd6e51aad88F6F4ce6aB8827279cffFb92266"),  # its first digit is small
        ("--burst", 10**20),
        ("--seconds-per-write", 10**80),
        ("--admin-delay", -1),
    ],
)
def test_a_slip_of_the_pen_deploys_nothing(sqlite_url: str, words: tuple[object, ...]) -> None:
    there = {"TASCO_LEDGER_URL": "http://127.0.0.1:1", "TASCO_LEDGER_KEY": ANVILS_FIRST_KEY}

    result = run("chain", "deploy", *words, TASCO_DATABASE_URL=sqlite_url, **there)

    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    assert "Invalid value" in result.output


@pytest.mark.parametrize(
    ("name", "said"),
    [("TASCO_LEDGER_URL", "A ledger is"), ("TASCO_DATABASE_URL", "no URL of a database")],
)
def test_what_is_no_url_is_named(sqlite_url: str, name: str, said: str) -> None:
    good = {"TASCO_DATABASE_URL": sqlite_url, "TASCO_LEDGER_URL": "http://127.0.0.1:1"}

    result = run("chain", "status", TASCO_PROFILE="demo", **{**good, name: "garbage"})

    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    assert said in result.output


@NEEDS_A_NODE
def test_contracts_are_deployed_on_a_node_and_found_again(sqlite_url: str) -> None:
    variables = {
        "TASCO_DATABASE_URL": sqlite_url,
        "TASCO_PROFILE": "demo",
        "TASCO_LEDGER_URL": NODE_URL,
        "TASCO_LEDGER_KEY": ANVILS_FIRST_KEY,
    }
    before = run("chain", "status", **variables)
    deployed = run("chain", "deploy", **variables)
    again = run("chain", "deploy", **variables)
    anew = run("chain", "deploy", "--anew", **variables)
    after = run("chain", "status", **variables)

    assert (before.exit_code, deployed.exit_code, after.exit_code) == (2, 0, 0), deployed.output
    places = [_places(one) for one in (deployed, again, anew)]
    assert set(places[0]) == {"Directory", *GAS}
    assert places[0] == places[1]
    assert not set(places[1].values()) & set(places[2].values())
    assert "The ledger can be written to." in after.output
    assert ANVILS_FIRST_KEY[2:] not in before.output + deployed.output + after.output


def _places(deployed: Result) -> dict[str, str]:
    rows = (line.split() for line in deployed.output.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[1].startswith("0x")}


@NEEDS_A_NODE
def test_a_key_that_everybody_holds_deploys_nothing_in_production(sqlite_url: str) -> None:
    result = run(
        "chain",
        "deploy",
        TASCO_DATABASE_URL=sqlite_url,
        TASCO_PROFILE="production",
        TASCO_PUBLIC_URL="https://tasco.example",
        TASCO_LEDGER_URL=NODE_URL,
        TASCO_LEDGER_KEY=ANVILS_FIRST_KEY,
    )

    assert result.exit_code == 2
    assert "everybody holds it" in result.output
