"""What sites gain by learning together, what liars, dropouts and privacy cost, and how fast it is.

Twenty recorded sites (`_federated_sites`), day-ahead hourly energy, an MLP of 26-32-1, eight rounds
of two local passes, fixed seeds. R² is pooled over the sites' last fifth, each in units of its own
scale. Central and alone stop at the pass that does best on the holdout, so both are as good as they
get.

- `worst_attack_loss_pct_20`, `_30`, `_40`: 100 (1 - R² / R² of the same rounds among the honest
  alone), the worst of seven attacks and two draws of liars; `attacks` has each, `adaptive_attacks`
  those that know the gate, beside them what plain FedAvg makes of it.
- `one_week_federated_r2`: mean over six sites that the federation never saw, each as if it had
  opened a week before its test; `eight_weeks_alone_r2` with eight weeks and nobody's help;
  `one_week_usual_r2` is the mean of like days, no network at all.
- `epsilon`: the largest over the sites, for one example (an hour of one site), at delta = n^-1.1.
- Times and memory of the embedded engine are of its rounds, Flower already imported; the least
  time and the most memory of three runs. `fleet_1000x200_s` is CPU time of one process.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.federation.demand import Examples
from backend.federation.networks import FloatArray, predict
from backend.federation.newcomer import compare, r2_of, train_alone
from backend.federation.onnx_export import to_onnx
from backend.federation.personal import personalise
from backend.federation.privacy import PRIVACY_UNIT, PrivacyLedger, usual_delta
from backend.federation.tasks import TrainSettings
from backend.federation.weights import Weights, to_npz
from benchmarks._federated_robustness import attack_figures
from benchmarks._federated_rounds import FAMILY, ROUNDS, SEED, Run, pooled, run, shared_r2
from benchmarks._federated_sites import DATA, Series, read_sites

NEW_SITES = ("caltech", "office1", "perth-broxden-pr", "jpl-00", "jpl-06", "workplace_976902")
PRIVATE = TrainSettings(
    local_epochs=1, learning_rate=0.01, clip_norm=2.0, noise_multiplier=1.4, seed=SEED
)
BUDGET = 3.0
NOISE_KEY = bytes(32)  # known to all: the figures have to come out again, nobody is to be hidden
CONVERGED = 0.98
ROWS = 1_000
EMBEDDED_RUNS = 3

Sites = Mapping[str, Examples]


def learning_figures(sites: Sites, plain: Run, console: Console) -> dict[str, Any]:
    """What the shared and the personal models are worth beside central and local ones."""
    console.print("central, local and personal models")
    everybody = Examples(
        pooled([one.train for one in sites.values()]),
        pooled([one.holdout for one in sites.values()]),
        pooled([one.test for one in sites.values()]),
        scale_kwh=1.0,
    )
    central = shared_r2(sites, train_alone(FAMILY, everybody, seed=SEED))
    local, personal = _local_and_personal(sites, plain.weights)
    by_round = [shared_r2(sites, weights) for weights in plain.models]
    return {
        "fedavg_over_central": by_round[-1] / central,
        "personalised_over_central": personal / central,
        "local_over_central": local / central,
        "central_r2": central,
        "usual_r2": r2_of(everybody.test, np.zeros(len(everybody.test))),
        "fedavg_r2_by_round": by_round,
        "convergence_round": 1 + int(np.argmax(np.array(by_round) >= CONVERGED * by_round[-1])),
    }


def _local_and_personal(sites: Sites, weights: Weights) -> tuple[float, float]:
    rows = pooled([one.test for one in sites.values()])
    local, personal = [], []
    for one in sites.values():
        local.append(predict(FAMILY, train_alone(FAMILY, one, seed=SEED), one.test.x))
        own = personalise(FAMILY, weights, one, seed=SEED)
        personal.append(own.predict(one.test) - one.test.usual)
    return r2_of(rows, np.concatenate(local)), r2_of(rows, np.concatenate(personal))


def newcomer_figures(series: Mapping[str, Series], sites: Sites) -> dict[str, Any]:
    """Six sites that the federation never saw, each after one and after eight weeks."""
    found: dict[int, list[dict[str, float]]] = {1: [], 8: []}
    for name in NEW_SITES:
        others = {key: one for key, one in sites.items() if key != name}
        weights = run(others, strategy="fedavg").weights
        for weeks, each in found.items():
            each.append(asdict(compare(FAMILY, weights, series[name].young(weeks), seed=SEED)))
    mean = {
        weeks: {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        for weeks, each in found.items()
    }
    return {
        "one_week_federated_r2": mean[1]["federated_r2"],
        "eight_weeks_alone_r2": mean[8]["alone_r2"],
        "one_week_alone_r2": mean[1]["alone_r2"],
        "one_week_usual_r2": mean[1]["usual_r2"],
        "eight_weeks_federated_r2": mean[8]["federated_r2"],
        "new_sites": {name: found[1][place] for place, name in enumerate(NEW_SITES)},
    }


def robust_figures(sites: Sites) -> dict[str, Any]:
    """Validated rounds among honest sites, with everybody there and with three in ten away."""
    clean = run(sites)
    whole = shared_r2(sites, clean.weights)
    thinned = shared_r2(sites, run(sites, dropout=0.3).weights)
    return {
        "honest_rejected_pct": clean.rejected_pct(sites),
        "validated_r2": whole,
        "dropout_30_loss_pct": 100 * (1 - thinned / whole),
    }


def privacy_figures(sites: Sites, plain: Run) -> dict[str, Any]:
    """Rounds with DP-SGD at every site, and the ledgers they fill."""
    spent = []
    for name, one in sites.items():
        count = len(one.train)
        ledger = PrivacyLedger(name, FAMILY, usual_delta(count), BUDGET)
        for _ in range(ROUNDS):
            ledger = ledger.spend(PRIVATE, examples=count)
        spent.append(ledger.epsilon)
    private = run(sites, strategy="fedavg", settings=PRIVATE, noise_key=NOISE_KEY)
    loss = 100 * (1 - shared_r2(sites, private.weights) / shared_r2(sites, plain.weights))
    return {"epsilon": max(spent), "dp_loss_pct": loss, "privacy_unit": PRIVACY_UNIT}


def model_figures(sites: Sites, weights: Weights) -> dict[str, Any]:
    """Sizes of the shared model and how long a thousand answers take."""
    x: FloatArray = next(iter(sites.values())).test.x[:ROWS]
    times = []
    for _ in range(50):
        began = time.perf_counter()
        predict(FAMILY, weights, x)
        times.append(time.perf_counter() - began)
    return {
        "model_bytes": len(to_npz(weights)),
        "onnx_bytes": len(to_onnx(FAMILY, weights)),
        "inference_ms_per_1000_rows": 1000 * min(times),
    }


def said_by(script: str) -> dict[str, Any]:
    """What another script of this folder prints, run in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name(script))]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    said: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return said


