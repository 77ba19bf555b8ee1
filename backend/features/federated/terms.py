"""The terms of an experiment as its conductor reads them: the stored JSON, typed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.features.federated.models import FederatedExperiment
from backend.federation.networks import shapes
from backend.federation.tasks import TrainSettings
from backend.federation.weights import Shapes

LEAST_QUORUM = 3
LARGEST_FAILURES = 3
PROX_MU = 0.05
IMBALANCE_EUR_PER_KWH = 0.05  # also of experiments that were started before terms held one


@dataclass(frozen=True, slots=True)
class Terms:
    """What an experiment was started with."""

    experiment_id: str
    engine: str
    mode: str
    strategy: str
    family: str
    num_rounds: int
    min_fit_clients: int
    min_available_clients: int
    quality_threshold: float
    fraction_fit: float
    deadline_s: float
    seed: int
    local_epochs: int
    learning_rate: float
    privacy: Mapping[str, Any] | None
    imbalance_eur_per_kwh: float = IMBALANCE_EUR_PER_KWH

    @classmethod
    def of(cls, experiment: FederatedExperiment) -> "Terms":
        """Read a stored experiment."""
        said = experiment.terms
        names = set(cls.__slots__) - {"experiment_id", "engine"}
        return cls(
            experiment_id=experiment.id,
            engine=experiment.engine,
            **{name: said[name] for name in names & set(said)},
        )

    @property
    def shapes(self) -> Shapes:
        """Of every array of the model."""
        return shapes(self.family)

    @property
    def settings(self) -> TrainSettings:
        """How participants train."""
        private = self.privacy or {}
        return TrainSettings(
            local_epochs=self.local_epochs,
            learning_rate=self.learning_rate,
            prox_mu=PROX_MU if self.strategy == "fedprox" else 0.0,
            clip_norm=private.get("clip_norm"),
            noise_multiplier=private.get("noise_multiplier", 0.0),
            seed=self.seed,
        )

    @property
    def noise_scale(self) -> float | None:
        """Standard deviation of the noise on a sum of clipped gradients; None without privacy."""
        if self.privacy is None:
            return None
        return float(self.privacy["noise_multiplier"] * self.privacy["clip_norm"])

    def size_of(self, available: int) -> int:
        """How many of the available participants are drawn."""
        wanted = max(self.min_fit_clients, math.ceil(self.fraction_fit * available))
        return min(available, wanted)

    def quorum_of(self, selected: int) -> int:
        """How many updates a round needs: half of who was selected, and never under the floor."""
        return max(LEAST_QUORUM, self.min_fit_clients, math.ceil(selected / 2))

    @staticmethod
    def opinions_of(committee: int) -> int:
        """How many members have to answer: half, or a few liars who do would decide alone."""
        return math.ceil(committee / 2)
