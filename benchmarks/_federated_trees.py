"""Trees learned together on recorded plug-ins: twelve fleets of vehicles that keep their data.

Plug availability on jpl_vehicle_sessions.csv, vehicles by their place in the list modulo twelve;
trained to 2019-08-01, the committee's holdout up to 2019-09-15, tested on 2019-10-15 to 12-20. Each
fleet knows its own vehicles only. Six rounds of five trees; central: thirty on all rows; alone:
thirty on each fleet's own. Liars learn from flipped labels.
"""

import argparse
import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from backend.federation.checking import Verdict
from backend.federation.tree_models import TreeModel
from backend.federation.tree_participant import unfederated
from backend.federation.tree_rows import Part, SiteRows, pooled
from backend.federation.tree_tasks import TreeSettings
from backend.federation.trees import (
    TreesJudged,
    bagged,
    checked,
    grow,
    loss,
    score,
)
from backend.forecasting import availability, availability_features
from backend.forecasting.availability import LEADS
from backend.forecasting.availability_features import FEATURE_NAMES, Known
from benchmarks._federated_sites import DATA
from benchmarks._forecast_vehicles import FIRST, LAST, TESTED, TRAINED_TO, plug_history

FLEETS, ROUNDS = 12, 6
HELD_OUT = datetime(2019, 8, 1, tzinfo=UTC)
TRAINING_ROWS, JUDGING_ROWS = 12_000, 3_000
SETTINGS = TreeSettings("binary", len(FEATURE_NAMES), trees=5, leaves=31, learning_rate=0.2)

Fleets = Mapping[str, SiteRows]


def read_fleets() -> dict[str, SiteRows]:
    """The twelve fleets, by name."""
    with (DATA / "demand" / "jpl_vehicle_sessions.csv").open() as sheet:
        rows = sorted(csv.DictReader(sheet), key=lambda row: row["plug_in"])
    place = {name: number for number, name in enumerate(sorted({row["vehicle"] for row in rows}))}
    return {
        f"fleet-{fleet:02}": _fleet(
            [row for row in rows if place[row["vehicle"]] % FLEETS == fleet]
        )
        for fleet in range(FLEETS)
    }


def _fleet(rows: list[dict[str, str]]) -> SiteRows:
    known = Known.of(plug_history(rows, until=LAST), slots_ahead=max(LEADS))
    spans = ((FIRST, HELD_OUT), (HELD_OUT, TRAINED_TO), TESTED)
    counts = (TRAINING_ROWS, JUDGING_ROWS, JUDGING_ROWS)
    parts: list[Part] = []
    for seed, ((since, until), count) in enumerate(zip(spans, counts, strict=True)):
        first, last = known.history.slot_of(since), known.history.slot_of(until)
        asked = availability.draw(known, since=first, until=last, rows=count, seed=seed)
        features = availability_features.features(known, asked)
        parts.append(Part(features, availability.answers(known, asked).astype(np.float64)))
    train, judge, test = parts
    return SiteRows(train, judge, test)


def flipped(one: SiteRows) -> SiteRows:
    """A liar's rows."""
    return replace(one, train=Part(one.train.rows, 1 - one.train.targets))


def learned(
    fleets: Fleets, honest: Fleets, *, is_judged: bool = True
) -> tuple[TreeModel, list[TreesJudged]]:
    """The model after all rounds, and every verdict."""
    model = TreeModel()
    verdicts: list[TreesJudged] = []
    for _ in range(ROUNDS):
        answers = [
            grow(model, one.train.rows, one.train.targets, SETTINGS, participant=name)
            for name, one in fleets.items()
        ]
        sound, _ = checked(answers, SETTINGS)
        scores = [
            score(model, sound, one.judge.rows, one.judge.targets, SETTINGS, participant=name)
            for name, one in honest.items()
        ]
        model, judged = bagged(model, answers, scores if is_judged else [], SETTINGS)
        verdicts += judged
    return model, verdicts


def quality(models: Mapping[str, TreeModel], fleets: Fleets) -> dict[str, float]:
    """AUC and log loss over all fleets' test rows, each judged by its own model."""
    raw = np.concatenate([models[name].raw(one.test.rows) for name, one in fleets.items()])
    targets = np.concatenate([one.test.targets for one in fleets.values()])
    return {
        "auc": availability.auc(targets.astype(np.int64), raw),
        "log_loss": loss(raw, targets, SETTINGS),
    }


def figures(fleets: Fleets) -> dict[str, Any]:
    """Central, alone, together, and together with four liars of twelve."""
    everybody = pooled([one.train for one in fleets.values()])
    central = unfederated(everybody, SETTINGS, rounds=ROUNDS)
    alone = {name: unfederated(one.train, SETTINGS, rounds=ROUNDS) for name, one in fleets.items()}
    together, clean = learned(fleets, fleets)
    liars = list(fleets)[::3]
    lied = {name: flipped(one) if name in liars else one for name, one in fleets.items()}
    gated, verdicts = learned(lied, fleets)
    open_door, _ = learned(lied, fleets, is_judged=False)
    everywhere = {
        "central": dict.fromkeys(fleets, central),
        "alone": alone,
        "together": dict.fromkeys(fleets, together),
        "liars_gated": dict.fromkeys(fleets, gated),
        "liars_without_gate": dict.fromkeys(fleets, open_door),
    }
    out = [one for one in verdicts if one.verdict is not Verdict.ACCEPTED]
    return {
        **{case: quality(models, fleets) for case, models in everywhere.items()},
        "honest_rejected_pct": _rejected_pct(clean),
        "liars_rejected_pct": 100
        * sum(one.participant in liars for one in out)
        / (ROUNDS * len(liars)),
        "honest_rejected_among_liars_pct": 100
        * sum(one.participant not in liars for one in out)
        / (ROUNDS * (len(fleets) - len(liars))),
        "rows_train": len(everybody.targets),
        "rows_test": sum(len(one.test.targets) for one in fleets.values()),
    }


def _rejected_pct(verdicts: list[TreesJudged]) -> float:
    return 100 * float(np.mean([one.verdict is not Verdict.ACCEPTED for one in verdicts]))


def main() -> None:
    """Print the figures as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps(figures(read_fleets()), indent=2))


if __name__ == "__main__":
    main()
