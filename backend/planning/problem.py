"""The question a site asks its planner, and the answer it gets.

Optional parts of the question that came last: `efficiency_curve` (efficiency by power, in place of
`efficiency`) and `Taper.binds_at` (where in a step a falling power binds).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from backend.planning.curve import EfficiencyCurve
from backend.planning.equipment import (
    Battery,
    Grid,
    GroupLimit,
    Phases,
    Taper,
    Tiers,
    VehicleToGrid,
)
from backend.planning.flows import Flows, flows
from backend.planning.refusals import refuse_arrays, refuse_settings
from backend.planning.steps import STEP, available_hours, step_edges, step_hours

__all__ = [
    "STEP",
    "Array",
    "ChargingPlan",
    "ChargingProblem",
    "Fairness",
    "Prices",
    "available_hours",
    "finish_times",
    "step_edges",
    "step_hours",
]

Array = npt.NDArray[np.float64]

Fairness = Literal["energy", "few_short", "equal_share"]
"""Whom it hits when the site is short.

None of the rules wastes energy, save that few_short gives some up where batteries taper.

- energy: whoever the prices and urgencies make it; only the sum counts.
- few_short: as few vehicles as possible, so the smallest open demands are met first.
- equal_share: everybody misses the same share of the demand, as far as stays allow.
"""


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class ChargingProblem:
    """One site over one horizon.

    A setpoint is the power while the vehicle is available, so the energy of a step is setpoint
    times available hours, and the site limit holds at every instant of the step. Vehicles are in
    order of arrival.

    Everything after `urgency` is optional and changes nothing when left out.

    Attributes:
        step_h: Length of each step, shape (steps,). The first may be shorter: it starts now.
        available_h: Hours of each step in which the vehicle is plugged in and not yet gone, shape
            (vehicles, steps).
        limit_kw: Highest setpoint, shape (vehicles, steps).
        demand_kwh: Energy wanted by departure and possible for the battery, shape (vehicles,).
        site_limit_kw: Power left for charging, or with `grid` the connection's limit, shape
            (steps,).
        price_eur_per_kwh: Purchase price, may be negative, shape (steps,).
        preference_eur_per_kwh: What a kWh of this vehicle costs beside its price, such as its
            carbon, shape (vehicles, steps).
        urgency: Priority of each vehicle, 1 or more: it weighs shortfall and lateness when the
            site is full, shape (vehicles,).
        efficiency: Battery energy per energy drawn, shape (vehicles,); None is 1. Demands and the
            energies of a plan are the battery's, costs are for what is drawn.
        efficiency_curve: Efficiency by power instead, for chargers that lose more at little power.
        min_power_kw: Setpoint below which a charger is off, shape (vehicles,). It binds in the
            first step, which is the one that is carried out; there a vehicle that needs less may
            be given it, and stops by itself.
        levels_kw: The setpoints each charger knows beside 0, ascending, shape (vehicles, levels);
            for the first step too.
        previous_kw: The last plan, NaN where it had none, shape (vehicles, steps). Ties are broken
            in its favour.
        fairness: Whom it hits when the site is short.
        shortfall_price_eur_per_kwh: What a kWh short is worth; 0 lets nothing be dearer.
        tiers: Reserve, trip and comfort part of each demand; without, all of it is trip.
        grid: Base load, sun, export and demand charge.
        groups: Limits of feeders, transformers or other groups of chargers.
        phases: Limits of the currents of a three-phase connection.
        taper: Falling power of batteries that get full.
        v2g: Vehicles that may give energy back.
        battery: A stationary battery.
    """

    step_h: Array
    available_h: Array
    limit_kw: Array
    demand_kwh: Array
    site_limit_kw: Array
    price_eur_per_kwh: Array
    preference_eur_per_kwh: Array
    urgency: Array
    efficiency: Array | None = None
    min_power_kw: Array | None = None
    levels_kw: Array | None = None
    previous_kw: Array | None = None
    fairness: Fairness = "energy"
    shortfall_price_eur_per_kwh: float = 0.0
    tiers: Tiers | None = None
    grid: Grid | None = None
    groups: tuple[GroupLimit, ...] = ()
    phases: Phases | None = None
    taper: Taper | None = None
    v2g: VehicleToGrid | None = None
    battery: Battery | None = None
    efficiency_curve: EfficiencyCurve | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit and values that cannot be.

        Raises:
            ValueError: With the name of the array and what is wrong.
        """
        vehicles, steps = len(self.demand_kwh), len(self.step_h)
        needed = _shapes(vehicles, steps)
        arrays = {name: getattr(self, name) for name in needed}
        refuse_arrays(arrays, needed, may_be_negative=_MAY_BE_NEGATIVE)
        if np.any(self.step_h == 0):
            raise ValueError("step_h has a step without length")
        if np.any(self.available_h > self.step_h + 1e-9):
            raise ValueError("available_h is longer than its step")
        if np.any(self.urgency < 1):
            raise ValueError("urgency has a value below 1")
        if not 0 <= self.shortfall_price_eur_per_kwh < np.inf:
            raise ValueError("shortfall_price_eur_per_kwh is negative or not finite")
        if self.efficiency is not None and self.efficiency_curve is not None:
            raise ValueError("efficiency and efficiency_curve are both given")
        refuse_settings(
            vehicles,
            steps,
            efficiency=self.efficiency,
            min_power_kw=self.min_power_kw,
            levels_kw=self.levels_kw,
            previous_kw=self.previous_kw,
        )
        parts = (self.tiers, self.grid, *self.groups, self.phases, self.taper, self.v2g)
        for part in (*parts, self.battery, self.efficiency_curve):
            for fault in () if part is None else part.faults(vehicles, steps):
                raise ValueError(f"{type(part).__name__}: {fault}")

    @property
    def cost_eur_per_kwh(self) -> Array:
        """Price and preference together, shape (vehicles, steps)."""
        return self.price_eur_per_kwh + self.preference_eur_per_kwh

    @property
    def is_plain(self) -> bool:
        """Whether there are only chargers under one limit of energy that costs the same for all."""
        parts = (self.grid, self.phases, self.taper, self.v2g, self.battery)
        losses = (self.efficiency, self.efficiency_curve)
        return all(part is None for part in (*parts, *losses)) and not self.groups

    @property
    def charging_efficiency(self) -> Array:
        """Battery energy per energy drawn, the best of a curve, shape (vehicles,)."""
        if self.efficiency_curve is not None:
            return self.efficiency_curve.highest
        return np.ones(len(self.demand_kwh)) if self.efficiency is None else self.efficiency

    @property
    def base_load_kw(self) -> Array:
        """What the site draws beside charging, shape (steps,)."""
        base = None if self.grid is None else self.grid.base_load_kw
        return np.zeros(len(self.step_h)) if base is None else base

    @property
    def pv_kw(self) -> Array:
        """What the sun gives, shape (steps,)."""
        pv = None if self.grid is None else self.grid.pv_kw
        return np.zeros(len(self.step_h)) if pv is None else pv

    @property
    def export_value_eur_per_kwh(self) -> Array:
        """What exported energy earns, at most its purchase price, shape (steps,)."""
        price = None if self.grid is None else self.grid.export_price_eur_per_kwh
        return np.minimum(0.0 if price is None else price, self.price_eur_per_kwh)

    @property
    def import_limit_kw(self) -> Array:
        """Highest draw from the grid: the limit, or the base load where it is above, (steps,)."""
        return np.maximum(self.site_limit_kw, self.base_load_kw - self.pv_kw)

    def at_best_efficiency(self) -> "ChargingProblem":
        """The site with the best efficiency of each curve, which lets no plan store too much."""
        if self.efficiency_curve is None:
            return self
        return replace(self, efficiency_curve=None, efficiency=self.efficiency_curve.highest)

    def battery_energy_kwh(self, setpoint_kw: Array) -> Array:
        """What setpoints put into each battery, negative what they take, (vehicles, steps)."""
        drawn_kwh = setpoint_kw * self.available_h
        charged_kwh = drawn_kwh * self.charging_efficiency[:, None]
        if self.efficiency_curve is not None:
            charged_kwh = self.efficiency_curve.battery_kw(setpoint_kw) * self.available_h
        if self.v2g is None:
            return charged_kwh
        return np.asarray(
            np.where(drawn_kwh < 0, drawn_kwh / self.v2g.efficiency[:, None], charged_kwh)
        )

    @property
    def possible_kwh(self) -> Array:
        """Energy each vehicle could take were it alone, shape (vehicles,)."""
        hours = self.available_h * self.charging_efficiency[:, None]
        if self.taper is None and self.efficiency_curve is not None:
            return np.asarray(self.battery_energy_kwh(self.limit_kw).sum(axis=1))
        if self.taper is None:
            return np.asarray((self.limit_kw * hours).sum(axis=1))
        return self.taper.possible_kwh(self.limit_kw, hours)


