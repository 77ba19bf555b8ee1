"""Trees over HTTP: demonstration sites grow them together; too little data is refused."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, select

from backend.features.credentials.models import FleetVehicle
from backend.features.federated.embedded import Keys
from backend.features.federated.trees_grouping import grouping_of
from backend.features.federated.trees_rows import FEATURES
from backend.features.forecasts.models import ModelVersion
from backend.features.forecasts.vehicles_queries import (
    LOOKED_BACK,
    gathered,
    home_of,
    traces_of,
)
from backend.features.sessions.homes import home_sites
from backend.features.sessions.models import ChargingSession
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.federation.signing import Signer
from backend.forecasting.availability import LEADS
from backend.forecasting.availability_features import Known, Questions, features
from tests.conftest import NOON, House, house_on
from tests.features.fleets import commuters, put
from tests.features.test_sessions import refused
from tests.tables import rows_of

Json = dict[str, Any]
RUNS = "/federated/trees/runs"
ENERGY: Json = {"target": "energy_to_full", "rounds": 2, "trees_per_round": 3}
PLUGS: Json = {**ENERGY, "target": "plug_availability"}
DAYS = 10


@pytest.fixture(scope="module")
def shown(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten days of the demonstration, to copy."""
    folder = tmp_path_factory.mktemp("trees")
    shutil.copy(migrated_sqlite, folder / "tasco.db")
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        assert house.post(f"/demo/generate-data?days={DAYS}").status_code == 200
    return folder


@pytest.fixture
def demo(shown: Path, tmp_path: Path) -> Iterator[House]:
    folder = tmp_path / "demo"
    shutil.copytree(shown, folder)
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        yield house


