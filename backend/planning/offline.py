"""Perfect foresight: the best that could have been done had the whole day been known."""

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from backend.planning.replay import Array, Site, Visits

SHORTFALL_PRICE_EUR_PER_KWH = 10.0
EARLINESS_EUR_PER_KW = 1e-7
"""What a step of waiting costs, so that ties are charged early."""


class NotSolved(Exception):
    """The solver found no optimum for this day."""


def perfect_foresight(
    site: Site,
    visits: Visits,
    *,
    shortfall_price_eur_per_kwh: float = SHORTFALL_PRICE_EUR_PER_KWH,
) -> Array:
    """Power of each vehicle that makes energy, peak and shortfall cheapest together.

    A linear programme over the power of each vehicle and step, the shortfall of each vehicle, the
    load of each step and the peak, solved by the simplex of HiGHS. It knows no tapers and no
    minimum powers: with them it is a bound.

    Returns:
        Power in kW, shape (vehicles, steps).

    Raises:
        NotSolved: If the solver fails.
    """
    vehicles, steps = len(visits.demand_kwh), site.steps
    if vehicles == 0:
        return np.zeros((0, steps))
    times = np.arange(steps)
    is_there = (visits.arrival[:, None] <= times) & (times < visits.departure[:, None])
    vehicle, step = np.nonzero(is_there)
    cells = len(vehicle)
    energy = sp.csr_array(  # what each vehicle is given and what it lacks make its demand
        (np.full(cells, site.step_h), (vehicle, np.arange(cells))), shape=(vehicles, cells)
    )
    load = sp.csr_array((np.ones(cells), (step, np.arange(cells))), shape=(steps, cells))
    lacking, drawn = sp.eye_array(vehicles), sp.eye_array(steps)
    peak = sp.csr_array(np.ones((steps, 1)))
    balance = sp.block_array([[energy, lacking, None, None], [load, None, -drawn, 0 * peak]])
    below_peak = sp.hstack((sp.csr_array((steps, cells + vehicles)), drawn, -peak), format="csr")
    energy_eur = site.price_eur_per_kwh[step] * site.step_h + EARLINESS_EUR_PER_KW * step
    short_eur = np.full(vehicles, shortfall_price_eur_per_kwh)
    highest = (visits.max_kw[vehicle], visits.demand_kwh, site.limit_kw, [np.inf])
    solution = linprog(
        np.concatenate((energy_eur, short_eur, np.zeros(steps), [site.demand_charge_eur_per_kw])),
        A_eq=balance,
        b_eq=np.concatenate((visits.demand_kwh, np.zeros(steps))),
        A_ub=below_peak,
        b_ub=np.zeros(steps),
        bounds=np.column_stack((np.zeros(balance.shape[1]), np.concatenate(highest))),
        method="highs-ds",
    )
    if solution.x is None:
        raise NotSolved(solution.message)
    power_kw = np.zeros((vehicles, steps))
    power_kw[vehicle, step] = np.maximum(solution.x[:cells], 0.0)
    return power_kw
