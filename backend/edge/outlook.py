"""One vehicle ahead on the gateway: the same features as in the service, models by onnxruntime."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from backend.edge.buffer import Buffer, moment_of
from backend.edge.bundle import Bundle, BundleRefused
from backend.forecasting import availability_features, energy_to_full
from backend.forecasting.availability import Calibration
from backend.forecasting.availability_history import floor_hour
from backend.forecasting.edge_export import portable_answers, session_of
from backend.forecasting.history import FloatArray
from backend.forecasting.telemetry_features import GAP_MIN, Trace, fleet_of, trace_of
from backend.forecasting.vehicle_forecast import Answer, Answers, VehicleOutlook, foresee

AVAILABILITY, ENERGY_TO_FULL = "vehicle_availability", "vehicle_energy_to_full"
FEATURES = {
    AVAILABILITY: availability_features.FEATURE_NAMES,
    ENERGY_TO_FULL: energy_to_full.FEATURE_NAMES,
}
LOOKED_BACK = timedelta(days=57)


class NothingKnown(Exception):
    """The buffer holds no point by then."""


@dataclass(frozen=True, slots=True)
class LocalVehicle:
    """A vehicle as the gateway knows it."""

    vehicle_did: str
    battery_capacity_kwh: float
    timezone: str
    country: str | None = None


def answers_of(bundles: Iterable[Bundle]) -> Answers:
    """The models of some bundles, ready to answer.

    Raises:
        BundleRefused: If one expects other features than this version computes, or is of a kind
            that is not asked here.
    """
    ready: dict[str, Answer] = {}
    calibration = Calibration()
    for bundle in bundles:
        manifest = bundle.manifest
        if FEATURES.get(manifest.kind) != manifest.features:
            raise BundleRefused(f"{manifest.model_id} expects other features than are computed.")
        ready[manifest.kind] = answer_of(bundle)
        if manifest.kind == AVAILABILITY:
            calibration = Calibration(**manifest.conformal.get("calibration", {}))
    return Answers(ready.get(AVAILABILITY), calibration, ready.get(ENERGY_TO_FULL))


def answer_of(bundle: Bundle) -> Answer:
    """What the model of a bundle says to feature rows."""
    session, zeros = session_of(bundle.onnx), bundle.manifest.nan_is_zero

    def _answer(rows: FloatArray) -> FloatArray:
        return portable_answers(session, rows, zeros)

    return _answer


def look_ahead(
    buffer: Buffer,
    vehicle: LocalVehicle,
    bundles: Sequence[Bundle],
    *,
    now: datetime,
    gap_min: float = GAP_MIN,
) -> VehicleOutlook:
    """Foretell plug-in and energy to full from what the gateway has buffered.

    Raises:
        NothingKnown: If it holds no point by now.
        BundleRefused: If a bundle does not fit.
    """
    answers = answers_of(bundles)
    trace = trace_in(buffer, vehicle, since=now - LOOKED_BACK, until=now)
    start = floor_hour(datetime.fromtimestamp(int(trace.at_s[0]), tz=UTC))
    fleet = fleet_of(
        [trace],
        start=start,
        end=now.astimezone(UTC),
        timezone=vehicle.timezone,
        country=vehicle.country,
        gap_min=gap_min,
    )
    return foresee(fleet, vehicle=0, answers=answers)


def trace_in(buffer: Buffer, vehicle: LocalVehicle, *, since: datetime, until: datetime) -> Trace:
    """The buffered points of a span as a trace.

    Raises:
        NothingKnown: If there are none.
    """
    points = [one.point for one in buffer.points()]
    points = [one for one in points if since <= moment_of(one) <= until]
    if not points:
        raise NothingKnown(f"no telemetry up to {until.isoformat()}")
    return trace_of(
        vehicle.vehicle_did,
        vehicle.battery_capacity_kwh,
        at_s=np.array([int(moment_of(one).timestamp()) for one in points]),
        soc_percent=np.array([one.get("soc_percent", np.nan) for one in points], dtype=np.float64),
        is_plugged_in=np.array([one["is_plugged_in"] for one in points], dtype=np.int8),
        power_kw=np.array([one.get("power_kw", np.nan) for one in points], dtype=np.float64),
    )
