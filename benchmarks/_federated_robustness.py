"""What liars cost: the same rounds with them and among the honest alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from backend.federation.committee import draw
from backend.federation.demand import Examples
from backend.federation.weights import Weights
from benchmarks import _federated_attacks as attacks
from benchmarks._federated_rounds import FAMILY, Liars, pooled, run, shared_r2

SHARES = (20, 30, 40)
DRAWS = (1, 2)

Sites = Mapping[str, Examples]


def liars_among(sites: Sites, share: int, number: int, name: str) -> Liars:
    """Liars drawn from the sites, with the examples that their attack wants."""
    count = round(share / 100 * len(sites))
    names = draw(sorted(sites), count, seed=number, round_number=0, purpose="liars")
    attack = {**attacks.ATTACKS, **attacks.ADAPTIVE, "backdoor": attacks.as_trained}[name]
    change = {"label_flip": attacks.flipped, "backdoor": attacks.backdoored}.get(name)
    examples = {one: change(sites[one]) for one in names} if change else {}
    return Liars(frozenset(names), attack, examples)


def attack_figures(sites: Sites, console: Console) -> dict[str, Any]:
    """Losses by attack and share of liars; the worst of the seven by share."""
    table: dict[str, dict[str, float]] = {name: {} for name in attacks.ATTACKS}
    adaptive: dict[str, dict[str, float]] = {name: {} for name in attacks.ADAPTIVE}
    for share in SHARES:
        console.print(f"{share} % liars")
        losses: dict[str, list[float]] = {}
        for number in DRAWS:
            for name, loss_pct in _losses(sites, share, number).items():
                losses.setdefault(name, []).append(loss_pct)
        for name, each in losses.items():
            (table if name in table else adaptive)[name][str(share)] = max(each)
    worst = {
        f"worst_attack_loss_pct_{share}": max(one[str(share)] for one in table.values())
        for share in SHARES
    }
    return {
        **worst,
        "attacks": table,
        "adaptive_attacks": adaptive,
        "fedavg_attacks_30": _fedavg_losses(sites, 30),
        "backdoor": _backdoor(sites, 20),
    }


def _losses(sites: Sites, share: int, number: int) -> dict[str, float]:
    liars = liars_among(sites, share, number, "nan").names
    honest = {name: one for name, one in sites.items() if name not in liars}
    oracle = shared_r2(sites, run(honest).weights)
    # Who knows the gate is tried on one draw: these are reported, no bar is set for them.
    names = [*attacks.ATTACKS, *(attacks.ADAPTIVE if number == DRAWS[0] else ())]
    return {name: 100 * (1 - _attacked_r2(sites, share, number, name) / oracle) for name in names}


def _attacked_r2(
    sites: Sites, share: int, number: int, name: str, strategy: str = "validated"
) -> float:
    liars = liars_among(sites, share, number, name)
    with np.errstate(over="ignore", invalid="ignore"):
        return shared_r2(sites, run(sites, liars=liars, strategy=strategy).weights)


def _fedavg_losses(sites: Sites, share: int) -> dict[str, float]:
    """What the same attacks do to plain FedAvg."""
    liars = liars_among(sites, share, DRAWS[0], "nan").names
    honest = {name: one for name, one in sites.items() if name not in liars}
    oracle = shared_r2(sites, run(honest, strategy="fedavg").weights)
    return {
        name: 100 * (1 - _attacked_r2(sites, share, DRAWS[0], name, "fedavg") / oracle)
        for name in attacks.ATTACKS
    }


def _backdoor(sites: Sites, share: int) -> dict[str, float]:
    """How much of the load that liars want forecast on Sundays at three is forecast."""
    liars = liars_among(sites, share, DRAWS[0], "backdoor")
    rows = pooled([one.test for one in sites.values()])

    def shown(weights: Weights) -> float:
        return attacks.backdoor_kwh_share(FAMILY, weights, rows) / attacks.TRIGGER_SHIFT

    clean, poisoned = run(sites).weights, run(sites, liars=liars).weights
    averaged = run(sites, liars=liars, strategy="fedavg").weights
    return {
        "success_pct": 100 * (shown(poisoned) - shown(clean)),
        "fedavg_success_pct": 100 * (shown(averaged) - shown(clean)),
        "loss_pct": 100 * (1 - shared_r2(sites, poisoned) / shared_r2(sites, clean)),
    }
