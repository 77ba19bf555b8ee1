"""Privacy of whole vehicles: bounded updates, noise on their sum, and what that is worth.

Vehicles are drawn without replacement, a fixed number of them. Neighbouring fleets differ in one
vehicle that is replaced by another, so the sum of updates of norm C moves by at most 2C, and the
noise counts for half of its multiplier. Source: Y.-X. Wang, B. Balle, S. Kasiviswanathan,
"Subsampled Rényi Differential Privacy and Analytical Moments Accountant", AISTATS 2019.
"""

from dataclasses import dataclass

import numpy as np

from backend.federation.fleet_world import Floats

PRIVACY_UNIT = "vehicle"


@dataclass(frozen=True, slots=True)
class FleetPrivacy:
    """How updates of vehicles are hidden in their sum.

    Attributes:
        clip_norm: Largest norm of a vehicle's update.
        noise_multiplier: Standard deviation of the noise on the sum, over `clip_norm`.
        delta: The chance with which the bound may fail; well below one over the vehicles.
    """

    clip_norm: float = 1.0
    noise_multiplier: float = 8.0
    delta: float = 1e-5


def private_mean(updates: Floats, privacy: FleetPrivacy, rng: np.random.Generator) -> Floats:
    """The noisy mean of clipped updates; whoever had nothing to say counts as zeros.

    Args:
        updates: One row for each vehicle drawn, shape (drawn, parameters).
        privacy: Clipping and noise.
        rng: Noise from a seed is for simulation: who knows the seed can take the noise away.
    """
    norm = np.linalg.norm(updates, axis=1, keepdims=True)
    clipped = updates * np.minimum(1.0, privacy.clip_norm / np.maximum(norm, 1e-12))
    noise = rng.normal(0.0, privacy.noise_multiplier * privacy.clip_norm, updates.shape[1])
    return np.asarray((clipped.sum(axis=0) + noise) / len(updates))


def epsilon(privacy: FleetPrivacy, *, vehicles: int, drawn: int, rounds: int) -> float:
    """What a vehicle has lost after some rounds, at the delta of `privacy`.

    Only the shared model is counted: figures on hold-out data are published beside it for research.
    """
    if rounds == 0:
        return 0.0
    from dp_accounting import (  # noqa: PLC0415 - a second to import, seldom needed
        GaussianDpEvent,
        NeighboringRelation,
        SampledWithoutReplacementDpEvent,
    )
    from dp_accounting.rdp import RdpAccountant  # noqa: PLC0415

    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    noise = GaussianDpEvent(privacy.noise_multiplier / 2)
    event = noise if drawn >= vehicles else SampledWithoutReplacementDpEvent(vehicles, drawn, noise)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(privacy.delta))