_MAY_BE_NEGATIVE = {"price_eur_per_kwh", "preference_eur_per_kwh"}


def _shapes(vehicles: int, steps: int) -> dict[str, tuple[int, ...]]:
    return {
        "step_h": (steps,),
        "available_h": (vehicles, steps),
        "limit_kw": (vehicles, steps),
        "demand_kwh": (vehicles,),
        "site_limit_kw": (steps,),
        "price_eur_per_kwh": (steps,),
        "preference_eur_per_kwh": (vehicles, steps),
        "urgency": (vehicles,),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What the limits of a plan are worth: how its objective would change with them.

    Attributes:
        energy_eur_per_kwh: What one more kWh of demand would cost (the price of a shortfall where
            the demand is not met), shape (vehicles,).
        power_eur_per_kw: What one more kW at the vehicle would save, shape (vehicles, steps).
        load_eur_per_kw: What one more kW drawn by anybody would cost beside its energy: the site's
            and the peak's share, shape (steps,).
        group_eur_per_kw: What one more kW of each group limit would save, shape (groups, steps).
    """

    energy_eur_per_kwh: Array
    power_eur_per_kw: Array
    load_eur_per_kw: Array
    group_eur_per_kw: Array


@dataclass(frozen=True, slots=True, eq=False)
class ChargingPlan:
    """Setpoints for every vehicle of a site and what they come to.

    Attributes:
        setpoint_kw: Power while available, negative out of the vehicle, shape (vehicles, steps).
        energy_kwh: Energy in the battery gained by departure, shape (vehicles,).
        shortfall_kwh: Demand that is not met, shape (vehicles,).
        cost_eur: The energy the vehicles draw at the purchase price.
        objective_eur: The same with the preferences added.
        method: How the plan came about: by optimising, by the simple safe rule, or uncontrolled.
        solver: What solved it; empty when nothing was solved.
        site_limit_price_eur_per_kw: What one more kW of site limit would save in each step, in the
            optimiser's terms (a shortfall counts many times its energy's price), shape (steps,).
        flows: What the whole site draws from the grid and gives to it.
        site_cost_eur: What the whole site pays: energy drawn less energy given, demand charge
            above the free peak, wear of batteries.
        prices: What the other limits are worth; None when nothing was solved.
    """

    setpoint_kw: Array
    energy_kwh: Array
    shortfall_kwh: Array
    cost_eur: float
    objective_eur: float
    method: Literal["optimal", "fallback", "uncontrolled"]
    solver: str
    site_limit_price_eur_per_kw: Array
    flows: Flows
    site_cost_eur: float
    prices: Prices | None = None

    @classmethod
    def of(
        cls,
        problem: ChargingProblem,
        setpoint_kw: Array,
        *,
        method: Literal["optimal", "fallback", "uncontrolled"],
        solver: str = "",
        battery_kw: Array | None = None,
        site_limit_price_eur_per_kw: Array | None = None,
        prices: Prices | None = None,
    ) -> Self:
        """The plan these setpoints, shape (vehicles, steps), make."""
        steps = len(problem.step_h)
        drawn_kwh = setpoint_kw * problem.available_h
        energy_kwh = problem.battery_energy_kwh(setpoint_kw).sum(axis=1)
        if problem.min_power_kw is not None or problem.levels_kw is not None:
            energy_kwh = np.minimum(energy_kwh, problem.demand_kwh)
        battery_kw = np.zeros(steps) if battery_kw is None else battery_kw
        site = _site_flows(problem, setpoint_kw, battery_kw)
        if site_limit_price_eur_per_kw is None:
            site_limit_price_eur_per_kw = np.zeros(steps)
        return cls(
            setpoint_kw=setpoint_kw,
            energy_kwh=energy_kwh,
            shortfall_kwh=np.maximum(problem.demand_kwh - energy_kwh, 0.0),
            cost_eur=float(drawn_kwh.sum(axis=0) @ problem.price_eur_per_kwh),
            objective_eur=float((drawn_kwh * problem.cost_eur_per_kwh).sum()),
            method=method,
            solver=solver,
            site_limit_price_eur_per_kw=site_limit_price_eur_per_kw,
            flows=site,
            site_cost_eur=_site_cost_eur(problem, setpoint_kw, site),
            prices=prices,
        )


def _site_flows(problem: ChargingProblem, setpoint_kw: Array, battery_kw: Array) -> Flows:
    return flows(
        setpoint_kw.sum(axis=0) + problem.base_load_kw + battery_kw,
        battery_kw,
        pv_kw=problem.pv_kw,
        export_value_eur_per_kwh=problem.export_value_eur_per_kwh,
        export_limit_kw=np.inf if problem.grid is None else problem.grid.export_limit_kw,
    )


def _site_cost_eur(problem: ChargingProblem, setpoint_kw: Array, site: Flows) -> float:
    """Energy, demand charge and wear; vehicles there for part of a step pay for that part."""
    price, value = problem.price_eur_per_kwh, problem.export_value_eur_per_kwh
    cost_eur = float((site.import_kw * price - site.export_kw * value) @ problem.step_h)
    absent_kwh = (setpoint_kw * (problem.step_h - problem.available_h)).sum(axis=0)
    cost_eur -= float(absent_kwh @ price)
    if problem.grid is not None:
        paid_kw = max(0.0, site.peak_kw - problem.grid.free_peak_kw)
        cost_eur += problem.grid.demand_charge_eur_per_kw * paid_kw
    if problem.v2g is not None:
        given_kwh = np.maximum(-setpoint_kw * problem.available_h, 0.0).sum(axis=1)
        cost_eur += float(given_kwh @ problem.v2g.wear_eur_per_kwh)
    if problem.battery is not None:
        given_kwh = np.maximum(-site.battery_kw, 0.0) * problem.step_h
        cost_eur += problem.battery.wear_eur_per_kwh * float(given_kwh.sum())
    return cost_eur


def finish_times(
    plan: ChargingPlan, *, edges: Sequence[datetime], departures: Sequence[datetime]
) -> tuple[datetime | None, ...]:
    """When each vehicle's last charging step ends; None for one that does not charge."""
    return tuple(
        min(edges[np.flatnonzero(row)[-1] + 1], departure) if row.any() else None
        for row, departure in zip(plan.setpoint_kw > 0, departures, strict=True)
    )
