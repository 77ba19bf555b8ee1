"""Training on the fleet's telemetry, and one vehicle ahead."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from importlib.metadata import version as version_of
from typing import Any, Literal

import numpy as np
import structlog
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.outbox import record
from backend.compute import Compute, Overdue, WorkerLost
from backend.database import Database, new_id
from backend.edge.bundle import Manifest, pack
from backend.features.credentials.holder import Holder
from backend.features.forecasts.models import ModelVersion, VehicleForecast
from backend.features.forecasts.vehicles_models import (
    BUNDLE_FILE,
    METRICS_FILE,
    MODEL_FILE,
    SCHEMA_FILE,
    Serving,
    serving,
)
from backend.features.forecasts.vehicles_queries import (
    LEARNED_FROM,
    LOOKED_BACK,
    FleetMemory,
    gathered,
    home_of,
    traces_of,
)
from backend.features.forecasts.vehicles_schemas import (
    PlugInEnergyView,
    VehicleForecastView,
    VehicleModelResult,
    VehicleSlot,
    VehicleTrainingResult,
)
from backend.features.jobs.service import Report
from backend.features.vehicles.models import Vehicle
from backend.features.vehicles.telemetry import require_vehicle
from backend.forecasting import plug_in_energy
from backend.forecasting.availability import LEADS, TooLittleTelemetry
from backend.forecasting.plug_in_energy import Expected
from backend.forecasting.telemetry_features import Fleet, Trace
from backend.forecasting.vehicle_forecast import (
    MINUTES_A_SLOT,
    Texts,
    VehicleOutlook,
    foresee_all,
    foresee_by_texts,
)
from backend.forecasting.vehicle_training import (
    TrainedPart,
    train_fleet,
)
from backend.problems import Problem

log = structlog.get_logger("tasco.forecasts")
TRAINING_TIMEOUT_S = 1_800.0
FORESEEING_TIMEOUT_S = 30.0
ISSUING_TIMEOUT_S = 300.0
NOTHING_EXPECTED = Expected(float("nan"), "none")


class NotEnoughTelemetry(Problem):
    """There is not enough telemetry to train on."""

    status = HTTPStatus.CONFLICT
    fix = "Send a week of telemetry of vehicles that come and go, then train again."


def train_vehicles(
    database: Database,
    artifacts: ArtifactFiles,
    *,
    compute: Compute,
    gap_min: float,
    now: datetime,
    report: Report,
) -> dict[str, Any]:
    """Train on everybody's telemetry; a model that beats the simple rules goes into service.

    Raises:
        NotEnoughTelemetry: If there is too little of it.
    """
    report(0.05, "reading telemetry")
    with database.reading() as db:
        traces = list(traces_of(db, since=now - LEARNED_FROM, until=now))
        home = home_of(db)
    if not traces:
        raise NotEnoughTelemetry("No vehicle has sent telemetry.")
    fleet = gathered(traces, home=home, now=now, gap_min=gap_min)
    report(0.2, f"training on {len(traces)} vehicles")
    try:
        parts = compute.run(train_fleet, TRAINING_TIMEOUT_S, fleet)
    except TooLittleTelemetry as error:
        raise NotEnoughTelemetry(f"{str(error).capitalize()}.") from error
    report(0.9, "storing the models")
    fingerprint = _fingerprint(traces)
    stored = [_store(database, artifacts, part, fingerprint=fingerprint, now=now) for part in parts]
    report(0.95, "issuing forecasts")
    issue_vehicles(database, artifacts, compute=compute, gap_min=gap_min, now=now)
    served = sum(one.status == "champion" for one in stored)
    return VehicleTrainingResult(
        status="success",
        message=f"Trained on {len(traces)} vehicles; {served} of {len(stored)} models serve.",
        vehicles=len(traces),
        models=stored,
    ).model_dump(mode="json")


def _fingerprint(traces: Sequence[Trace]) -> str:
    """SHA-256 over all that was learned from."""
    digest = hashlib.sha256()
    for trace in traces:
        digest.update(trace.vehicle_id.encode() + b"\0")
        for column in (trace.at_s, trace.soc_percent, trace.is_plugged_in, trace.power_kw):
            digest.update(column.tobytes())
    return digest.hexdigest()


def _store(
    database: Database,
    artifacts: ArtifactFiles,
    part: TrainedPart,
    *,
    fingerprint: str,
    now: datetime,
) -> VehicleModelResult:
    version_id = new_id("mdl")
    content = hashlib.sha256("\0".join([part.kind, *part.features, part.text]).encode())
    bundle = _bundle(part, version_id, content.hexdigest(), now)
    metrics: dict[str, Any] = dict(part.metrics)
    files = {MODEL_FILE: part.text}
    if bundle is not None:
        metrics["edge_sha256"] = hashlib.sha256(bundle).hexdigest()
        metrics["edge_bytes"] = len(bundle)
        files[BUNDLE_FILE] = base64.b64encode(bundle).decode()
    files[METRICS_FILE] = json.dumps(metrics, indent=2, sort_keys=True)
    schema = {
        "kind": part.kind,
        "features": list(part.features),
        "conformal": dict(part.conformal),
        "content_hash": content.hexdigest(),
    }
    files[SCHEMA_FILE] = json.dumps(schema, indent=2, sort_keys=True)
    manifest = {"id": version_id, "trained_at": now.isoformat(), "metrics": metrics, **schema}
    digest = artifacts.write(version_id, files, manifest)
    status: Literal["champion", "challenger"] = "champion" if part.is_worth_it else "challenger"
    version = ModelVersion(
        id=version_id,
        kind=part.kind,
        status=status,
        sha256=digest,
        path=version_id,
        metrics=metrics,
        trained_at=now,
        content_hash=content.hexdigest(),
        feature_schema_hash=hashlib.sha256("\0".join(part.features).encode()).hexdigest(),
        data_fingerprint=fingerprint,
        library_versions={"lightgbm": version_of("lightgbm"), "numpy": np.__version__},
    )
    _register(database, version, now=now)
    return VehicleModelResult(
        model_id=version_id, kind=part.kind, status=status, sha256=digest, metrics=metrics
    )


def _bundle(part: TrainedPart, version_id: str, content: str, now: datetime) -> bytes | None:
    if part.portable is None:
        return None
    manifest = Manifest(
        model_id=version_id,
        kind=part.kind,
        model_sha256=content,
        trained_at=now.isoformat(),
        features=part.features,
        nan_is_zero=part.portable.nan_is_zero,
        conformal=part.conformal,
        onnx_sha256=hashlib.sha256(part.portable.onnx).hexdigest(),
        parity_max=part.portable.parity_max,
        rows_checked=part.portable.rows_checked,
    )
    return pack(manifest, part.portable.onnx)


def _register(database: Database, version: ModelVersion, *, now: datetime) -> None:
    """Enter a version; a new champion retires the former one."""
    facts = {"model_id": version.id, "sha256": version.sha256, "status": version.status}
    kind, status = version.kind, version.status
    with database.transaction() as db:
        if status == "champion":
            former = ModelVersion.kind == kind, ModelVersion.status == "champion"
            db.execute(update(ModelVersion).where(*former).values(status="retired", retired_at=now))
        db.add(version)
        record(db, "model.registered", facts, now=now)
    log.info("model.trained", model_id=facts["model_id"], kind=kind, status=status)


def forecast_vehicle(
    db: Session,
    did: str,
    *,
    holder: Holder,
    artifacts: ArtifactFiles,
    compute: Compute,
    memory: FleetMemory,
    gap_min: float,
    now: datetime,
) -> VehicleForecastView:
    """A vehicle ahead, by the models in service, else by simple rules; the answer says which.

    Raises:
        VehicleNotFound: If the vehicle is unknown or somebody else's.
    """
    vehicle = require_vehicle(db, did, holder=holder)
    traces = memory.traces(db, now=now, fresh=did)
    models = serving(db, artifacts)
    if not traces:
        return _view(vehicle, None, models, None, NOTHING_EXPECTED, now=now)
    if traces[-1].vehicle_id != did:
        traces.append(_silent(vehicle))
    fleet = gathered(traces, home=home_of(db), now=now, gap_min=gap_min)
    outlook = _outlook(fleet, models.texts, compute)
    expected = _expected(fleet, models, compute, now=now)
    return _view(vehicle, outlook, models, traces[-1], expected, now=now)


def issue_vehicles(
    database: Database,
    artifacts: ArtifactFiles,
    *,
    compute: Compute,
    gap_min: float,
    now: datetime,
) -> int:
    """Store what the models foretell of every vehicle that spoke lately; gives how many."""
    with database.reading() as db:
        models = serving(db, artifacts)
        if models.availability is None and models.energy_to_full is None:
            return 0
        traces = list(traces_of(db, since=now - LOOKED_BACK, until=now))
        home = home_of(db)
    if not traces:
        return 0
    fleet = gathered(traces, home=home, now=now, gap_min=gap_min)
    try:
        outlooks = compute.run(foresee_all, ISSUING_TIMEOUT_S, fleet, models.texts)
    except (Overdue, WorkerLost) as error:
        log.warning("vehicle_forecasts.late", reason=repr(error))
        return 0
    rows = [
        _issued_row(trace.vehicle_id, outlook, now)
        for trace, outlook in zip(fleet.traces, outlooks, strict=True)
    ]
    with database.transaction() as db:
        dids = [row["vehicle_did"] for row in rows]
        db.execute(delete(VehicleForecast).where(VehicleForecast.vehicle_did.in_(dids)))
        db.execute(insert(VehicleForecast), rows)
    return len(rows)


def _issued_row(did: str, outlook: VehicleOutlook, now: datetime) -> dict[str, Any]:
    has_plugs, has_energy = (
        source == "model" for source in (outlook.source, outlook.energy_source)
    )
    return {
        "vehicle_did": did,
        "issued_at": now,
        "lead_min": outlook.lead_min.tolist(),
        "plug_probability": outlook.plug_probability.tolist() if has_plugs else None,
        "to_full_percent": outlook.to_full_percent.tolist() if has_energy else None,
    }


def _outlook(fleet: Fleet, texts: Texts, compute: Compute) -> VehicleOutlook:
    """What the last vehicle of a fleet will do; simple rules if the models do not answer in time.

    The others matter by their plug-ins alone, so their points stay here.
    """
    last = len(fleet.traces) - 1
    lighter = replace(
        fleet, traces=(*(_without_points(one) for one in fleet.traces[:last]), fleet.traces[last])
    )
    try:
        return compute.run(
            foresee_by_texts, FORESEEING_TIMEOUT_S, lighter, vehicle=last, texts=texts
        )
    except (Overdue, WorkerLost) as error:
        log.warning("vehicle_forecast.fallback", reason=repr(error))
        return foresee_by_texts(lighter, vehicle=last, texts=Texts())


def _expected(fleet: Fleet, models: Serving, compute: Compute, *, now: datetime) -> Expected:
    """What the last vehicle of a fleet would charge; by the simple rule if the model is late."""
    alone = replace(fleet, traces=fleet.traces[-1:])
    asked = {"vehicle": 0, "at_s": int(now.timestamp())}
    median_kwh = models.fleet_median_kwh
    try:
        return compute.run(
            plug_in_energy.foretell,
            FORESEEING_TIMEOUT_S,
            alone,
            **asked,
            text=models.plug_in_text,
            fleet_median_kwh=median_kwh,
        )
    except (Overdue, WorkerLost) as error:
        log.warning("vehicle_forecast.fallback", reason=repr(error))
        return plug_in_energy.foretell(alone, **asked, text=None, fleet_median_kwh=median_kwh)


def _silent(vehicle: Vehicle) -> Trace:
    return Trace(
        vehicle.did,
        vehicle.battery_capacity_kwh,
        np.zeros(0, dtype=np.int64),
        np.zeros(0),
        np.zeros(0, dtype=np.int8),
        np.zeros(0),
    )


def _without_points(trace: Trace) -> Trace:
    none = slice(0, 0)
    return Trace(
        trace.vehicle_id,
        trace.battery_capacity_kwh,
        trace.at_s[none],
        trace.soc_percent[none],
        trace.is_plugged_in[none],
        trace.power_kw[none],
    )


def _view(
    vehicle: Vehicle,
    outlook: VehicleOutlook | None,
    models: Serving,
    trace: Trace | None,
    expected: Expected,
    *,
    now: datetime,
) -> VehicleForecastView:
    plugs = models.availability if outlook and outlook.source == "model" else None
    energy = models.energy_to_full if outlook and outlook.energy_source == "model" else None
    said_at = None
    if trace is not None and len(trace.at_s):
        said_at = datetime.fromtimestamp(int(trace.at_s[-1]), tz=now.tzinfo)
    return VehicleForecastView(
        vehicle_did=vehicle.did,
        issued_at=now,
        source=outlook.source if outlook else "none",
        model_id=plugs.id if plugs else None,
        model_sha256=plugs.sha256 if plugs else None,
        model_kind=plugs.kind if plugs else None,
        energy_source=outlook.energy_source if outlook else "none",
        energy_model_id=energy.id if energy else None,
        energy_model_sha256=energy.sha256 if energy else None,
        energy_model_kind=energy.kind if energy else None,
        telemetry_at=said_at,
        is_after_gap=outlook.is_after_gap if outlook else True,
        battery_capacity_kwh=vehicle.battery_capacity_kwh,
        energy_at_plug_in=_plug_in_view(expected, models),
        forecasts=_slots(vehicle, outlook, now),
    )


def _plug_in_view(expected: Expected, models: Serving) -> PlugInEnergyView:
    version = models.plug_in_energy if expected.source == "model" else None
    return PlugInEnergyView(
        expected_energy_kwh=_known(expected.energy_kwh),
        source=expected.source,
        model_id=version.id if version else None,
        model_sha256=version.sha256 if version else None,
    )


def _slots(vehicle: Vehicle, outlook: VehicleOutlook | None, now: datetime) -> list[VehicleSlot]:
    lead_min = [lead * MINUTES_A_SLOT for lead in LEADS]
    unknown = [float("nan")] * len(lead_min)
    chances = outlook.plug_probability.tolist() if outlook else unknown
    points = outlook.to_full_percent.tolist() if outlook else unknown
    return [
        VehicleSlot(
            horizon_minutes=minutes,
            valid_at=now + timedelta(minutes=minutes),
            plug_probability=_known(chance),
            predicted_energy_to_full=_known(missing),
            predicted_energy_to_full_kwh=_known(missing * vehicle.battery_capacity_kwh / 100),
        )
        for minutes, chance, missing in zip(lead_min, chances, points, strict=True)
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
