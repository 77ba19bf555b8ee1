"""What the chain took for rounds and models: noted when blocks hold them, taken back with them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from backend.adapters.events.outbox import OutboxEvent, record
from backend.cli import app
from backend.features.federated import gas
from backend.features.federated.models import FederatedExperiment, FederatedRound
from backend.settings import read_settings
from tests.conftest import House, house_on
from tests.features.federated_sites import ON_SQLITE, add_sites, experiment, train
from tests.features.test_anchor_statuses import tell
from tests.features.test_anchors import collect, send, sender_of
from tests.tables import rows_of

Json = dict[str, Any]


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """An application with five sites."""
    with house_on(database_url, tmp_path) as made:
        add_sites(made)
        yield made


def on_the_chain(house: House) -> None:
    """Let everything be told, and the gas of it be noted."""
    collect(house)
    send(house)
    house.settle()


def paid(house: House) -> dict[str, int]:
    """Gas by the name that the chain was told, from the transactions themselves."""
    named = {one["id"]: one["name"] for one in rows_of(house.parts.database, "chain_notices")}
    found: dict[str, int] = {}
    for one in rows_of(house.parts.database, "chain_txs"):
        if one["subject"] in named:
            name = named[one["subject"]]
            found[name] = found.get(name, 0) + one["gas_used"]
    return found


def gas_by_round(seen: Json) -> list[int | None]:
    return [one["gas_used"] for one in seen["rounds"]]


def test_the_gas_of_a_round_is_stored_once_a_block_holds_its_verdicts(house: House) -> None:
    summary = train(house, num_rounds=2)
    before = experiment(house, summary)
    on_the_chain(house)

    after = experiment(house, summary)

    took = paid(house)
    rounds = house.get(f"/federated/rounds?experiment_id={after['id']}").json()["data"][::-1]
    assert (before["gas_used"], before["summary"]["gas_used"]) == (None, None)
    assert gas_by_round(before) == [None, None]
    assert gas_by_round(after) == [took[one["id"]] for one in rounds]
    assert [one["metrics"]["gas_used"] for one in rounds] == gas_by_round(after)
    assert after["summary"]["gas_used"] == after["gas_used"] == sum(took.values())
    assert took[after["model_id"]] > 0


@ON_SQLITE
def test_gas_is_exported_by_a_command_that_knows_no_chain(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = train(house, num_rounds=2)
    on_the_chain(house)
    monkeypatch.setenv("TASCO_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    read_settings.cache_clear()

    for form in ("csv", "json"):
        out = str(tmp_path / f"x.{form}")
        words = ["federated", "export", summary["experiment_id"], "--out", out]
        assert CliRunner().invoke(app, words).exit_code == 0

    read_settings.cache_clear()
    seen = experiment(house, summary)
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [int(row["gas_used"]) for row in rows] == gas_by_round(seen)
    whole = json.loads((tmp_path / "x.json").read_text())
    assert whole["gas_used"] == whole["summary"]["gas_used"] == seen["gas_used"]


@ON_SQLITE
def test_a_block_that_goes_away_takes_its_gas_with_it_until_it_is_there_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = train(house, num_rounds=2)
    on_the_chain(house)
    before = experiment(house, summary)
    tell(house, "model.registered", model_id="mdl_1", sha256="a1" * 32)  # something new to send

    monkeypatch.setattr(house.parts.ledger, "next_nonce", lambda _signer: 0)
    sender_of(house).step()
    house.settle()
    gone = experiment(house, summary)
    monkeypatch.undo()
    send(house)
    house.settle()
    again = experiment(house, summary)

    assert (gone["gas_used"], gas_by_round(gone)) == (None, [None, None])
    assert all(gas_by_round(before))
    assert gas_by_round(again) == gas_by_round(before)
    assert again["gas_used"] == again["summary"]["gas_used"] == before["gas_used"]


@ON_SQLITE
def test_what_is_heard_twice_or_of_one_round_alone_is_noted_once(house: House) -> None:
    summary = train(house, num_rounds=2)
    on_the_chain(house)
    before = experiment(house, summary)
    assert gas.MOVED in {one["type"] for one in rows_of(house.parts.database, "outbox")}
    with house.parts.database.transaction() as db:
        moved = update(OutboxEvent).where(OutboxEvent.type == gas.MOVED)
        db.execute(moved.values(delivered_at=None))
        first = db.scalars(select(FederatedRound.id).order_by(FederatedRound.id)).first()
        record(db, gas.MOVED, {"names": [first, "frd_none"]}, now=house.clock.now())

    house.settle()

    assert experiment(house, summary) == before


@ON_SQLITE
def test_gas_that_came_before_the_summary_is_in_it_when_the_experiment_is_closed(
    house: House,
) -> None:
    summary = train(house, num_rounds=1)
    on_the_chain(house)
    before = experiment(house, summary)
    with house.parts.database.transaction() as db:
        row = db.get_one(FederatedExperiment, before["id"])
        row.summary = {**(row.summary or {}), "gas_used": None}
        closed = update(OutboxEvent).where(OutboxEvent.type == "federated.experiment.closed")
        db.execute(closed.values(delivered_at=None))

    house.settle()

    assert experiment(house, summary)["summary"]["gas_used"] == before["gas_used"]


@ON_SQLITE
def test_an_experiment_without_a_summary_has_cost_what_its_rounds_did(house: House) -> None:
    summary = train(house, num_rounds=2)
    on_the_chain(house)
    with house.parts.database.transaction() as db:
        db.execute(update(FederatedExperiment).values(summary=None, state="failed"))

    seen = experiment(house, summary)

    assert seen["gas_used"] == sum(one or 0 for one in gas_by_round(seen)) > 0


def test_what_was_closed_before_gas_was_noted_is_noted_at_the_next_start(
    sqlite_url: str, tmp_path: Path
) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        add_sites(house)
        summary = train(house, num_rounds=2)
        on_the_chain(house)
        before = experiment(house, summary)
        with house.parts.database.transaction() as db:
            for kind, member in ((FederatedRound, "metrics"), (FederatedExperiment, "summary")):
                for row in db.scalars(select(kind)):
                    kept = {k: v for k, v in getattr(row, member).items() if k != "gas_used"}
                    setattr(row, member, kept)
        assert experiment(house, summary)["gas_used"] is None

    with house_on(sqlite_url, tmp_path) as house:
        after = experiment(house, summary)

    assert after == before
