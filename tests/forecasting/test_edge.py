"""Models made portable, bundles, buffers and sending: the edge without a service."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from backend.edge.buffer import Buffer, PointRefused
from backend.edge.bundle import BundleRefused, Manifest, pack, unpack
from backend.edge.outlook import (
    LocalVehicle,
    NothingKnown,
    answer_of,
    answers_of,
    look_ahead,
)
from backend.edge.sending import Reply, ServiceAway, send
from backend.forecasting.availability_features import FEATURE_NAMES
from backend.forecasting.edge_export import (
    ParityLost,
    PortableModel,
    export,
    nan_is_zero,
    native_answers,
    portable_answers,
    rounded_down,
    sample_rows,
    session_of,
)
from backend.forecasting.history import FloatArray

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
VEHICLE = LocalVehicle("did:denso:vehicle:v1", 60.0, "Europe/Helsinki", "FI")
ROWS, FEATURES = 4_000, len(FEATURE_NAMES)


def rows_to_learn(seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(ROWS, FEATURES)) * 10
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:, 0] = np.abs(np.nan_to_num(rows[:, 0]))  # never missing
    return rows


def trained(objective: str) -> str:
    rows = rows_to_learn()
    signal = np.nan_to_num(rows[:, 1]) + rows[:, 0] - np.nan_to_num(rows[:, 2])
    label = (signal > 0).astype(float) if objective == "binary" else signal
    model = lgb.train(
        {"objective": objective, "num_leaves": 31, "verbosity": -1, "num_threads": 1},
        lgb.Dataset(rows, label=label, feature_name=list(FEATURE_NAMES)),
        num_boost_round=60,
    )
    return str(model.model_to_string())


@pytest.fixture(scope="module")
def classifier() -> str:
    return trained("binary")


@pytest.fixture(scope="module")
def portable(classifier: str) -> PortableModel:
    return export(classifier, rows_to_learn(1), name="test")


def bundle_bytes(model: PortableModel, **changes: Any) -> bytes:
    manifest = Manifest(
        model_id="mdl_1",
        kind="vehicle_availability",
        model_sha256="0" * 64,
        trained_at=NOON.isoformat(),
        features=FEATURE_NAMES,
        nan_is_zero=model.nan_is_zero,
        conformal={"calibration": {"slope": 1.0, "shift": 0.0}},
        onnx_sha256=hashlib.sha256(model.onnx).hexdigest(),
        parity_max=model.parity_max,
        rows_checked=model.rows_checked,
    )
    return pack(replace(manifest, **changes), model.onnx)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Models made portable


@pytest.mark.parametrize("objective", ["binary", "regression", "regression_l1"])
def test_a_portable_model_answers_like_lightgbm_wherever_its_splits_lie(objective: str) -> None:
    text = trained(objective)

    model = export(text, np.vstack([rows_to_learn(2), sample_rows(text, count=2_000)]), name="x")

    assert model.rows_checked == ROWS + 2_000
    assert model.parity_max <= 2e-5
    assert model.nan_is_zero == (0,)


def test_a_value_missing_where_none_was_in_training_counts_as_zero(classifier: str) -> None:
    rows = rows_to_learn(3)
    rows[:, 0] = np.nan
    model = export(classifier, rows, name="x")

    zeroed = rows.copy()
    zeroed[:, 0] = 0.0

    np.testing.assert_allclose(
        portable_answers(session_of(model.onnx), rows, nan_is_zero(classifier)),
        native_answers(classifier, zeroed),
        atol=2e-5,
    )


def test_thresholds_rounded_to_nearest_would_send_rows_down_the_other_branch() -> None:
    edge = float(np.nextafter(np.float32(1.5), np.float32(2.0)))
    between = (1.5 + edge) / 2 + 1e-9  # nearer to the number above
    line = f"split_feature=0\nthreshold={between!r}\n"

    low = float(rounded_down(line).splitlines()[1].removeprefix("threshold="))

    assert float(np.float32(between)) == edge  # what rounding to nearest gives
    assert low == 1.5
    for value in (1.5, edge):
        assert (value <= between) == (value <= low)


def test_the_same_model_gives_the_same_bytes(classifier: str, portable: PortableModel) -> None:
    again = export(classifier, rows_to_learn(1), name="test")

    assert again.onnx == portable.onnx
    assert bundle_bytes(again) == bundle_bytes(portable)


def test_parity_is_not_claimed_on_few_rows(classifier: str) -> None:
    with pytest.raises(ValueError, match="1000 rows"):
        export(classifier, rows_to_learn()[:999], name="x")


def test_a_model_that_lost_parity_is_not_exported(
    classifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "backend.forecasting.edge_export.native_answers",
        lambda text, rows: native_answers(text, rows) + 1e-3,
    )

    with pytest.raises(ParityLost):
        export(classifier, rows_to_learn(1), name="x")


# Bundles


def test_a_bundle_opens_with_its_registered_hash_only(portable: PortableModel) -> None:
    data = bundle_bytes(portable)

    opened = unpack(data, sha256=digest(data).upper())

    assert opened.onnx == portable.onnx
    assert opened.manifest.features == FEATURE_NAMES
    altered = data[:-1] + bytes([data[-1] ^ 1])
    for wrong in (altered, data + b"\0"):
        with pytest.raises(BundleRefused, match="hash"):
            unpack(wrong, sha256=digest(data))


@pytest.mark.parametrize("data", [b"", b"no bundle", b"\x28\xb5\x2f\xfd" + b"\0" * 20])
def test_what_is_no_bundle_is_refused_even_with_its_hash(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        unpack(data, sha256=digest(data))


def test_a_bundle_whose_model_is_not_the_one_it_names_is_refused(portable: PortableModel) -> None:
    data = bundle_bytes(portable, onnx_sha256="1" * 64)

    with pytest.raises(BundleRefused, match="not the one"):
        unpack(data, sha256=digest(data))


def test_a_bundle_of_other_features_is_refused(portable: PortableModel) -> None:
    data = bundle_bytes(portable, features=(*FEATURE_NAMES[:-1], "moon_phase"))

    with pytest.raises(BundleRefused, match="features"):
        answers_of([unpack(data, sha256=digest(data))])


def test_the_model_of_a_bundle_answers_as_before(classifier: str, portable: PortableModel) -> None:
    data, rows = bundle_bytes(portable), rows_to_learn(5)

    answers = answer_of(unpack(data, sha256=digest(data)))(rows)

    np.testing.assert_allclose(answers, native_answers(classifier, rows), atol=2e-5)


# Buffers


def point(minutes_ago: float, **values: Any) -> dict[str, Any]:
    moment = NOON - timedelta(minutes=minutes_ago)
    return {"at": moment.isoformat(), "is_plugged_in": True, "soc_percent": 40.0, **values}


def test_a_buffer_keeps_points_through_a_restart(tmp_path: Path) -> None:
    Buffer(tmp_path / "v1.jsonl").append(point(10))
    Buffer(tmp_path / "v1.jsonl").append(point(5))

    kept = [one.point["at"] for one in Buffer(tmp_path / "v1.jsonl").unsent()]

    assert kept == [point(10)["at"], point(5)["at"]]


def test_a_line_torn_by_a_power_cut_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "v1.jsonl"
    buffer = Buffer(file)
    buffer.append(point(10))
    with file.open("ab") as torn:
        torn.write(b'{"at": "2026-03-')
    assert [one.point["at"] for one in buffer.points()] == [point(10)["at"]]

    buffer.append(point(5))

    assert [one.point["at"] for one in buffer.points()] == [point(10)["at"], point(5)["at"]]


@pytest.mark.parametrize(
    "values",
    [
        {"at": "2026-03-10T12:00:00"},
        {"at": "yesterday"},
        {"is_plugged_in": 1},
        {"soc_percent": -0.1},
        {"soc_percent": 101},
        {"soc_percent": float("nan")},
        {"power_kw": -1},
        {"power_kw": "7"},
    ],
)
def test_an_impossible_point_is_not_kept(tmp_path: Path, values: dict[str, Any]) -> None:
    buffer = Buffer(tmp_path / "v1.jsonl")

    with pytest.raises(PointRefused):
        buffer.append(point(1, **values))

    assert list(buffer.points()) == []


# Sending


class Service:
    """What the service does with batches: a moment is stored once, impossible ones are named."""

    def __init__(self, *, fails: int = 0, bad: float | None = None) -> None:
        self.fails, self.bad = fails, bad
        self.stored: dict[str, Any] = {}
        self.keys: list[str] = []

    def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        assert url == "http://service/api/v1/vehicles/did:denso:vehicle:v1/telemetry"
        self.keys.append(headers["Idempotency-Key"])
        points = json.loads(body)["points"]
        named = [n for n, one in enumerate(points) if one["soc_percent"] == self.bad]
        if named:
            errors = [{"pointer": f"/body/points/{n}/at", "reason": "no"} for n in named]
            return Reply(409, {"errors": errors})
        self.stored.update({one["at"]: one for one in points})
        if self.fails:
            self.fails -= 1
            raise ServiceAway("the line broke after the service had stored them")
        return Reply(200, {})


def delivered(buffer: Buffer, service: Service) -> tuple[int, int]:
    sent = send(buffer, url="http://service/", vehicle_did=VEHICLE.vehicle_did, deliver=service)
    return sent.taken, sent.refused


def test_what_was_buffered_offline_is_sent_once_the_service_is_back(tmp_path: Path) -> None:
    buffer, service = Buffer(tmp_path / "v1.jsonl"), Service(fails=1)
    for minutes in range(30, 0, -1):
        buffer.append(point(minutes))

    with pytest.raises(ServiceAway):
        delivered(buffer, service)
    assert len(list(buffer.unsent())) == 30
    taken = delivered(buffer, service)

    assert taken == (30, 0)
    assert len(service.stored) == 30
    assert service.keys[0] == service.keys[1]  # the same batch has the same key
    assert list(buffer.unsent()) == []
    assert delivered(buffer, service) == (0, 0)


def test_a_refused_point_does_not_hold_up_the_others(tmp_path: Path) -> None:
    buffer, service = Buffer(tmp_path / "v1.jsonl"), Service(bad=99.0)
    for minutes, soc in ((3, 40.0), (2, 99.0), (1, 41.0)):
        buffer.append(point(minutes, soc_percent=soc))

    sent = delivered(buffer, service)

    assert sent == (2, 1)
    assert sorted(one["soc_percent"] for one in service.stored.values()) == [40.0, 41.0]
    aside = json.loads((tmp_path / "v1.jsonl.refused").read_text())
    assert (aside["soc_percent"], aside["reason"]) == (99.0, "no")


def test_a_service_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path / "v1.jsonl")
    buffer.append(point(1))

    with pytest.raises(ServiceAway, match="503"):
        send(
            buffer,
            url="http://service",
            vehicle_did=VEHICLE.vehicle_did,
            deliver=lambda *_: Reply(503, {}),
        )

    assert len(list(buffer.unsent())) == 1


# Looking ahead


def test_a_gateway_looks_ahead_from_its_buffer(tmp_path: Path, portable: PortableModel) -> None:
    buffer, data = Buffer(tmp_path / "v1.jsonl"), bundle_bytes(portable)
    for minutes in (60, 30, 5):
        buffer.append(point(minutes, power_kw=7.0))

    outlook = look_ahead(buffer, VEHICLE, [unpack(data, sha256=digest(data))], now=NOON)

    assert (outlook.source, outlook.energy_source) == ("model", "last_soc")
    assert np.all((outlook.plug_probability >= 0) & (outlook.plug_probability <= 1))
    assert outlook.to_full_percent[0] == pytest.approx(60.0)
    assert not outlook.is_after_gap


def test_without_telemetry_a_gateway_says_so(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path / "v1.jsonl")
    buffer.append(point(-10))

    with pytest.raises(NothingKnown):
        look_ahead(buffer, VEHICLE, [], now=NOON)


def test_the_edge_runs_without_database_and_web_framework(
    tmp_path: Path, portable: PortableModel
) -> None:
    data = bundle_bytes(portable)
    (tmp_path / "model.tasco-edge").write_bytes(data)
    buffer = Buffer(tmp_path / "v1.jsonl")
    for minutes in (60, 30, 5):
        buffer.append(point(minutes))
    program = (
        "import sys; from backend.edge.commands import app\n"
        "try: app(standalone_mode=True)\n"
        "except SystemExit as ended:\n"
        "    heavy = {'sqlalchemy', 'fastapi', 'starlette', 'pydantic', 'lightgbm', 'sklearn'}\n"
        "    sys.stderr.write('LOADED ' + ','.join(sorted(heavy & set(sys.modules))))\n"
        "    raise\n"
    )
    arguments = ["predict", "model.tasco-edge", "--buffer", "v1.jsonl", "--capacity-kwh", "60"]
    arguments += ["--vehicle", VEHICLE.vehicle_did, "--at", NOON.isoformat(), "--sha256"]

    def _run(sha256: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", program, *arguments, sha256],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )

    ran, refused = _run(digest(data)), _run("0" * 64)

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.rpartition("LOADED ")[2] == ""
    said = json.loads(ran.stdout)
    assert (said["source"], len(said["forecasts"])) == ("model", 10)
    assert said["models"] == {"vehicle_availability": digest(data)}
    assert refused.returncode == 2
    assert "registered is 000" in refused.stderr
    assert refused.stdout == ""
