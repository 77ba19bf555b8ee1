"""Figures of vehicles: availability, energy at plug-in, energy to full, and the edge bundle.

Plug-ins are the real ones of jpl_vehicle_sessions.csv. Availability: trained to 2019-09-15, tested
on questions drawn from every half hour of 2019-10-15 to 12-20 about vehicles with four plug-ins in
28 days, at 15 and 30 minutes, 1, 2, 4, 8, 12, 24, 36 and 48 hours, pooled. Energy at plug-in: the
same windows, drivers with at least four charges before. Energy to full: on simulated telemetry of
the forty most frequent vehicles (no real one could be had), 2019-04-01 to 12-20, last fifth. A row
at the edge: the median and the 99th percentile of the quietest of some blocks of calls, because
others use the machine as well.
"""

import csv
import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from backend.edge.bundle import Manifest, pack, unpack
from backend.forecasting import availability, availability_features, energy_to_full, plug_in_energy
from backend.forecasting.availability import LEADS, Calibration
from backend.forecasting.availability_features import Known, Questions, without_live
from backend.forecasting.availability_history import PlugHistory
from backend.forecasting.edge_export import INPUT, PortableModel, export, session_of
from backend.forecasting.history import FloatArray, IntArray
from backend.forecasting.telemetry_features import Trace, fleet_of, trace_of
from backend.forecasting.telemetry_simulation import RecordedStays, simulate

ZONE = "America/Los_Angeles"
FIRST = datetime(2018, 10, 8, 7, tzinfo=UTC)
TRAINED_TO = datetime(2019, 9, 15, tzinfo=UTC)
TESTED = datetime(2019, 10, 15, tzinfo=UTC), datetime(2019, 12, 20, tzinfo=UTC)
LAST = datetime(2019, 12, 31, tzinfo=UTC)
SIMULATED_FROM = datetime(2019, 4, 1, tzinfo=UTC)
TRAINING_ROWS, TEST_ROWS = 320_000, 238_000
CHARGES_BEFORE = 4
VEHICLES_SIMULATED = 40
BLOCKS, CALLS = 8, 800
KEYS = (
    "availability_auc",
    "availability_auc_1h",
    "availability_ece",
    "availability_after_gap_auc",
    "energy_at_plug_in_mae_kwh",
    "energy_to_full_skill_pct",
    "edge_bundle_kb",
    "edge_row_us_p50",
    "onnx_parity_max",
)

Rows = list[dict[str, str]]
Figures = dict[str, Any]


def figures(data: Path) -> Figures:
    """Every figure of this file, with its baselines; all of `KEYS` null where data are missing.

    Args:
        data: Folder with `demand/jpl_vehicle_sessions.csv`, or that folder itself.
    """
    file = next(
        (one for one in (data / "demand", data) if (one / "jpl_vehicle_sessions.csv").exists()),
        None,
    )
    if file is None:
        return dict.fromkeys(KEYS)
    with (file / "jpl_vehicle_sessions.csv").open() as sheet:
        rows = sorted(csv.DictReader(sheet), key=lambda row: _seconds(row["plug_in"]))
    found, text, features = availability_figures(rows)
    return {
        **found,
        **edge_figures(text, features),
        **plug_in_energy_figures(rows),
        **energy_to_full_figures(rows),
    }


def availability_figures(rows: Rows) -> tuple[Figures, str, FloatArray]:
    """AUC, Brier score and calibration on the test window, by horizon and after a gap."""
    began = time.process_time()
    history = plug_history(rows, until=LAST)
    known = Known.of(history, slots_ahead=max(LEADS))
    past = _drawn(known, since=FIRST, until=TRAINED_TO, rows=TRAINING_ROWS, seed=0)
    text = availability.fit(known, past, seed=0)
    trained = time.process_time()
    asked = _drawn(known, since=TESTED[0], until=TESTED[1], rows=TEST_ROWS, seed=1)
    features = availability_features.features(known, asked)
    happened = availability.answers(known, asked)
    live = _judged(text, features, happened, asked)
    silent = _judged(
        text, without_live(features, np.ones(len(features), dtype=np.bool_)), happened, asked
    )
    habit = availability.climatology(features)
    by_lead = availability.predict_rows(text, Calibration(), features)
    found: Figures = {
        "availability_auc": live["auc"],
        "availability_auc_1h": live["auc_1h"],
        "availability_ece": live["ece"],
        "availability_brier": live["brier"],
        "availability_after_gap_auc": silent["auc"],
        "availability_after_gap_ece": silent["ece"],
        "availability_after_gap_brier": silent["brier"],
        "availability_climatology_auc": availability.auc(happened, habit),
        "availability_climatology_brier": float(np.mean((habit - happened) ** 2)),
        "availability_auc_by_minutes": {
            str(lead * 15): availability.auc(
                happened[asked.lead == lead], by_lead[asked.lead == lead]
            )
            for lead in LEADS
        },
        "availability_rows_test": len(happened),
        "availability_train_cpu_s": trained - began,
    }
    return found, text, features


