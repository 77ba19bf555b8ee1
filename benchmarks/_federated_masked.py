"""Eight rounds on the recorded sites in each mode: what masking, clipping and cells cost."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.cells import cells_of, means_of
from backend.federation.checking import norm_of
from backend.federation.demand import Examples
from backend.federation.networks import initial_weights, shapes
from backend.federation.participant import score, train
from backend.federation.secure import CLIP_NORM, WHOLE, SecureSums, fault_of_mean
from backend.federation.secure_participant import answer
from backend.federation.strategies import VALIDATED
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    ScoreAnswer,
    ScoreTask,
    TrainAnswer,
    TrainSettings,
    TrainTask,
)
from backend.federation.weights import Weights, content_hash
from benchmarks._federated_attacks import flipped
from benchmarks._federated_rounds import FAMILY, ROUNDS, SEED, run, shared_r2
from benchmarks._federated_sites import read_sites

Sites = Mapping[str, Examples]
LIARS = 2  # of twenty


class Nodes:
    """Participants with their memories; one in ten falls silent before it masks."""

    def __init__(self, sites: Sites, *, silent: Sequence[str] = ()) -> None:
        self._sites, self._silent = sites, frozenset(silent)
        self._memories: dict[str, bytes] = {}

    def ask(self, tasks: Sequence[MaskTask]) -> list[MaskAnswer]:
        """Everybody's step."""
        said = []
        for task in tasks:
            name = task.participant
            if name in self._silent and task.stage in ("mask", "reveal"):
                continue
            one, self._memories[name] = answer(task, self._sites[name], self._memories.get(name))
            said.append(one)
        return said


def masked_run(
    sites: Sites, honest: Sites, *, in_cells: bool, silent: Sequence[str] = ()
) -> tuple[Weights, dict[str, Any]]:
    """The model after eight masked rounds, and how many rounds or cells were refused.

    Args:
        sites: What participants train on.
        honest: What the committee scores on.
        in_cells: Whether sums are of cells.
        silent: Who drops out of every round.
    """
    weights: Weights = initial_weights(FAMILY, SEED)
    nodes, refused, judged = Nodes(sites, silent=silent), 0, 0
    for number in range(1, ROUNDS + 1):
        task = TrainTask(
            "bench", number, "", FAMILY, weights, content_hash(weights), TrainSettings(seed=SEED)
        )
        cells = (
            cells_of(sorted(sites), seed=SEED, round_number=number)
            if in_cells
            else {WHOLE: tuple(sorted(sites))}
        )
        groups = {
            cell: [replace(task, participant=name) for name in names]
            for cell, names in cells.items()
        }
        sums = SecureSums(groups, shapes(FAMILY))
        while sums.stage is not None:
            sums.step(nodes.ask)
        found = sums.sums()
        whole = found.get(WHOLE)
        means = means_of(found)[0] if whole is None else [m for m in [whole.mean] if m]
        scores = _scores(task, means, honest)
        fault = "" if in_cells or not means else fault_of_mean(means[0], scores)
        if fault or not means:
            refused, judged = refused + 1, judged + 1
            continue
        made = aggregate(VALIDATED, weights, means, scores)
        refused += len(made.judged) - len(made.accepted)
        judged += len(made.judged)
        weights = made.weights
    return weights, {"refused": refused, "judged": judged}


def _scores(task: TrainTask, means: Sequence[TrainAnswer], honest: Sites) -> list[ScoreAnswer]:
    candidates = candidates_of(means, task.weights)
    return [
        score(
            ScoreTask(
                "bench",
                task.round_number,
                name,
                FAMILY,
                task.weights,
                task.parent_hash,
                candidates,
            ),
            one,
        )
        for name, one in sorted(honest.items())
    ]


def first_norms(sites: Sites) -> list[float]:
    """Lengths of the first round's updates."""
    weights = initial_weights(FAMILY, SEED)
    parent, terms = content_hash(weights), TrainSettings(seed=SEED)
    task = TrainTask("bench", 1, "", FAMILY, weights, parent, terms)
    return [
        norm_of(train(replace(task, participant=name), one).delta) for name, one in sites.items()
    ]


def figures(sites: Sites) -> dict[str, Any]:
    """R² of the modes among honest sites, with dropouts and with two liars."""
    names = sorted(sites)
    liars = {name: flipped(sites[name]) for name in names[:: len(names) // LIARS]}
    norms = first_norms(sites)
    found: dict[str, Any] = {
        "clip_norm": CLIP_NORM,
        "norm_median": float(np.median(norms)),
        "norm_largest": max(norms),
        "fedavg_r2": shared_r2(sites, run(sites, strategy="fedavg").weights),
        "validated_r2": shared_r2(sites, run(sites).weights),
        "fedavg_liars_r2": shared_r2(sites, run({**sites, **liars}, strategy="fedavg").weights),
    }
    for mode, in_cells in (("secure", False), ("cells", True)):
        for case, own, silent in (
            ("", sites, ()),
            ("_dropout", sites, names[:LIARS]),
            ("_liars", {**sites, **liars}, ()),
        ):
            weights, counts = masked_run(own, sites, in_cells=in_cells, silent=silent)
            found[f"{mode}{case}_r2"] = shared_r2(sites, weights)
            found[f"{mode}{case}_refused"] = f"{counts['refused']} of {counts['judged']}"
    return found


def main() -> None:
    """Print the figures as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    sites = {name: one.examples() for name, one in read_sites().items()}
    print(json.dumps(figures(sites), indent=2))


if __name__ == "__main__":
    main()
