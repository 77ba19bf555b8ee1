"""Fleet runs over HTTP: the curve and its baselines, decisions, blocks of the ledger, refusals."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from backend.cli import app
from backend.features.anchors.models import BLOCK, AnchorBatch, AnchorItem
from backend.features.federated import fleet_flows
from backend.features.federated.fleet_flows import flows_of
from backend.features.federated.fleet_models import FleetRun
from backend.features.federated.fleet_planning import RESERVE_SOC, live_by_plan
from backend.features.federated.models import FederatedWeights
from backend.federation import fleet
from backend.federation.fleet_world import CHARGE, DISCHARGE, live_by_rule, make_world
from backend.federation.weights import to_npz
from backend.proofs.merkle import Kind
from backend.settings import read_settings
from tests.conftest import NOON, House, house_on
from tests.features.test_sessions import refused
from tests.tables import rows_of

Json = dict[str, Any]
SMALL: Json = {"vehicles": 20, "steps": 60, "seed": 8}
SHORT: Json = {"vehicles": 10, "steps": 20}
ASKED: Json = {"soc_percent": 20, "price_eur_per_kwh": 0.1, "hour": 2}


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on SQLite: which database it is plays a part in one test only."""
    with house_on(sqlite_url, tmp_path) as made:
        yield made


def run(house: House, **values: Any) -> Json:
    """A run that was waited for."""
    answer = house.post("/federated/fleet/runs?wait=true", {**SMALL, **values})
    assert answer.status_code == 200, answer.text
    result: Json = answer.json()
    return result


def test_a_run_is_a_job_whose_result_has_a_curve_and_its_baselines(house: House) -> None:
    answer = house.post("/federated/fleet/runs", SMALL)

    assert answer.status_code == 202, answer.text
    job = _ended(house, answer.headers["Location"].removeprefix("/api/v1"))
    assert job["state"] == "succeeded"
    result = job["result"]
    assert [one["round_number"] for one in result["curve"]] == [1, 2, 3, 4, 5, 6]
    assert {one["drawn"] for one in result["curve"]} == {10}
    assert result["accuracy"] == result["curve"][-1]["accuracy"]
    assert result["accuracy"] > result["baselines"]["fleet_majority_accuracy"]
    assert (result["privacy"], result["flows_sealed"], result["is_simulated"]) == (None, None, True)
    assert result["model_bytes"] == 4 * 3 * (len(fleet.FEATURE_NAMES) + 1)


