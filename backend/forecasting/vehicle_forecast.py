"""One vehicle ahead: plug-in probability and energy to full, by models or by simple rules.

The same at the service and at the edge; only who answers a feature row differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from backend.forecasting import availability_features, energy_to_full
from backend.forecasting.availability import LEADS, Calibration, answer_rows, climatology
from backend.forecasting.availability_features import Known, Questions
from backend.forecasting.history import FloatArray, IntArray
from backend.forecasting.telemetry_features import Fleet

Answer = Callable[[FloatArray], FloatArray]
"""What a model says to feature rows, shape (rows, features) to (rows,)."""

MINUTES_A_SLOT = 15
NOT_CORRECTED = Calibration()


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answers; a simple rule where nobody does."""

    availability: Answer | None = None
    calibration: Calibration = NOT_CORRECTED
    energy_to_full: Answer | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VehicleOutlook:
    """A vehicle ahead; arrays (horizons,).

    Attributes:
        lead_min: Horizons in minutes from the moment asked.
        plug_probability: Probability of being plugged in, NaN if nothing is known.
        to_full_percent: Points of state of charge missing to full, NaN if nothing is known.
        source: Who foretold the plug-ins: the model, the vehicle's or fleet's like days, nobody.
        energy_source: Who foretold the energy: the model, the last state of charge, nobody.
        is_after_gap: Nothing is known of the present.
        is_charging: By its last point it is plugged in and takes power.
    """

    lead_min: IntArray
    plug_probability: FloatArray
    to_full_percent: FloatArray
    source: Literal["model", "like_day", "none"]
    energy_source: Literal["model", "last_soc", "none"]
    is_after_gap: bool
    is_charging: bool


def foresee(fleet: Fleet, *, vehicle: int, answers: Answers) -> VehicleOutlook:
    """Look ahead from the fleet's last slot.

    Args:
        fleet: The vehicles as known by now.
        vehicle: Position of the one that is asked about.
        answers: The models.
    """
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    lead = np.array(LEADS)
    here = np.full(len(lead), vehicle), np.full(len(lead), fleet.plugs.slots - 1)
    asked = Questions(*here, lead)
    trace = fleet.traces[vehicle]
    state = int(fleet.plugs.state[vehicle, -1])
    plug_probability, source = _plugged(known, asked, answers)
    rows = energy_to_full.rows_of(fleet, known, asked)
    has_soc = bool(np.isfinite(trace.soc_percent).any())
    to_full, energy_source = _to_full(rows, answers, has_soc=has_soc)
    is_charging = state == 1 and len(trace.power_kw) > 0 and bool(trace.power_kw[-1] > 0)
    if is_charging and has_soc:
        to_full = energy_to_full.while_charging(
            to_full, now_to_full=float(rows.last_soc_rule[0]), plug_probability=plug_probability
        )
    return VehicleOutlook(
        lead_min=lead * MINUTES_A_SLOT,
        plug_probability=plug_probability,
        to_full_percent=to_full,
        source=source,
        energy_source=energy_source,
        is_after_gap=state < 0,
        is_charging=is_charging,
    )


@dataclass(frozen=True, slots=True)
class Texts:
    """Models as LightGBM text, None where there is none."""

    availability: str | None = None
    calibration: Calibration = NOT_CORRECTED
    energy_to_full: str | None = None


def foresee_by_texts(fleet: Fleet, *, vehicle: int, texts: Texts) -> VehicleOutlook:
    """The same by models that a worker can be handed."""
    answers = Answers(
        availability=_answering(texts.availability),
        calibration=texts.calibration,
        energy_to_full=_answering(texts.energy_to_full),
    )
    return foresee(fleet, vehicle=vehicle, answers=answers)


def foresee_all(fleet: Fleet, texts: Texts) -> list[VehicleOutlook]:
    """The same for every vehicle of the fleet, in its order."""
    return [
        foresee_by_texts(fleet, vehicle=vehicle, texts=texts)
        for vehicle in range(len(fleet.traces))
    ]


def _answering(text: str | None) -> Answer | None:
    return None if text is None else partial(answer_rows, text)


def _plugged(
    known: Known, asked: Questions, answers: Answers
) -> tuple[FloatArray, Literal["model", "like_day", "none"]]:
    rows = availability_features.features(known, asked)
    if np.all(known.history.state < 0):
        return np.full(len(rows), np.nan), "none"
    if answers.availability is None:
        return climatology(rows), "like_day"
    return answers.calibration(answers.availability(rows)), "model"


def _to_full(
    rows: energy_to_full.Rows, answers: Answers, *, has_soc: bool
) -> tuple[FloatArray, Literal["model", "last_soc", "none"]]:
    if not has_soc:
        return np.full(len(rows.guess), np.nan), "none"
    if answers.energy_to_full is None:
        return rows.last_soc_rule, "last_soc"
    correction = answers.energy_to_full(rows.features)
    return energy_to_full.corrected_by(correction, rows), "model"
