"""Five sites that sign, five validated rounds, embedded engine; prints seconds and memory as JSON.

A process of its own, so that memory is that of the rounds. What importing Flower takes is measured
apart.
"""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.demand import Examples, hourly_examples
from backend.federation.networks import initial_weights
from backend.federation.signing import Signer
from backend.federation.tasks import ScoreAnswer, ScoreTask, TrainAnswer, TrainSettings, TrainTask
from backend.federation.weights import Weights, content_hash

SITES, ROUNDS, DAYS = 5, 5, 90
FAMILY, SEED, TIMEOUT_S = "mlp", 7, 60.0


def examples(number: int) -> Examples:
    """Three months of a site with a rhythm of its own."""
    rng = np.random.default_rng(number)
    hour = np.arange(24 * DAYS)
    daily = np.clip(np.sin(2 * np.pi * (hour - 6 - number) / 24), 0, None)
    energy = 20 * daily * rng.uniform(0.5, 1.5, len(hour)) * (hour // 24 % 7 < 5)  # noqa: PLR2004
    return hourly_examples(energy, datetime(2026, 1, 5, tzinfo=UTC), timezone="UTC")


def memory_mb() -> float:
    """What this process holds."""
    return float(psutil.Process().memory_info().rss) / 2**20


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    sites = {f"site_{number}": examples(number) for number in range(SITES)}
    signers = {name: Signer(Ed25519PrivateKey.generate()) for name in sites}
    bare = memory_mb()
    from backend.adapters.federation import client_app, thread_grid  # noqa: F401, PLC0415
    from backend.adapters.federation.embedded import EmbeddedExchange  # noqa: PLC0415

    imported = memory_mb()
    began = time.perf_counter()
    exchange = EmbeddedExchange(sites, signers=signers)
    weights: Weights = initial_weights(FAMILY, SEED)
    settings = TrainSettings(seed=SEED)
    for number in range(1, ROUNDS + 1):
        task = TrainTask("bench", number, "", FAMILY, weights, content_hash(weights), settings)
        asked = [replace(task, participant=name) for name in sites]
        updates = [
            one for one in exchange.ask(asked, timeout_s=TIMEOUT_S) if isinstance(one, TrainAnswer)
        ]
        trials = candidates_of(updates, weights)
        posed = [
            ScoreTask("bench", number, name, FAMILY, weights, task.parent_hash, trials)
            for name in sites
        ]
        scores = [
            one for one in exchange.ask(posed, timeout_s=TIMEOUT_S) if isinstance(one, ScoreAnswer)
        ]
        weights = aggregate("validated", weights, updates, scores).weights
    seconds = time.perf_counter() - began
    exchange.close()
    found = {
        "seconds": seconds,
        "extra_mb": memory_mb() - imported,
        "import_mb": imported - bare,
        "hash": content_hash(weights),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
