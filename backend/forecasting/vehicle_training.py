"""Everything that is learned of a fleet, in one call that a worker can make."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from backend.forecasting import availability, availability_features, energy_to_full, plug_in_energy
from backend.forecasting.availability import LEADS, TooLittleTelemetry
from backend.forecasting.availability_features import Known
from backend.forecasting.availability_history import PlugHistory
from backend.forecasting.edge_export import PortableModel, export, sample_rows
from backend.forecasting.history import FloatArray
from backend.forecasting.telemetry_features import Fleet

PARITY_ROWS = 2_000
AVAILABILITY = "vehicle_availability"
ENERGY_TO_FULL = "vehicle_energy_to_full"
PLUG_IN_ENERGY = "vehicle_plug_in_energy"


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """One model of a fleet.

    Attributes:
        kind: What it foretells.
        text: LightGBM text.
        features: Columns it expects, in order.
        metrics: Quality on time it had not seen, with that of simple rules.
        conformal: What its answers are corrected by.
        portable: The same model for the edge; None where nobody needs it there.
        is_worth_it: It does better than the simple rules.
    """

    kind: str
    text: str
    features: tuple[str, ...]
    metrics: Mapping[str, float]
    portable: PortableModel | None
    is_worth_it: bool
    conformal: Mapping[str, Any] = field(default_factory=dict)


def train_fleet(fleet: Fleet, *, seed: int = 0) -> list[TrainedPart]:
    """Train what the telemetry is enough for; very short traces are left out.

    Raises:
        TooLittleTelemetry: If it is not even enough for availability.
    """
    kept = _without_short_traces(fleet)
    parts = [_availability(kept, seed=seed)]
    for learn in (_energy_to_full, _plug_in_energy):
        try:
            parts.append(learn(kept, seed=seed))
        except TooLittleTelemetry:
            continue
    return parts


def _without_short_traces(fleet: Fleet) -> Fleet:
    kept = [row for row, trace in enumerate(fleet.traces) if not trace.is_very_short]
    if not kept:
        raise TooLittleTelemetry("no vehicle has two days of telemetry")
    plugs = fleet.plugs
    history = PlugHistory(
        tuple(plugs.vehicle_ids[row] for row in kept),
        plugs.timezone,
        plugs.country,
        plugs.start,
        plugs.state[kept],
    )
    traces = tuple(fleet.traces[row] for row in kept)
    return Fleet(traces, history, fleet.moment_s, fleet.soc_percent[kept], fleet.gap_min)


def _availability(fleet: Fleet, *, seed: int) -> TrainedPart:
    model = availability.train(fleet.plugs, seed=seed)
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    asked = availability.draw(
        known, since=0, until=fleet.plugs.slots, rows=PARITY_ROWS, seed=seed + 2
    )
    rows = availability_features.features(known, asked)
    return TrainedPart(
        AVAILABILITY,
        model.text,
        availability_features.FEATURE_NAMES,
        model.metrics,
        _portable(model.text, rows, AVAILABILITY),
        model.metrics["brier"] < model.metrics["climatology_brier"],
        {"calibration": asdict(model.calibration)},
    )


def _energy_to_full(fleet: Fleet, *, seed: int) -> TrainedPart:
    model = energy_to_full.train(fleet, seed=seed)
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    asked = energy_to_full.draw(
        fleet, known, since=0, until=fleet.plugs.slots, rows=PARITY_ROWS, seed=seed + 2
    )
    rows = energy_to_full.rows_of(fleet, known, asked).features
    return TrainedPart(
        ENERGY_TO_FULL,
        model.text,
        energy_to_full.FEATURE_NAMES,
        model.metrics,
        _portable(model.text, rows, ENERGY_TO_FULL),
        model.metrics["skill_pct"] > 0,
    )


def _plug_in_energy(fleet: Fleet, *, seed: int) -> TrainedPart:
    past = plug_in_energy.charges_of(fleet)
    model = plug_in_energy.train(past, seed=seed)
    return TrainedPart(
        PLUG_IN_ENERGY,
        model.text,
        plug_in_energy.FEATURE_NAMES,
        model.metrics,
        None,
        model.metrics["mae_kwh"] < model.metrics["median_mae_kwh"],
        # One vehicle is asked about without the others' telemetry.
        {"fleet_median_kwh": float(np.median(past.energy_kwh[-plug_in_energy.FLEET_CHARGES :]))},
    )


def _portable(text: str, rows: FloatArray, name: str) -> PortableModel:
    """The model for the edge, checked on rows of its own kind and on such as visit every split."""
    return export(text, np.vstack([rows, sample_rows(text, count=PARITY_ROWS)]), name=name)
