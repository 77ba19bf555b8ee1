"""Telemetry of a participant's vehicles as rows that trees learn from: pure, for workers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.features.federated.trees_schemas import TreesFigures, TreeTarget
from backend.federation.tree_models import TreeModel
from backend.federation.tree_rows import Part, SiteRows
from backend.federation.tree_tasks import LEAST_LEAF, TreeSettings
from backend.federation.tree_text import Floats
from backend.federation.trees import loss
from backend.forecasting import availability, availability_features, energy_to_full
from backend.forecasting.availability import LEADS
from backend.forecasting.availability_features import Known
from backend.forecasting.telemetry_features import Fleet

TRAINED_TO, JUDGED_TO = 0.6, 0.8
"""Shares of a participant's time: before, it grows trees; between, it judges; then, it tests."""

MOST_ROWS, FEWEST_ROWS = (4_000, 1_000, 2_000), (250, 50, 50)
POINTS_A_UNIT = 12.5
"""A set of trees moves a guess by eight of these at most: by a whole battery."""

ALMOST = 1e-3
FEATURES: Mapping[TreeTarget, tuple[str, ...]] = {
    "energy_to_full": energy_to_full.FEATURE_NAMES,
    "plug_availability": availability_features.FEATURE_NAMES,
}
GUESS = energy_to_full.FEATURE_NAMES.index("guess_to_full")


@dataclass(frozen=True, slots=True)
class TooFewRows:
    """Why a participant cannot take part."""

    reason: str


def settings_of(target: TreeTarget, *, trees: int, seed: int) -> TreeSettings:
    """How trees are grown for a target."""
    features = len(FEATURES[target])
    shared = {"trees": trees, "leaves": 15, "min_data_in_leaf": LEAST_LEAF, "seed": seed}
    if target == "energy_to_full":
        return TreeSettings(
            "regression_l1", features, learning_rate=0.3, scale=POINTS_A_UNIT, **shared
        )
    return TreeSettings("binary", features, learning_rate=0.2, **shared)


def rows_by_participant(
    fleets: Mapping[str, Fleet], target: TreeTarget, *, seed: int
) -> dict[str, SiteRows | TooFewRows]:
    """Each participant's rows of three spans of its own time, or why it has too few."""
    return {name: _rows(fleet, target, seed) for name, fleet in sorted(fleets.items())}


def _rows(fleet: Fleet, target: TreeTarget, seed: int) -> SiteRows | TooFewRows:
    known, slots = Known.of(fleet.plugs, slots_ahead=max(LEADS)), fleet.plugs.slots
    ends = (0, int(TRAINED_TO * slots), int(JUDGED_TO * slots), slots)
    parts = []
    for place, most in enumerate(MOST_ROWS):
        span = {"since": ends[place], "until": ends[place + 1], "rows": most, "seed": seed + place}
        parts.append(_part(fleet, known, target, span))
    counts = [len(one.targets) for one in parts]
    if any(count < least for count, least in zip(counts, FEWEST_ROWS, strict=True)):
        said, needed = (" + ".join(map(str, one)) for one in (counts, FEWEST_ROWS))
        return TooFewRows(f"{said} rows to train, judge and test; {needed} are needed")
    if any(np.ptp(one.targets) == 0 for one in parts):
        return TooFewRows("in one of its three spans of time nothing ever changes")
    train, judge, test = parts
    return SiteRows(train, judge, test, simple_raw(test, target))


def _part(fleet: Fleet, known: Known, target: TreeTarget, span: Mapping[str, int]) -> Part:
    """Of energy to full, what is foretold is by how far the physical guess misses, in points."""
    if target == "energy_to_full":
        asked = energy_to_full.draw(fleet, known, **span)
    else:
        asked = availability.draw(known, **span)
    if not len(asked.lead):
        return Part(np.empty((0, len(FEATURES[target]))), np.empty(0))
    if target == "energy_to_full":
        rows = energy_to_full.rows_of(fleet, known, asked)
        return Part(rows.features, energy_to_full.answers(fleet, asked) - rows.guess)
    happened = availability.answers(known, asked).astype(np.float64)
    return Part(availability_features.features(known, asked), happened)


def figures(raw: Floats, part: Part, target: TreeTarget, settings: TreeSettings) -> TreesFigures:
    """How answers of a model do on some rows, shape (rows,) each."""
    if target == "energy_to_full":
        guess = part.rows[:, GUESS]
        missed = np.clip(guess + raw, 0.0, energy_to_full.FULL_PERCENT) - guess - part.targets
        return TreesFigures(auc=None, log_loss=None, mae_points=float(np.mean(np.abs(missed))))
    return TreesFigures(
        auc=availability.auc(part.targets.astype(np.int64), raw),
        log_loss=loss(raw, part.targets, settings),
        mae_points=None,
    )


def simple_raw(part: Part, target: TreeTarget) -> Floats:
    """What the simple rule answers: no correction, or the log-odds of like days."""
    if target == "energy_to_full":
        return TreeModel().raw(part.rows)
    return log_odds(availability.climatology(part.rows))


def log_odds(chance: Floats) -> Floats:
    """Of probabilities, none of them quite certain; shape as given."""
    bounded = np.clip(chance, ALMOST, 1 - ALMOST)
    return np.asarray(np.log(bounded / (1 - bounded)))