def _ended(house: House, path: str) -> Json:
    for _ in range(600):
        job: Json = house.get(path).json()
        if job["state"] in ("succeeded", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_the_newest_model_decides(house: House) -> None:
    first = run(house, **SHORT)
    second = run(house, seed=9)

    answer = house.post("/federated/fleet/decide", ASKED)

    decision = answer.json()
    assert answer.status_code == 200
    assert decision["run_id"] == second["run_id"] != first["run_id"]
    assert decision["model_sha256"] == second["model_sha256"] != first["model_sha256"]
    chances = decision["probabilities"]
    assert decision["action"] == max(chances, key=chances.__getitem__) == "charge"
    assert sum(chances.values()) == pytest.approx(1, abs=1e-9)


def test_runs_can_be_read_again_by_id_and_the_newest_without(house: House) -> None:
    first = run(house, **SHORT)
    second = run(house, **{**SHORT, "seed": 9})

    assert house.get(f"/federated/fleet/runs/{first['run_id']}").json() == first
    assert house.get("/federated/fleet/runs/newest").json() == second
    refused(house.get("/federated/fleet/runs/flt_none"), 404, "fleet_run_not_found")


def test_without_a_model_there_is_no_decision(house: House) -> None:
    refused(house.post("/federated/fleet/decide", ASKED), 409, "no_fleet_model")


def test_a_model_that_was_altered_decides_nothing(house: House) -> None:
    run(house, **SHORT)
    weights = fleet.weights_of(fleet.untrained(1))
    with house.parts.database.transaction() as db:
        db.execute(update(FederatedWeights).values(data=to_npz(weights)))

    refused(house.post("/federated/fleet/decide", ASKED), 409, "weights_altered")


def test_the_same_terms_give_the_same_model(house: House) -> None:
    assert run(house, **SHORT)["model_sha256"] == run(house, **SHORT)["model_sha256"]


def test_the_same_key_finds_the_same_run(house: House) -> None:
    headers = {"Idempotency-Key": "a-run"}

    answers = [
        house.post("/federated/fleet/runs?wait=true", SHORT, headers=headers).json()
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert len(rows_of(house.parts.database, "fleet_runs")) == 1


def test_a_private_run_names_its_unit_and_its_epsilon(house: House) -> None:
    result = run(house, steps=20, privacy={"clip_norm": 0.5, "noise_multiplier": 8.0})

    privacy = result["privacy"]
    assert privacy["privacy_unit"] == "vehicle"
    assert 0 < privacy["epsilon"] < 5
    assert privacy["noise_scale"] == 4.0
    assert "without replacement" in privacy["accounting"]
    first, last = (one["epsilon"] for one in result["curve"])
    assert 0 < first < last == privacy["epsilon"]


def test_a_run_is_exported_from_the_command_line(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASCO_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    read_settings.cache_clear()
    first = run(house, steps=20, privacy={})
    run(house, **SHORT)

    def export(*words: str) -> int:
        return CliRunner().invoke(app, ["federated-fleet", "export", *words]).exit_code

    table, whole = (str(tmp_path / f"x.{form}") for form in ("csv", "json"))
    codes = [
        export(first["run_id"], "--out", table),
        export("--out", whole),
        export("flt_none", "--out", whole),
        export(first["run_id"], "--out", str(tmp_path / "x.xls")),
    ]

    read_settings.cache_clear()
    assert codes == [0, 0, 2, 2]
    rows = list(csv.DictReader(Path(table).read_text().splitlines()))
    for name in ("accuracy", "log_loss", "epsilon", "bytes_moved"):
        assert [float(row[name]) for row in rows] == [one[name] for one in first["curve"]]
    newest = json.loads(Path(whole).read_text())
    assert newest["run_id"] != first["run_id"]
    assert (newest["terms"]["vehicles"], newest["terms"]["steps"]) == (10, 20)
    assert sum(one["bytes_moved"] for one in newest["curve"]) == newest["bytes_moved"]
    assert [one["epsilon"] for one in newest["curve"]] == [None, None]


def test_a_run_that_was_stored_without_the_newer_figures_can_still_be_read(house: House) -> None:
    made = run(house, steps=20, privacy={})
    with house.parts.database.transaction() as db:
        row = db.get_one(FleetRun, made["run_id"])
        newer = ("epsilon", "bytes_moved")
        curve = [{k: v for k, v in one.items() if k not in newer} for one in row.result["curve"]]
        row.result = {**row.result, "curve": curve}

    seen = house.get(f"/federated/fleet/runs/{made['run_id']}").json()

    assert [one["epsilon"] for one in seen["curve"]] == [None, None]
    assert seen["privacy"] == made["privacy"]


def test_every_ten_steps_the_flows_of_the_fleet_are_sealed_in_a_block(
    database_url: str, tmp_path: Path
) -> None:
    with house_on(database_url, tmp_path) as house:
        result = run(house, steps=30, seal_blocks=True)

        house.settle()

        with house.parts.database.reading() as db:
            is_record = AnchorItem.kind == int(Kind.LEDGER_RECORD)
            blocks = db.scalars(select(AnchorBatch).where(AnchorBatch.purpose == BLOCK)).all()
            items = db.scalars(select(AnchorItem).where(is_record)).all()
        assert house.get("/ledger/pending").json()["data"] == []
        assert house.post("/federated/fleet/decide", ASKED).status_code == 200
    world = make_world(20, 30, seed=8)
    energy_kwh = live_by_rule(world).energy_kwh
    assert [one.number for one in blocks] == [1, 2, 3]
    assert [one.count for one in blocks] == [
        sum(item.batch_id == block.id for item in items) for block in blocks
    ]
    assert sum(one.count for one in blocks) == len(items) == result["flows_sealed"]
    # Watt-hours are rounded by step: half of one for each of 600 at most.
    wh_in = sum(one.wh_in or 0 for one in blocks)
    assert wh_in == pytest.approx(1000 * energy_kwh[energy_kwh > 0].sum(), abs=300)
    assert sum(one.wh_out or 0 for one in blocks) == pytest.approx(
        -1000 * energy_kwh[energy_kwh < 0].sum(), abs=300
    )
    record = items[0].record or {}
    assert record["is_simulated"] is True
    assert record["vehicle"].startswith("0x")


def test_flows_heard_twice_are_entered_once(house: House) -> None:
    run(house, steps=10, seal_blocks=True)
    house.settle()
    before = len(rows_of(house.parts.database, "anchor_items"))
    with house.parts.database.transaction() as db:
        outbox = "UPDATE outbox SET delivered_at = NULL WHERE type = :type"
        db.connection().exec_driver_sql(outbox.replace(":type", f"'{fleet_flows.METERED}'"))

    house.settle()

    assert len(rows_of(house.parts.database, "anchor_items")) == before > 0


def test_flows_come_to_the_energy_and_the_money_of_the_simulation() -> None:
    world = make_world(15, 40, seed=3)
    life = live_by_rule(world)

    flows = [
        flow
        for window in (1, 2, 3, 4)
        for flow in flows_of(world, life, window, run_id="x", since=NOON)
    ]

    sign = {"charge": 1, "discharge": -1}
    energy_wh = sum(sign[one["type"]] * one["energy_wh"] for one in flows)
    cost = sum(float(one["cost_eur"]) for one in flows)
    # Half a watt-hour a step; half of 0.0001 EUR a flow and what that watt-hour costs.
    assert energy_wh == pytest.approx(1000 * life.energy_kwh.sum(), abs=300)
    assert cost == pytest.approx((life.energy_kwh * world.price_eur_per_kwh).sum(), abs=0.3)
    assert all(one["started_at"] < one["ended_at"] for one in flows)


def test_the_planner_teaches_to_charge_cheaply_and_keeps_the_reserve() -> None:
    world = make_world(30, 72, seed=4)

    life = live_by_plan(world)

    price = np.broadcast_to(world.price_eur_per_kwh, life.action.shape)
    assert price[life.action == CHARGE].mean() < price[life.action == DISCHARGE].mean() - 0.05
    ruled = live_by_rule(world)
    paid = [float((one.energy_kwh * price).sum()) for one in (life, ruled)]
    assert paid[0] < paid[1]
    gives = life.energy_kwh < 0
    left = life.soc + life.energy_kwh / world.capacity_kwh[:, None]
    assert np.all(left[gives] >= RESERVE_SOC - 1e-6)
    assert np.all(life.energy_kwh[life.action == CHARGE] > 0)
    assert np.all(life.energy_kwh[life.action == DISCHARGE] < 0)


def test_a_fleet_learns_from_plans_too(house: House) -> None:
    result = run(house, labels="planner", steps=30)

    assert result["labels"] == "planner"
    assert len(result["curve"]) == 3


def test_a_run_is_drawn_from_the_command_line(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASCO_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    read_settings.cache_clear()
    result = run(house, steps=20, privacy={})

    drawn, unknown = (
        CliRunner().invoke(
            app, ["plot", "federated-fleet", *named, "--out", str(tmp_path / "x.svg")]
        )
        for named in ([], ["flt_none"])
    )

    read_settings.cache_clear()
    picture = (tmp_path / "x.svg").read_text()
    assert drawn.exit_code == 0, drawn.output
    assert picture.count("<svg") == 1
    assert result["run_id"] in picture
    assert "epsilon so far" in picture
    assert unknown.exit_code == 2


@pytest.mark.parametrize(
    "body",
    [
        {"vehicles": 5_000, "steps": 1_000},
        {"vehicles": 201, "steps": 10, "seal_blocks": True},
    ],
)
def test_a_fleet_that_is_too_large_is_refused(sqlite_url: str, tmp_path: Path, body: Json) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        refused(house.post("/federated/fleet/runs", body), 409, "fleet_too_large")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 9},
        {"vehicles": 1},
        {"labels": "oracle"},
        {"seed": -1},
        {"privacy": {"noise_multiplier": 0.0}},
        {"vehicles": "many"},
    ],
)
def test_what_is_no_fleet_is_refused(sqlite_url: str, tmp_path: Path, wrong: Json) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        refused(house.post("/federated/fleet/runs", SMALL | wrong), 422, "malformed_request")


@pytest.mark.parametrize("wrong", [{"hour": 24}, {"soc_percent": 101}, {"price_eur_per_kwh": 11}])
def test_what_no_vehicle_can_see_is_refused(sqlite_url: str, tmp_path: Path, wrong: Json) -> None:
    with house_on(sqlite_url, tmp_path) as house:
        refused(house.post("/federated/fleet/decide", ASKED | wrong), 422, "malformed_request")