def embedded_figures() -> dict[str, Any]:
    """Five sites, five rounds on Flower's objects in threads."""
    runs = [said_by("_federated_embedded.py") for _ in range(EMBEDDED_RUNS)]
    return {
        "embedded_5x5_s": min(one["seconds"] for one in runs),
        "embedded_extra_mb": max(one["extra_mb"] for one in runs),
        "flower_import_mb": max(one["import_mb"] for one in runs),
    }


def resume_figures() -> dict[str, Any]:
    """Rounds killed at ten points and taken up again."""
    outcome = said_by("_federated_kill.py")
    is_equal = outcome["resume_hashes_equal"] and outcome["all_died"]
    return {"resume_hashes_equal": is_equal, "killed_at": outcome["points"]}


def fleet_figures() -> dict[str, Any]:
    """A thousand vehicles, two hundred steps: their lives by the plain rule, and all rounds."""
    from backend.federation import fleet, fleet_world  # noqa: PLC0415

    began = time.process_time()
    world = fleet_world.make_world(1_000, 200, seed=SEED)
    lessons = fleet.lessons_of(world, fleet_world.live_by_rule(world))
    state, settings = fleet.untrained(1_000), fleet.FleetSettings(seed=SEED)
    for _ in range(fleet.rounds_in(200)):
        state = fleet.advance(lessons, state, settings)
    return {"fleet_1000x200_s": time.process_time() - began}


def rounded(found: Any) -> Any:  # noqa: ANN401 - as deep as JSON is
    """Figures with four digits after the point."""
    if isinstance(found, Mapping):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return round(float(found), 4) if isinstance(found, float | np.floating) else found


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    if not (DATA / "demand").exists():
        sys.exit(f"no recorded demand at {DATA}; TASCO_DATA says where it is")
    console = Console(stderr=True)
    series = read_sites()
    sites = {name: one.examples() for name, one in series.items()}
    plain = run(sites, strategy="fedavg")
    found: dict[str, Any] = learning_figures(sites, plain, console)
    console.print("new sites")
    found |= newcomer_figures(series, sites)
    found |= attack_figures(sites, console)
    console.print("dropouts, privacy, engines")
    found |= robust_figures(sites)
    found |= privacy_figures(sites, plain)
    found |= model_figures(sites, plain.weights)
    found |= embedded_figures() | resume_figures() | fleet_figures()
    found = rounded(found)
    if args.json:
        print(json.dumps(found))
        return
    table = Table("figure", "value")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
