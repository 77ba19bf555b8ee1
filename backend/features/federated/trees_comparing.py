"""A shared model of trees beside what the same trees make of other rows: pure, for workers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.features.federated.trees_rows import figures, log_odds, simple_raw
from backend.features.federated.trees_schemas import TreesCompared, TreesFigures, TreeTarget
from backend.federation.tree_models import TreeModel
from backend.federation.tree_participant import unfederated
from backend.federation.tree_rows import Part, Sites, pooled
from backend.federation.tree_tasks import TreeSettings
from backend.federation.tree_text import Floats
from backend.forecasting.availability import Calibration, answer_rows


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Figures of one participant's rows, and of all."""

    each: Mapping[str, TreesCompared]
    over_all: TreesCompared
    is_better: bool
    beats_served: bool


@dataclass(frozen=True, slots=True)
class Served:
    """The service's own model in service, as LightGBM's text, and what corrects its chances."""

    text: str
    calibration: Calibration


def compare(
    model: TreeModel,
    sites: Sites,
    settings: TreeSettings,
    *,
    target: TreeTarget,
    rounds: int,
    served: Served | None = None,
) -> Compared:
    """The shared model beside what the same trees make of other rows, on each site's test rows."""
    everybody = unfederated(pooled([one.train for one in sites.values()]), settings, rounds=rounds)
    alone = {name: unfederated(one.train, settings, rounds=rounds) for name, one in sites.items()}
    raws = {
        name: {
            "simple_rule": simple_raw(one.test, target),
            "alone": alone[name].raw(one.test.rows),
            "together": model.raw(one.test.rows),
            "central": everybody.raw(one.test.rows),
            **({"served": _served_raw(served, one.test, target)} if served else {}),
        }
        for name, one in sites.items()
    }
    tests = {name: one.test for name, one in sites.items()}
    each = {name: _compared(raws[name], tests[name], target, settings) for name in sites}
    cases = next(iter(raws.values()))
    whole = {case: np.concatenate([raws[name][case] for name in sites]) for case in cases}
    over_all = _compared(whole, pooled(list(tests.values())), target, settings)
    together = _loss(over_all.together)
    is_better = together < min(_loss(over_all.alone), _loss(over_all.simple_rule))
    return Compared(each, over_all, is_better, together < _loss(over_all.served))


def _served_raw(served: Served, part: Part, target: TreeTarget) -> Floats:
    """What the service's own model answers, as the shared one would say it."""
    said = answer_rows(served.text, part.rows)
    return said if target == "energy_to_full" else log_odds(served.calibration(said))


def _compared(
    raws: Mapping[str, Floats], part: Part, target: TreeTarget, settings: TreeSettings
) -> TreesCompared:
    return TreesCompared(
        **{case: figures(raw, part, target, settings) for case, raw in raws.items()}
    )


def _loss(one: TreesFigures | None) -> float:
    """What is to be small; nothing is as bad as nothing."""
    losses = [] if one is None else [one.mae_points, one.log_loss]
    return min((loss for loss in losses if loss is not None), default=float("inf"))