def _judged(text: str, rows: FloatArray, happened: IntArray, asked: Questions) -> dict[str, float]:
    probability = availability.predict_rows(text, Calibration(), rows)
    return availability.quality(happened, probability, asked.lead)


def _drawn(known: Known, *, since: datetime, until: datetime, rows: int, seed: int) -> Questions:
    first, last = (known.history.slot_of(moment) for moment in (since, until))
    return availability.draw(known, since=first, until=last, rows=rows, seed=seed)


def plug_history(rows: Rows, *, until: datetime) -> PlugHistory:
    """When each vehicle was plugged in."""
    ids = sorted({row["vehicle"] for row in rows})
    place = {vehicle: number for number, vehicle in enumerate(ids)}
    return PlugHistory.of_intervals(
        ids,
        vehicle=np.array([place[row["vehicle"]] for row in rows]),
        plug_in_s=np.array([_seconds(row["plug_in"]) for row in rows]),
        plug_out_s=np.array([_seconds(row["plug_out"]) for row in rows]),
        start=FIRST,
        end=until,
        timezone=ZONE,
        country="US",
    )


def plug_in_energy_figures(rows: Rows) -> Figures:
    """Mean absolute error of the energy foretold at plug-in."""
    place = {vehicle: number for number, vehicle in enumerate({row["vehicle"]: 0 for row in rows})}
    local = [datetime.fromtimestamp(_seconds(row["plug_in"]), ZoneInfo(ZONE)) for row in rows]
    past = plug_in_energy.PastCharges(
        driver=np.array([place[row["vehicle"]] for row in rows]),
        plug_in_s=np.array([_seconds(row["plug_in"]) for row in rows]),
        plug_out_s=np.array([_seconds(row["plug_out"]) for row in rows]),
        local_hour=np.array([one.hour + one.minute / 60 for one in local]),
        weekday=np.array([one.weekday() for one in local]),
        energy_kwh=np.array([float(row["energy_kwh"]) for row in rows]),
        charge_end_s=np.array([_seconds(row["charge_end"]) for row in rows]),
    )
    features = plug_in_energy.features(past)
    since, until = (moment.timestamp() for moment in TESTED)
    is_past = past.plug_in_s < TRAINED_TO.timestamp()
    charges = features[:, plug_in_energy.FEATURE_NAMES.index("charges")]
    is_test = (past.plug_in_s >= since) & (past.plug_in_s < until) & (charges >= CHARGES_BEFORE)
    text = plug_in_energy.fit(features[is_past], past.energy_kwh[is_past], seed=0)
    found = plug_in_energy.quality(
        past.energy_kwh[is_test], features[is_test], plug_in_energy.predict(text, features[is_test])
    )
    return {
        "energy_at_plug_in_mae_kwh": found["mae_kwh"],
        "energy_at_plug_in_r2": found["r2"],
        "energy_at_plug_in_median_mae_kwh": found["median_mae_kwh"],
        "energy_at_plug_in_last_mae_kwh": found["last_mae_kwh"],
    }