@pytest.fixture
def empty(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    with house_on(sqlite_url, tmp_path) as house:
        yield house


def run(house: House, asked: Json) -> Json:
    answer = house.post(f"{RUNS}?wait=true", asked)
    assert answer.status_code == 200, answer.text
    result: Json = answer.json()
    return result


def mae(result: Json, case: str) -> float:
    return float(result["over_all"][case]["mae_points"])


def test_a_run_is_a_job_in_which_sites_learn_energy_to_full(demo: House) -> None:
    answer = demo.post(RUNS, ENERGY)

    assert answer.status_code == 202, answer.text
    job = _ended(demo, answer.headers["Location"].removeprefix("/api/v1"))
    assert job["state"] == "succeeded", job["error"]
    result = job["result"]
    names = [one["participant"] for one in result["participants"]]
    assert result["grouped_by"] == "home_site"
    assert result["is_simulated"] is True
    assert len(names) >= 3
    assert {one["participant"] for one in result["left_out"]} | set(names) <= {
        site["site_id"] for site in demo.get("/sites").json()["data"]
    }
    assert [one["round_number"] for one in result["rounds"]] == [1, 2]
    for one in result["rounds"]:
        said = [verdict["participant"] for verdict in one["verdicts"]]
        assert said == sorted(names)
        assert one["accepted"] == [v["verdict"] for v in one["verdicts"]].count("accepted") > 0
    assert mae(result, "together") < mae(result, "simple_rule")
    assert mae(result, "central") < mae(result, "simple_rule")


def _ended(house: House, path: str) -> Json:
    for _ in range(1_200):
        job: Json = house.get(path).json()
        if job["state"] in ("succeeded", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_sites_learn_plug_availability_better_than_like_days_say(demo: House) -> None:
    result = run(demo, {**PLUGS, "rounds": 4})

    over_all = result["over_all"]
    assert over_all["together"]["auc"] > over_all["simple_rule"]["auc"] + 0.01
    assert over_all["together"]["log_loss"] < over_all["simple_rule"]["log_loss"]
    assert over_all["together"]["mae_points"] is None
    assert all(one["rows_test"] >= 50 for one in result["participants"])


def test_the_figures_over_all_are_the_mean_over_all_test_rows(demo: House) -> None:
    result = run(demo, ENERGY)

    rows = [one["rows_test"] for one in result["participants"]]
    for case in ("simple_rule", "alone", "together", "central"):
        each = [one[case]["mae_points"] for one in result["participants"]]
        assert mae(result, case) == pytest.approx(np.average(each, weights=rows), rel=1e-9)


def test_the_model_is_registered_by_its_hash_and_can_be_read_again(demo: House) -> None:
    result = run(demo, ENERGY)

    assert demo.get(f"{RUNS}/{result['run_id']}").json() == result
    version = rows_of(demo.parts.database, "model_versions")[0]
    assert version["kind"] == "federated_energy_to_full"
    assert version["content_hash"] == result["model_sha256"]
    assert version["sha256"] == result["artefact_sha256"]
    told = [e["data"] for e in rows_of(demo.parts.database, "outbox") if "model" in e["type"]]
    assert told[-1]["content_hash"] == result["model_sha256"]
    model = demo.get(f"{RUNS}/{result['run_id']}/model")
    assert model.headers["Tasco-Content-Hash"] == result["model_sha256"]
    assert len(model.content) == result["model_bytes"]
    booster = lightgbm.Booster(model_str=model.text)
    assert booster.num_feature() == len(FEATURES["energy_to_full"])
    assert booster.num_trees() == result["trees"]


def test_the_same_terms_give_the_same_trees_and_another_seed_gives_others(demo: House) -> None:
    hashes = [run(demo, {**ENERGY, "seed": seed})["model_sha256"] for seed in (1, 1, 2)]

    assert hashes[0] == hashes[1] != hashes[2]


def foretold(house: House) -> Json:
    """A vehicle ahead: the first that has sent telemetry."""
    with house.parts.database.reading() as db:
        did = db.scalar(select(TelemetryPoint.vehicle_did).order_by(TelemetryPoint.vehicle_did))
    view: Json = house.get(f"/forecasts/vehicles/{did}").json()
    return view


def test_where_there_is_no_other_model_the_one_grown_together_foretells_vehicles(
    demo: House,
) -> None:
    before = foretold(demo)

    result = run(demo, ENERGY)

    after = foretold(demo)
    assert (before["energy_source"], before["energy_model_kind"]) == ("last_soc", None)
    assert (after["energy_source"], after["energy_model_kind"]) == (
        "model",
        "federated_energy_to_full",
    )
    assert after["energy_model_id"] == result["run_id"]
    assert after["energy_model_sha256"] == result["artefact_sha256"]
    assert after["source"] == "like_day"
    points = [
        [one["predicted_energy_to_full"] for one in view["forecasts"]] for view in (before, after)
    ]
    assert points[0] != points[1]
    assert all(0 <= one <= 100 for one in points[1])


def test_chances_of_the_model_grown_together_are_those_of_its_trees(demo: House) -> None:
    run(demo, {**PLUGS, "rounds": 4})

    view = foretold(demo)

    assert view["model_kind"] == "federated_availability"
    model = demo.get(f"{RUNS}/{view['model_id']}/model").text
    with demo.parts.database.reading() as db:
        traces = list(traces_of(db, since=NOON - LOOKED_BACK, until=demo.clock.now()))
        home = home_of(db)
    fleet = gathered(traces, home=home, now=demo.clock.now(), gap_min=240)
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    at = [one.vehicle_id for one in traces].index(view["vehicle_did"])
    lead = np.array(LEADS)
    asked = Questions(np.full(len(lead), at), np.full(len(lead), fleet.plugs.slots - 1), lead)
    booster = lightgbm.Booster(model_str=model)
    raw = np.asarray(booster.predict(features(known, asked), raw_score=True))
    np.testing.assert_allclose(
        [one["plug_probability"] for one in view["forecasts"]], 1 / (1 + np.exp(-raw)), rtol=1e-9
    )


def test_a_model_grown_together_whose_files_were_altered_foretells_nothing(demo: House) -> None:
    run_id = run(demo, ENERGY)["run_id"]
    file = demo.settings.artifacts_dir / run_id / "model.lightgbm.txt"
    file.write_text(file.read_text().replace("leaf_value=", "leaf_value=9", 1))

    assert foretold(demo)["energy_source"] == "last_soc"


def test_the_services_own_model_gives_way_only_to_one_that_did_better_on_the_same_rows(
    demo: House,
) -> None:
    trained = demo.post("/forecasts/train-vehicles").json()["models"]
    own = next(one for one in trained if one["kind"] == "vehicle_energy_to_full")
    assert own["status"] == "champion"

    result = run(demo, ENERGY)

    is_beaten = mae(result, "together") < mae(result, "served")
    versions = {one["id"]: one for one in rows_of(demo.parts.database, "model_versions")}
    version = versions[result["run_id"]]
    assert version["decision"]["better_than"] == (own["model_id"] if is_beaten else None)
    for better_than in (own["model_id"], "mdl_other"):
        with demo.parts.database.transaction() as db:
            decided = {"reason": "", "better_than": better_than}
            db.get_one(ModelVersion, result["run_id"]).decision = decided
        is_served = foretold(demo)["energy_model_id"] == result["run_id"]
        assert is_served == (better_than == own["model_id"])


def test_who_signs_with_another_key_than_the_enrolled_one_is_left_out(
    demo: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [one["participant"] for one in run(demo, ENERGY)["participants"]]
    own, other = Keys.signer_of, Signer(Ed25519PrivateKey.generate())
    monkeypatch.setattr(
        Keys, "signer_of", lambda keys, name: other if name == names[0] else own(keys, name)
    )

    result = run(demo, ENERGY)

    assert [one["participant"] for one in result["participants"]] == names[1:]
    assert {"participant": names[0], "reason": "stranger"} in result["left_out"]
    for one in result["rounds"]:
        assert [verdict["participant"] for verdict in one["verdicts"]] == names[1:]


def test_nothing_that_is_told_names_a_vehicle_or_a_person(demo: House) -> None:
    result = demo.post(f"{RUNS}?wait=true", ENERGY).text

    assert "did:" not in result


def test_the_examples_of_the_document_run(demo: House) -> None:
    schema = demo.client.get("/openapi.json").json()["components"]["schemas"]["TreesRunNew"]

    results = [run(demo, one) for one in schema["examples"]]

    assert [one["target"] for one in results] == ["energy_to_full", "plug_availability"]


def test_a_model_whose_files_were_altered_is_not_given_out(demo: House) -> None:
    run_id = run(demo, ENERGY)["run_id"]
    file = demo.settings.artifacts_dir / run_id / "model.lightgbm.txt"
    file.write_text(file.read_text().replace("leaf_value=", "leaf_value=9", 1))

    refused(demo.get(f"{RUNS}/{run_id}"), 409, "weights_altered")
    refused(demo.get(f"{RUNS}/{run_id}/model"), 409, "weights_altered")


def test_a_site_with_too_few_rows_is_left_out_and_named(demo: House) -> None:
    with demo.parts.database.transaction() as db:
        homes = home_sites(db)
        site = min(homes.values())
        its = [did for did, home in homes.items() if home == site]
        late = TelemetryPoint.at > NOON.replace(day=9)
        db.execute(delete(TelemetryPoint).where(TelemetryPoint.vehicle_did.in_(its), ~late))

    result = run(demo, ENERGY)

    assert site in {one["participant"] for one in result["left_out"]}
    assert site not in {one["participant"] for one in result["participants"]}


def test_too_few_sites_with_rows_enough_are_refused_with_their_counts(demo: House) -> None:
    with demo.parts.database.transaction() as db:
        late = TelemetryPoint.at > NOON.replace(day=7)
        db.execute(delete(TelemetryPoint).where(~late))

    problem = refused(demo.post(f"{RUNS}?wait=true", ENERGY), 409, "too_few_for_trees")

    assert "0 of" in problem["detail"]
    assert "250 + 50 + 50 are needed" in problem["detail"]
    assert rows_of(demo.parts.database, "model_versions") == []


def test_without_telemetry_the_refusal_comes_at_once(empty: House) -> None:
    for asked in (ENERGY, PLUGS):
        problem = refused(empty.post(RUNS, asked), 409, "too_few_for_trees")

        assert problem["detail"].startswith("0 vehicles sent telemetry")
    assert rows_of(empty.parts.database, "jobs") == []


def test_where_no_home_is_known_availability_is_learned_by_fleets(empty: House) -> None:
    vehicles = commuters(until=NOON, days=18, vehicles=6)
    put(empty.parts.database, vehicles, now=NOON)
    with empty.parts.database.transaction() as db:
        for place, one in enumerate(vehicles):
            fleet = f"fleet_{place % 3}"
            row = FleetVehicle(vehicle_did=one.vehicle_id, fleet_id=fleet, assigned_at=NOON)
            row.assigned_by = "did:x:somebody"
            db.add(row)

    result = run(empty, PLUGS)

    assert result["grouped_by"] == "fleet"
    assert [one["participant"] for one in result["participants"]] == [
        "fleet_0", "fleet_1", "fleet_2",
    ]  # fmt: skip
    assert [one["vehicles"] for one in result["participants"]] == [2, 2, 2]
    assert result["is_simulated"] is None
    refused(empty.post(RUNS, ENERGY), 409, "too_few_for_trees")


def test_where_no_fleet_is_known_either_vehicles_are_grouped_by_their_names(house: House) -> None:
    put(house.parts.database, commuters(until=NOON, days=2, vehicles=8), now=NOON)
    with house.parts.database.reading() as db:
        first, second = (
            grouping_of(db, "plug_availability", home_sites=home_sites, seed=seed)
            for seed in (1, 2)
        )

    assert first == second
    assert first.by == "vehicle_group"
    assert sum(map(len, first.members.values())) == 8
    assert first.left_over == 0


def test_of_many_sites_some_are_drawn_by_the_seed(house: House) -> None:
    dids = [f"did:x:{number}" for number in range(30)]
    with house.parts.database.transaction() as db:
        for did in dids:
            db.add(_vehicle(did))
        db.flush()
        for did in dids:
            db.add(_point(did))
    homes = {did: f"site_{number}" for number, did in enumerate(dids)}

    with house.parts.database.reading() as db:
        drawn = [
            grouping_of(db, "energy_to_full", home_sites=lambda _: homes, seed=seed)
            for seed in (1, 1, 2)
        ]

    assert [len(one.members) for one in drawn] == [24] * 3
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].left_over == 6


def _vehicle(did: str) -> Vehicle:
    return Vehicle(
        did=did,
        battery_capacity_kwh=60.0,
        consumption_wh_per_km=180.0,
        max_charge_power_kw=11.0,
        registered_at=NOON,
    )


def _point(did: str) -> TelemetryPoint:
    return TelemetryPoint(
        vehicle_did=did, at=NOON, is_plugged_in=True, soc_percent=50.0, power_kw=0.0,
        available_at=NOON,
    )  # fmt: skip


def test_a_vehicle_is_at_home_where_it_charged_most_often(house: House) -> None:
    assert house.post("/demo/generate-data?days=2").status_code == 200

    with house.parts.database.reading() as db:
        homes = home_sites(db)
        sessions = db.execute(select(ChargingSession.vehicle_did, ChargingSession.site_id)).all()

    assert homes
    for vehicle, home in homes.items():
        visited = [site for did, site in sessions if did == vehicle]
        most = max(visited.count(site) for site in set(visited))
        assert home == min(site for site in set(visited) if visited.count(site) == most)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "weather"},
        {"rounds": 0},
        {"rounds": 13},
        {"trees_per_round": 11},
        {"seed": -1},
        {"sites": ["site_hq"]},
    ],
)
def test_what_is_no_run_is_refused(empty: House, wrong: Json) -> None:
    refused(empty.post(RUNS, ENERGY | wrong), 422, "malformed_request")


def test_what_is_no_run_of_trees_is_not_found(demo: House) -> None:
    with demo.parts.database.transaction() as db:
        other = {"kind": "demand", "status": "champion", "path": "mdl_x", "metrics": {}}
        db.add(ModelVersion(id="mdl_x", sha256="0" * 64, trained_at=NOON, **other))

    for run_id in ("trr_none", "mdl_x"):
        refused(demo.get(f"{RUNS}/{run_id}"), 404, "trees_run_not_found")
