"""Charges and discharges of a simulated fleet as the ledger takes them: no floats, no person."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.federation.fleet import STEPS_A_ROUND
from backend.federation.fleet_world import HOURS, FleetLife, FleetWorld, Floats

METERED = "fleet.flows.metered"
PLACES = Decimal("0.0001")


def started_at(world: FleetWorld, now: datetime) -> datetime:
    """The midnight at which the world begins, so that it has ended by now."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=-(-world.steps // HOURS))


def flows_of(
    world: FleetWorld, life: FleetLife, window: int, *, run_id: str, since: datetime
) -> list[dict[str, Any]]:
    """The flows of ten steps, one for each vehicle and unbroken spell in one direction.

    Args:
        world: The vehicles and prices.
        life: What they did.
        window: Which ten steps, counted from 1.
        run_id: Part of the vehicles' names.
        since: When the world begins.
    """
    first = (window - 1) * STEPS_A_ROUND
    energy_wh = np.rint(1000 * life.energy_kwh[:, first : first + STEPS_A_ROUND]).astype(np.int64)
    return [
        {
            "vehicle": f"{run_id}/vehicle{vehicle:05d}",
            "started_at": _moment(since, first + spell[0]),
            "ended_at": _moment(since, first + spell[-1] + 1),
            **_amounts(energy_wh[vehicle, spell], world.price_eur_per_kwh[first + np.array(spell)]),
        }
        for vehicle in range(world.vehicles)
        for spell in _spells(energy_wh[vehicle])
    ]


def _spells(energy_wh: NDArray[np.int64]) -> Iterator[list[int]]:
    """Steps behind each other in which energy flowed in one direction."""
    for sign, run in groupby(range(len(energy_wh)), key=lambda step: int(np.sign(energy_wh[step]))):
        if sign:
            yield list(run)


def _amounts(energy_wh: NDArray[np.int64], prices: Floats) -> dict[str, Any]:
    """Energy, mean price and cost of a spell; what is given is earned, so its cost is negative."""
    wh = int(energy_wh.sum())
    cost = Decimal(float((energy_wh * prices).sum()) / 1000).quantize(PLACES)
    return {
        "type": "charge" if wh > 0 else "discharge",
        "energy_wh": abs(wh),
        "price_eur_per_kwh": str((cost * 1000 / wh).quantize(PLACES)),
        "cost_eur": str(cost),
    }


def _moment(since: datetime, step: int) -> str:
    return (since + timedelta(hours=step)).isoformat().replace("+00:00", "Z")
