"""`/forecasts/vehicles`, their training, and models for the edge."""

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Response

from backend.components import CurrentParts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.forecasts import edge_service, vehicles_service
from backend.features.forecasts.edge_service import ModelAltered, ModelNotFound, ModelNotPortable
from backend.features.forecasts.vehicles_queries import FleetMemory
from backend.features.forecasts.vehicles_schemas import VehicleForecastView, VehicleTrainingResult
from backend.features.forecasts.vehicles_service import NotEnoughTelemetry
from backend.features.jobs.answers import JobAnswer, WaitForResult, answer_of, job_answers
from backend.features.vehicles.sheets import VehicleNotFound
from backend.features.vehicles.telemetry_router import VehiclePath
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["forecasts"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
ZSTD = "application/zstd"
ModelPath = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["mdl_01KAF0000000000000000000"])
]


@router.post(
    "/forecasts/train-vehicles",
    summary="Train the models of vehicles",
    dependencies=[allow("operator")],
    responses={
        **described(*REFUSED, NotEnoughTelemetry, IdempotencyKeyReused),
        **job_answers(VehicleTrainingResult),
    },
    response_model=VehicleTrainingResult,
)
def train_vehicles(
    holder: CurrentHolder, parts: CurrentParts, claim: ClaimOfRequest, wait: WaitForResult = True
) -> JobAnswer:
    """Learn from everybody's telemetry when vehicles are plugged in and how much they will need."""
    now = parts.clock.now()
    return answer_of(
        parts.database,
        "forecasts.train_vehicles",
        lambda report: vehicles_service.train_vehicles(
            parts.database,
            parts.artifacts,
            compute=parts.compute,
            gap_min=parts.settings.telemetry_gap_min,
            now=now,
            report=report,
        ),
        holder=holder,
        parameters={},
        claim=claim,
        wait=wait,
    )


@router.get(
    "/forecasts/vehicles/{vehicle_did}",
    summary="A vehicle ahead",
    dependencies=[allow("driver", "fleet")],
    responses=described(*REFUSED, VehicleNotFound),
)
def vehicle_forecast(
    vehicle_did: VehiclePath, holder: CurrentHolder, db: ReadDb, parts: CurrentParts
) -> VehicleForecastView:
    """Foretell plug-in and energy to full, 15 minutes to 48 hours ahead.

    Until models are trained, how often the vehicle was there on like days and its last state of
    charge answer; `source` and `energy_source` say so.
    """
    return vehicles_service.forecast_vehicle(
        db,
        vehicle_did,
        holder=holder,
        artifacts=parts.artifacts,
        compute=parts.compute,
        memory=parts.shared.setdefault("fleet_memory", FleetMemory()),
        gap_min=parts.settings.telemetry_gap_min,
        now=parts.clock.now(),
    )


@router.get(
    "/forecasts/models/{model_id}/edge",
    summary="A model for the edge",
    dependencies=[allow("operator", "fleet", "participant", "auditor")],
    response_class=Response,
    responses={
        200: {
            "content": {ZSTD: {"schema": {"type": "string", "format": "binary"}}},
            "description": "ONNX, feature schema, conformal table and hashes, compressed",
        },
        **described(*REFUSED, ModelNotFound, ModelAltered, ModelNotPortable),
    },
)
def edge_bundle(model_id: ModelPath, db: ReadDb, parts: CurrentParts) -> Response:
    """Give the bundle that `python -m backend edge` runs; its hash is in `metrics.edge_sha256`."""
    data, digest = edge_service.bundle_of(
        db, model_id, artifacts=parts.artifacts, compute=parts.compute
    )
    coded = base64.b64encode(bytes.fromhex(digest)).decode()
    headers = {
        "ETag": f'"{digest}"',
        "Repr-Digest": f"sha-256=:{coded}:",
        "Content-Disposition": f'attachment; filename="{model_id}.tasco-edge"',
    }
    return Response(data, media_type=ZSTD, headers=headers)
