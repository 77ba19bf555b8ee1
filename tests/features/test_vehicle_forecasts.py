"""Vehicles ahead over HTTP: before and after training, after gaps, for strangers; edge bundles."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select

from backend.edge.bundle import BundleRefused, unpack
from backend.features.credentials.holder import Holder
from backend.features.forecasts.models import ModelVersion, VehicleForecast
from backend.features.forecasts.vehicles_watching import issue_now
from backend.features.sessions.queries import situation_of
from backend.features.sessions.situation import Situation
from backend.features.sites.models import Site
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.forecasting import plug_in_energy
from backend.forecasting.availability_features import FEATURE_NAMES
from tests.conftest import NOON, House, house_on
from tests.features.fleets import commuters, put
from tests.tables import rows_of

VEHICLE = "did:denso:vehicle:commuter00"
DAYS = 42


@dataclass(frozen=True)
class Trained:
    """A database and its artifacts after training, to copy."""

    folder: Path
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def training(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("vehicles")
    shutil.copy(migrated_sqlite, folder / "tasco.db")
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        house.site()
        put(house.parts.database, commuters(until=NOON, days=DAYS, vehicles=3), now=NOON)
        answer = house.post("/forecasts/train-vehicles")
    assert answer.status_code == 200, answer.text
    return Trained(folder, answer.json())


@pytest.fixture
def trained(training: Trained, tmp_path: Path) -> Iterator[House]:
    folder = tmp_path / "trained"
    shutil.copytree(training.folder, folder)
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        yield house


def forecast(house: House, did: str = VEHICLE) -> dict[str, Any]:
    answer = house.get(f"/forecasts/vehicles/{did}")
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


def column(given: dict[str, Any], name: str) -> list[Any]:
    return [slot[name] for slot in given["forecasts"]]


def model_of(training: Trained, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in training.answer["models"] if one["kind"] == kind)
    return found


# Before training


def register(house: House, did: str = VEHICLE) -> None:
    with house.parts.database.transaction() as db:
        db.add(
            Vehicle(
                did=did,
                battery_capacity_kwh=60.0,
                consumption_wh_per_km=180.0,
                max_charge_power_kw=11.0,
                registered_at=house.clock.now(),
            )
        )


def test_without_telemetry_nothing_is_foretold_and_the_answer_says_so(house: House) -> None:
    register(house)

    given = forecast(house)

    assert (given["source"], given["energy_source"]) == ("none", "none")
    assert given["is_after_gap"] is True
    assert given["telemetry_at"] is given["model_id"] is given["energy_model_id"] is None
    assert column(given, "horizon_minutes") == [
        15, 30, 60, 120, 240, 480, 720, 1440, 2160, 2880,
    ]  # fmt: skip
    assert set(column(given, "plug_probability")) == {None}
    assert given["energy_at_plug_in"]["source"] == "none"
    assert given["energy_at_plug_in"]["expected_energy_kwh"] is None
    assert set(column(given, "predicted_energy_to_full_kwh")) == {None}


def test_before_training_simple_rules_answer(house: House) -> None:
    house.site()
    put(house.parts.database, commuters(until=NOON, days=10, vehicles=1), now=NOON)

    given = forecast(house)

    assert (given["source"], given["energy_source"]) == ("like_day", "last_soc")
    assert given["model_id"] is None
    assert given["energy_at_plug_in"]["source"] == "usual"
    assert given["energy_at_plug_in"]["expected_energy_kwh"] > 0
    with house.parts.database.reading() as db:
        newest = select(TelemetryPoint.soc_percent).order_by(TelemetryPoint.at.desc()).limit(1)
        soc = db.scalar(newest)
    assert soc is not None
    assert column(given, "predicted_energy_to_full") == [pytest.approx(100 - soc)] * 10
    at_noon_tomorrow, tonight = given["forecasts"][7], given["forecasts"][6]
    assert at_noon_tomorrow["plug_probability"] > 0.5 > tonight["plug_probability"]


def test_training_needs_telemetry(house: House) -> None:
    register(house)

    answer = house.post("/forecasts/train-vehicles")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_enough_telemetry")
    assert house.get("/forecasts/models").json()["data"] == []


def test_a_day_of_telemetry_is_too_little(sqlite_house: House) -> None:
    put(sqlite_house.parts.database, commuters(until=NOON, days=1, vehicles=1), now=NOON)

    answer = sqlite_house.post("/forecasts/train-vehicles")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_enough_telemetry")


# After training


def test_training_stores_models_that_beat_the_simple_rules(
    training: Trained, trained: House
) -> None:
    availability = model_of(training, "vehicle_availability")
    energy = model_of(training, "vehicle_energy_to_full")

    assert availability["status"] == energy["status"] == "champion"
    assert availability["metrics"]["brier"] < availability["metrics"]["climatology_brier"]
    assert availability["metrics"]["auc"] > 0.9
    assert energy["metrics"]["skill_pct"] > 0
    listed = trained.get("/forecasts/models").json()["data"]
    assert {one["id"] for one in listed} == {one["model_id"] for one in training.answer["models"]}
    beside = trained.settings.artifacts_dir / availability["model_id"] / "metrics.json"
    assert "auc" in beside.read_text()


def test_after_training_the_models_answer_with_their_hashes(
    training: Trained, trained: House
) -> None:
    given = forecast(trained)

    availability = model_of(training, "vehicle_availability")
    assert (given["source"], given["energy_source"]) == ("model", "model")
    assert given["model_id"] == availability["model_id"]
    assert given["model_sha256"] == availability["sha256"]
    assert given["energy_model_sha256"] == model_of(training, "vehicle_energy_to_full")["sha256"]
    assert given["energy_at_plug_in"]["expected_energy_kwh"] > 0
    assert given["energy_at_plug_in"]["source"] == "usual"  # too few charges to learn from
    assert all(0 <= one <= 1 for one in column(given, "plug_probability"))
    for slot in given["forecasts"]:
        points = slot["predicted_energy_to_full"]
        assert 0 <= points <= 100
        assert slot["predicted_energy_to_full_kwh"] == pytest.approx(0.6 * points)


def test_a_model_of_energy_at_plug_in_answers_with_its_hash(trained: House) -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 20, (400, len(plug_in_energy.FEATURE_NAMES)))
    text = plug_in_energy.fit(rows, rows[:, 3], seed=0)
    schema = {
        "features": list(plug_in_energy.FEATURE_NAMES),
        "conformal": {"fleet_median_kwh": 11.0},
    }
    files = {"model.lightgbm.txt": text, "schema.json": json.dumps(schema)}
    sha256 = trained.parts.artifacts.write("mdl_plug_in", files, {"id": "mdl_plug_in"})
    with trained.parts.database.transaction() as db:
        db.add(
            ModelVersion(
                id="mdl_plug_in",
                kind="vehicle_plug_in_energy",
                status="champion",
                sha256=sha256,
                path="mdl_plug_in",
                metrics={},
                trained_at=NOON,
            )
        )

    said = forecast(trained)["energy_at_plug_in"]

    assert (said["source"], said["model_id"]) == ("model", "mdl_plug_in")
    assert said["model_sha256"] == sha256
    assert 1 < said["expected_energy_kwh"] < 20


def test_a_vehicle_at_work_is_foretold_to_stay_then_go_then_come_back(trained: House) -> None:
    plugged = column(forecast(trained), "plug_probability")

    now, tonight, tomorrow = plugged[0], plugged[6], plugged[7]
    assert now > 0.8
    assert tonight < 0.2
    assert tomorrow > 0.5


def test_after_a_gap_the_present_is_masked(trained: House) -> None:
    trained.clock.advance(hours=5)

    given = forecast(trained)

    assert given["is_after_gap"] is True
    assert given["source"] == "model"
    assert datetime.fromisoformat(given["telemetry_at"]) < NOON


def test_a_new_point_counts_at_once(trained: House) -> None:
    before = forecast(trained)
    trained.clock.advance(minutes=3)
    point = {"at": trained.clock.now().isoformat(), "is_plugged_in": False, "soc_percent": 12.0}
    trained.post(f"/vehicles/{VEHICLE}/telemetry", {"points": [point]})

    after = forecast(trained)

    energy = [one["forecasts"][0]["predicted_energy_to_full"] for one in (before, after)]
    assert energy[1] > energy[0] + 20
    assert after["forecasts"][0]["plug_probability"] < before["forecasts"][0]["plug_probability"]


def test_an_altered_model_is_not_used(training: Trained, trained: House) -> None:
    name = model_of(training, "vehicle_availability")["model_id"]
    file = trained.settings.artifacts_dir / name / "model.lightgbm.txt"
    file.write_text(file.read_text().replace("leaf_value=", "leaf_value=1", 1))

    given = forecast(trained)

    assert (given["source"], given["model_id"]) == ("like_day", None)
    assert given["energy_source"] == "model"


def _as(house: House, holder: Holder) -> None:
    house.app.state.parts = replace(house.parts, door=lambda *_: holder)


def test_someone_elses_vehicle_looks_unknown(sqlite_house: House) -> None:
    register(sqlite_house)
    _as(sqlite_house, Holder("did:example:driver", frozenset({"driver"}), "verified"))

    answers = [
        sqlite_house.get(f"/forecasts/vehicles/{did}")
        for did in (VEHICLE, "did:denso:vehicle:nobody")
    ]

    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


# What sessions make of it


def foretell(
    house: House,
    did: str,
    *,
    plugged: list[float] | None = None,
    to_full: list[float] | None = None,
    minutes_ago: float = 0,
) -> None:
    """Store a forecast as if models had issued it."""
    with house.parts.database.transaction() as db:
        db.execute(delete(VehicleForecast).where(VehicleForecast.vehicle_did == did))
        db.add(
            VehicleForecast(
                vehicle_did=did,
                issued_at=house.clock.now() - timedelta(minutes=minutes_ago),
                lead_min=[60, 120, 240],
                plug_probability=plugged,
                to_full_percent=to_full,
            )
        )


def starting(house: House, number: int = 1) -> dict[str, Any]:
    body = house.start_body(number=number)
    body["vehicle"]["current_soc_percent"] = None
    return body


def heard(house: House, did: str, *, hours_ago: float, soc: float) -> None:
    register(house, did)
    moment = house.clock.now() - timedelta(hours=hours_ago)
    point = {"at": moment.isoformat(), "is_plugged_in": False, "soc_percent": soc}
    assert house.post(f"/vehicles/{did}/telemetry", {"points": [point]}).status_code == 200


@pytest.mark.parametrize(
    ("hours_ago", "source", "soc"), [(5, "forecast", 30.0), (3, "telemetry", 80.0)]
)
def test_old_telemetry_gives_way_to_the_forecast(
    sqlite_house: House, hours_ago: float, source: str, soc: float
) -> None:
    sqlite_house.site()
    body = starting(sqlite_house)
    did = body["vehicle"]["did"]
    heard(sqlite_house, did, hours_ago=hours_ago, soc=80.0)
    foretell(sqlite_house, did, to_full=[70.0, 70.0, 70.0])

    plan = sqlite_house.post("/sessions/start", body).json()["plan"]

    assert plan["soc_source"] == source
    capacity_kwh = body["vehicle"]["battery_capacity_kwh"]
    assert plan["current_energy_kwh"] == pytest.approx(capacity_kwh * soc / 100)


def test_a_forecast_of_over_an_hour_ago_is_not_used(sqlite_house: House) -> None:
    sqlite_house.site()
    body = starting(sqlite_house)
    heard(sqlite_house, body["vehicle"]["did"], hours_ago=9, soc=80.0)
    foretell(sqlite_house, body["vehicle"]["did"], to_full=[70.0] * 3, minutes_ago=61)

    assert sqlite_house.post("/sessions/start", body).json()["plan"]["soc_source"] == "telemetry"


def situation(house: House) -> Situation:
    with house.parts.database.reading() as db:
        return situation_of(db, db.get_one(Site, "site_hq"), now=house.clock.now())


def test_a_vehicle_that_is_foretold_to_leave_is_available_until_then(house: House) -> None:
    house.site()
    body = house.start_body()
    did = body["vehicle"]["did"]
    foretell_before = {"plugged": [0.0, 0.0, 0.0]}
    assert house.post("/sessions/start", body).status_code == 200
    foretell(house, did, minutes_ago=1, **foretell_before)
    before = situation(house).sessions[0].available_until

    house.clock.advance(minutes=10)
    foretell(house, did, plugged=[1.0, 0.7, 0.1])
    after = situation(house).sessions[0].available_until

    assert before is None  # what was foretold before it came knows nothing of its being here
    assert after == house.clock.now() + timedelta(minutes=90)


def test_training_foretells_every_vehicle_for_the_planner(trained: House) -> None:
    rows = rows_of(trained.parts.database, "vehicle_forecasts")

    assert len(rows) == 3
    assert all(len(one["plug_probability"]) == len(one["lead_min"]) == 10 for one in rows)
    trained.clock.advance(minutes=15)
    assert issue_now(trained.parts) == 3
    again = rows_of(trained.parts.database, "vehicle_forecasts")
    assert {one["issued_at"] for one in again} == {trained.clock.now()}


def test_a_session_is_telemetry_of_its_vehicle(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(minutes=30)
    reading = {
        "at": house.clock.now().isoformat(),
        "energy_delivered_kwh": 2.0,
        "power_kw": 11.0,
        "soc_percent": 55.0,
    }
    metered = house.post(f"/sessions/{session_id}/meter-values", {"values": [reading]})
    assert metered.status_code in (200, 201, 202), metered.text
    house.clock.advance(minutes=30)
    done = {"energy_delivered_kwh": 4.0, "final_soc_percent": 60.0}
    assert house.post(f"/sessions/{session_id}/complete", done).status_code == 200

    rows = rows_of(house.parts.database, "vehicle_telemetry")

    said = [(one["is_plugged_in"], one["soc_percent"], one["power_kw"]) for one in rows]
    assert said == [(True, None, None), (True, 55.0, 11.0), (False, 60.0, None)]


# The edge


def test_the_edge_bundle_is_the_registered_one(training: Trained, trained: House) -> None:
    model = model_of(training, "vehicle_availability")

    answer = trained.get(f"/forecasts/models/{model['model_id']}/edge")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zstd"
    digest = hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["ETag"] == f'"{digest}"'
    assert digest == model["metrics"]["edge_sha256"]
    bundle = unpack(answer.content, sha256=digest)
    assert bundle.manifest.features == FEATURE_NAMES
    assert bundle.manifest.rows_checked >= 1_000
    assert bundle.manifest.parity_max <= 2e-5
    assert len(answer.content) <= 40_000
    with pytest.raises(BundleRefused):
        unpack(answer.content, sha256="0" * 64)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("vehicle_plug_in_energy", 409, "model_not_portable"), (None, 404, "model_not_found")],
)
def test_what_has_no_bundle_says_so(
    trained: House, kind: str | None, status: int, code: str
) -> None:
    with trained.parts.database.transaction() as db:
        known = db.scalar(select(ModelVersion).where(ModelVersion.kind == kind))
    model_id = "mdl_nothing"
    if kind is not None:
        name, files = "mdl_stays", {"model.lightgbm.txt": "tree"}
        digest = trained.parts.artifacts.write(name, files, {})
        model_id = known.id if known else _enter(trained, name, kind, digest)

    answer = trained.get(f"/forecasts/models/{model_id}/edge")

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def _enter(house: House, name: str, kind: str, digest: str) -> str:
    with house.parts.database.transaction() as db:
        db.add(
            ModelVersion(
                id=name,
                kind=kind,
                status="challenger",
                sha256=digest,
                path=name,
                metrics={},
                trained_at=NOON - timedelta(days=1),
            )
        )
    return name


def test_an_altered_model_is_not_given_to_the_edge(training: Trained, trained: House) -> None:
    name = model_of(training, "vehicle_availability")["model_id"]
    (trained.settings.artifacts_dir / name / "edge.bundle.b64").write_text("AAAA")

    answer = trained.get(f"/forecasts/models/{name}/edge")

    assert (answer.status_code, answer.json()["code"]) == (409, "model_altered")
