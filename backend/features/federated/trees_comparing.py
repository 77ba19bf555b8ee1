"""A shared model of trees beside what the same trees make of other rows: pure, for workers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.features.federated.trees_rows import figures, simple_raw
from backend.features.federated.trees_schemas import TreesCompared, TreeTarget
from backend.federation.tree_models import TreeModel
from backend.federation.tree_participant import unfederated
from backend.federation.tree_rows import Part, Sites, pooled
from backend.federation.tree_tasks import TreeSettings
from backend.federation.tree_text import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Figures of one participant's rows, and of all."""

    each: Mapping[str, TreesCompared]
    over_all: TreesCompared
    is_better: bool


def compare(
    model: TreeModel,
    sites: Sites,
    settings: TreeSettings,
    target: TreeTarget,
    rounds: int,
) -> Compared:
    """The shared model beside what the same trees make of other rows, on each site's test rows."""
    together = {name: model.raw(one.test.rows) for name, one in sites.items()}
    everybody = unfederated(pooled([one.train for one in sites.values()]), settings, rounds=rounds)
    alone = {name: unfederated(one.train, settings, rounds=rounds) for name, one in sites.items()}
    raws = {
        name: {
            "simple_rule": simple_raw(one.test, target),
            "alone": alone[name].raw(one.test.rows),
            "together": together[name],
            "central": everybody.raw(one.test.rows),
        }
        for name, one in sites.items()
    }
    tests = {name: one.test for name, one in sites.items()}
    each = {name: _compared(raws[name], tests[name], target, settings) for name in sites}
    whole = {
        case: np.concatenate([raws[name][case] for name in sites])
        for case in TreesCompared.model_fields
    }
    over_all = _compared(whole, pooled(list(tests.values())), target, settings)
    return Compared(each, over_all, _is_better(over_all))


def _compared(
    raws: Mapping[str, Floats], part: Part, target: TreeTarget, settings: TreeSettings
) -> TreesCompared:
    return TreesCompared(
        **{case: figures(raw, part, target, settings) for case, raw in raws.items()}
    )


def _is_better(over_all: TreesCompared) -> bool:
    """Whether the shared model beats both what participants have without it."""
    losses = [
        one.mae_points if one.log_loss is None else one.log_loss
        for one in (over_all.together, over_all.alone, over_all.simple_rule)
    ]
    together, *others = (float("inf") if one is None else one for one in losses)
    return together < min(others)
