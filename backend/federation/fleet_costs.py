"""What a fleet's energy costs: charging at once, as its teacher says, as its model says."""

from dataclasses import dataclass

import numpy as np

from backend.federation.fleet import features
from backend.federation.fleet_world import CHARGE, FleetLife, FleetWorld, Floats, Labels, live
from backend.federation.weights import Weights


@dataclass(frozen=True, slots=True)
class FleetCosts:
    """The same fleet, days and prices, driven in three ways.

    Attributes:
        at_once_eur: Charging whenever plugged in.
        teacher_eur: As whoever made the labels.
        model_eur: As the shared model says.
        cost_saved_eur: By the model, beside charging at once.
        stranded_at_once_kwh: Driving for which the battery held nothing, charging at once.
        stranded_model_kwh: The same by the model.
    """

    at_once_eur: float
    teacher_eur: float
    model_eur: float
    cost_saved_eur: float
    stranded_at_once_kwh: float
    stranded_model_kwh: float


def costs_of(world: FleetWorld, taught: FleetLife, weights: Weights) -> FleetCosts:
    """Drive a fleet in three ways; the days are those the model was trained on."""
    at_once, by_model = live_at_once(world), live_by(weights, world)
    before, teacher, after = (cost_eur(world, one) for one in (at_once, taught, by_model))
    return FleetCosts(
        at_once_eur=round(before, 2),
        teacher_eur=round(teacher, 2),
        model_eur=round(after, 2),
        cost_saved_eur=round(before - after, 2),
        stranded_at_once_kwh=round(stranded_kwh(world, at_once), 3),
        stranded_model_kwh=round(stranded_kwh(world, by_model), 3),
    )


def live_at_once(world: FleetWorld) -> FleetLife:
    """Charge at full power whenever plugged in."""

    def _decide(_: int, soc: Floats) -> tuple[Labels, Floats]:
        return np.full(len(soc), CHARGE, dtype=np.int8), world.power_kw

    return live(world, _decide)


def live_by(weights: Weights, world: FleetWorld) -> FleetLife:
    """Let a learned model drive a fleet, each vehicle doing what it finds likeliest."""
    coefficients = weights["coef"].astype(np.float64).T
    price_share, sign = world.scale.share(world.price_eur_per_kwh), np.array([1.0, -1.0, 0.0])

    def _decide(step: int, soc: Floats) -> tuple[Labels, Floats]:
        rows = features(soc, np.full_like(soc, price_share[step]), np.array(world.hour[step]))
        action = (rows @ coefficients + weights["intercept"]).argmax(axis=1).astype(np.int8)
        return action, sign[action] * world.power_kw

    return live(world, _decide)


def cost_eur(world: FleetWorld, life: FleetLife) -> float:
    """All flows at their prices, and what is missing on the road and at the end.

    What a battery does not hold when it is driven is bought on the way at the dearest price of all
    steps; what it holds less at the end than at the start another day, at their mean.
    """
    price = world.price_eur_per_kwh
    left_kwh = np.maximum(_held_kwh(world, life) - world.drive_kwh, 0.0)[:, -1]
    gained_kwh = left_kwh - life.soc[:, 0] * world.capacity_kwh
    flows_eur = float((life.energy_kwh * price).sum() - gained_kwh.sum() * price.mean())
    return flows_eur + stranded_kwh(world, life) * float(price.max())


def stranded_kwh(world: FleetWorld, life: FleetLife) -> float:
    """Driving for which the battery held nothing."""
    return float(np.maximum(world.drive_kwh - _held_kwh(world, life), 0.0).sum())


def _held_kwh(world: FleetWorld, life: FleetLife) -> Floats:
    """What is in each battery after a step's charging and before its driving."""
    return np.asarray(life.soc * world.capacity_kwh[:, None] + life.energy_kwh)