def energy_to_full_figures(rows: Rows) -> Figures:
    """Mean absolute error on simulated telemetry beside last state of charge and power by time."""
    counted: dict[str, Rows] = {}
    for row in rows:
        counted.setdefault(row["vehicle"], []).append(row)
    chosen = sorted(counted, key=lambda vehicle: (-len(counted[vehicle]), vehicle))
    traces = [_simulated(one, counted[one]) for one in chosen[:VEHICLES_SIMULATED]]
    fleet = fleet_of(traces, start=SIMULATED_FROM, end=TESTED[1], timezone=ZONE, country="US")
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    slots = fleet.plugs.slots
    split = int(slots * (1 - availability.TEST_SHARE))
    past = energy_to_full.draw(fleet, known, since=0, until=split, seed=0)
    text = energy_to_full.fit(fleet, known, past, seed=0)
    asked = energy_to_full.draw(fleet, known, since=split, until=slots, seed=1, rows=60_000)
    answers = energy_to_full.rows_of(fleet, known, asked)
    happened = energy_to_full.answers(fleet, asked)
    found = energy_to_full.quality(happened, answers, energy_to_full.corrected(text, answers))
    silence_h = np.full(len(happened), 8.0)
    silent_rows = energy_to_full.rows_of(fleet, known, asked, silence_h=silence_h)
    silent = energy_to_full.quality(
        happened, silent_rows, energy_to_full.corrected(text, silent_rows)
    )
    return {
        "energy_to_full_skill_pct": found["skill_pct"],
        "energy_to_full_mae_points": found["mae_points"],
        "energy_to_full_last_soc_mae_points": found["last_soc_mae_points"],
        "energy_to_full_power_mae_points": found["power_mae_points"],
        "energy_to_full_after_gap_skill_pct": silent["skill_pct"],
    }


def _simulated(vehicle: str, rows: Rows) -> Trace:
    columns = (
        np.array([_seconds(row[name]) for row in rows])
        for name in ("plug_in", "charge_end", "plug_out")
    )
    came, done, left = columns
    energy = np.array([float(row["energy_kwh"]) for row in rows])
    span = int(SIMULATED_FROM.timestamp()), int(TESTED[1].timestamp())
    drawn = simulate(
        RecordedStays(vehicle, came, done, left, energy), begin_s=span[0], end_s=span[1]
    )
    return trace_of(
        vehicle,
        drawn.battery_capacity_kwh,
        at_s=drawn.at_s,
        soc_percent=drawn.soc_percent,
        is_plugged_in=drawn.is_plugged_in,
        power_kw=drawn.power_kw,
    )


def edge_figures(text: str, features: FloatArray) -> Figures:
    """Size of the availability model's bundle, time of a row, difference from LightGBM."""
    model = export(text, features, name="vehicle_availability")
    data = bundled(model, availability_features.FEATURE_NAMES)
    bundle = unpack(data, sha256=hashlib.sha256(data).hexdigest())
    p50_us, p99_us = row_us(session_of(bundle.onnx), features)
    return {
        "edge_bundle_kb": len(data) / 1000,
        "edge_onnx_kb": len(model.onnx) / 1000,
        "edge_row_us_p50": p50_us,
        "edge_row_us_p99": p99_us,
        "onnx_parity_max": model.parity_max,
        "onnx_rows_checked": model.rows_checked,
    }


def bundled(model: PortableModel, names: tuple[str, ...]) -> bytes:
    """A model as an edge bundle."""
    manifest = Manifest(
        model_id="mdl_benchmark",
        kind="vehicle_availability",
        model_sha256="0" * 64,
        trained_at=TRAINED_TO.isoformat(),
        features=names,
        nan_is_zero=model.nan_is_zero,
        conformal={},
        onnx_sha256=hashlib.sha256(model.onnx).hexdigest(),
        parity_max=model.parity_max,
        rows_checked=model.rows_checked,
    )
    return pack(manifest, model.onnx)


def row_us(session: Any, features: FloatArray) -> tuple[float, float]:  # noqa: ANN401 - no types
    """Median and 99th percentile of one row's time in a session, microseconds."""
    output = [session.get_outputs()[-1].name]
    ready = [{INPUT: row[None].astype(np.float32)} for row in features[:200]]
    taken = np.zeros((BLOCKS, CALLS))
    for block in range(BLOCKS):
        for call in range(CALLS):
            began = time.perf_counter_ns()
            session.run(output, ready[call % len(ready)])
            taken[block, call] = (time.perf_counter_ns() - began) / 1000
    quiet = taken[np.argmin(np.median(taken, axis=1))]
    return float(np.quantile(quiet, 0.5)), float(np.quantile(quiet, 0.99))


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
