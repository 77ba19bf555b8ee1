"""The limits that vehicles share, as sums: of the site, its groups and its phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from backend.planning.equipment import Phases
from backend.planning.problem import Array, ChargingProblem

COARSE_DEG: Final = (0.0, 15.0, 22.0, 27.0, 30.0, 33.0, 38.0, 45.0, 60.0)
FINE_DEG: Final = tuple(np.linspace(0.0, 60.0, 17).tolist())
"""Where chords meet on a sixth of a current's circle: at most 0.9 % inside it, and 0.06 %.

They are dense where the phases are nearly balanced. The optimiser uses few; what those leave is
filled up within the many.
"""


ANY_KW = 1e9
"""More than any site."""


@dataclass(slots=True, eq=False)
class SharedLimits:
    """Weighted sums of setpoints and what they may come to.

    Attributes:
        weight: What each vehicle's power counts for, shape (limits, vehicles).
        room_kw: What is left of each limit, shape (limits, steps); changes with `take`.
    """

    weight: Array
    room_kw: Array

    @classmethod
    def of(
        cls,
        problem: ChargingProblem,
        *,
        battery_kw: Array | None = None,
        highest_import_kw: Array | None = None,
    ) -> Self:
        """The limits of a site, nothing taken yet.

        Args:
            problem: The site.
            battery_kw: Power into the stationary battery, shape (steps,).
            highest_import_kw: A lower limit of import, such as a peak to keep, shape (steps,).
        """
        vehicles, steps = problem.limit_kw.shape
        import_kw = problem.import_limit_kw
        if highest_import_kw is not None:
            import_kw = np.minimum(import_kw, highest_import_kw)
        beside_kw = problem.base_load_kw - problem.pv_kw
        site_kw = import_kw - beside_kw - (0.0 if battery_kw is None else battery_kw)
        weights, rooms = [np.ones((1, vehicles))], [site_kw[None]]
        for group in problem.groups:
            member = np.zeros((1, vehicles))
            member[0, list(group.vehicles)] = 1.0
            weights.append(member)
            rooms.append(group.limit_kw[None])
        if problem.phases is not None:
            facets, limit_kw = pair_limits(
                problem.phases, corners_deg=FINE_DEG, gives=problem.v2g is not None
            )
            weights.append(facets @ pair_shares(problem.phases))
            rooms.append(np.repeat(limit_kw[:, None], steps, axis=1))
        if problem.v2g is not None:
            export_kw = 0.0 if problem.grid is None else min(problem.grid.export_limit_kw, ANY_KW)
            weights.append(-np.ones((1, vehicles)))
            rooms.append((export_kw - site_kw + import_kw + problem.pv_kw)[None])
        return cls(np.concatenate(weights), np.concatenate(rooms))

    def left_kw(self, vehicle: int) -> Array:
        """The power this vehicle could still draw in each step, shape (steps,)."""
        weight = self.weight[:, vehicle]
        binds = weight > 0
        left_kw = (self.room_kw[binds] / weight[binds, None]).min(axis=0)
        return np.asarray(np.maximum(left_kw, 0.0))

    def take(self, vehicle: int, power_kw: Array) -> None:
        """Use up room; power has shape (steps,)."""
        self.room_kw -= self.weight[:, vehicle, None] * power_kw

    def take_all(self, setpoint_kw: Array) -> None:
        """Use up room for setpoints of all vehicles, shape (vehicles, steps)."""
        self.room_kw -= self.weight @ setpoint_kw


def brought_within(limits: SharedLimits, setpoint_kw: Array) -> Array:
    """Lower what is charged, everybody by the same share, until every sum keeps its limit.

    Limits with negative weights (of unbalance) are left alone: lowering could break them.
    """
    lowers = np.all(limits.weight >= 0, axis=1)
    is_exceeded = np.any(limits.weight @ setpoint_kw > limits.room_kw, axis=1)
    for limit in np.flatnonzero(lowers & is_exceeded):
        weight, room_kw = limits.weight[limit], limits.room_kw[limit]
        members = weight > 0
        drawn_kw = weight @ np.maximum(setpoint_kw, 0.0)
        given_kw = weight @ np.maximum(-setpoint_kw, 0.0)
        allowed_kw = np.maximum(room_kw + given_kw, 0.0)
        exceeds = drawn_kw > allowed_kw
        if not exceeds.any():
            continue
        share = np.where(exceeds, allowed_kw / np.where(drawn_kw > 0, drawn_kw, 1.0), 1.0)
        lowered_kw = np.where(setpoint_kw > 0, setpoint_kw * share, setpoint_kw)
        setpoint_kw = np.where(members[:, None], lowered_kw, setpoint_kw)
    return setpoint_kw


def balanced(problem: ChargingProblem, setpoint_kw: Array) -> Array:
    """Lower the charging on phases that exceed the unbalance limit, shape (vehicles, steps)."""
    phases = problem.phases
    if phases is None or phases.unbalance_a is None:
        return setpoint_kw
    setpoint_kw = setpoint_kw.copy()
    members = [phases.phase == pair for pair in range(3)]
    pair_kw = np.array([setpoint_kw[member].sum(axis=0) for member in members])
    highest_kw = pair_kw.min(axis=0) + phases.unbalance_a * phases.voltage_v / 1000
    for member, load_kw in zip(members, pair_kw, strict=True):
        drawn_kw = np.maximum(setpoint_kw[member], 0.0).sum(axis=0)
        excess_kw = np.clip(load_kw - highest_kw, 0.0, drawn_kw)
        share = 1 - excess_kw / np.where(drawn_kw > 0, drawn_kw, 1.0)
        powers = setpoint_kw[member]
        setpoint_kw[member] = np.where(powers > 0, powers * share, powers)
    return setpoint_kw


def pair_shares(phases: Phases) -> Array:
    """What of each vehicle's power each pair of lines (or phase) carries, shape (3, vehicles)."""
    one: npt.NDArray[np.float64] = (phases.phase == np.arange(3)[:, None]).astype(np.float64)
    return np.where(phases.phase == -1, 1 / 3, one)


def pair_limits(
    phases: Phases, *, corners_deg: Sequence[float], gives: bool
) -> tuple[Array, Array]:
    """Limits of the powers of the three pairs that keep the currents of the lines.

    Between lines, the current of line A is the sum of AB's and the negative of CA's, 60 degrees
    apart: its circle is replaced by chords, so what keeps them keeps the circle.

    Args:
        phases: The connection.
        corners_deg: Where chords meet on a sixth of a circle, from 0 to 60.
        gives: Whether power can flow out of vehicles, so that currents point anywhere.

    Returns:
        Weights of the three pairs, shape (limits, 3), and what they may come to in kW, (limits,).
    """
    line_kw = phases.limit_a * phases.voltage_v / 1000
    if phases.connection == "line_to_neutral":
        weights, limits_kw = [np.eye(3)], [line_kw]
        if gives:
            weights, limits_kw = [*weights, -np.eye(3)], [*limits_kw, line_kw]
    else:
        corner = np.radians(corners_deg)
        turns = np.pi / 3 * np.arange(6 if gives else 1)
        angle = np.add.outer(turns, (corner[1:] + corner[:-1]) / 2).ravel()
        inside = np.tile(np.cos(np.diff(corner) / 2), len(turns))
        weights, limits_kw = [], []
        for line in range(3):
            chords = np.zeros((len(angle), 3))
            chords[:, line], chords[:, line - 1] = np.cos(angle), np.cos(angle - np.pi / 3)
            weights.append(chords)
            limits_kw.append(line_kw[line] * inside)
    if phases.unbalance_a is not None:
        more, less = np.nonzero(~np.eye(3, dtype=bool))
        weights.append(np.eye(3)[more] - np.eye(3)[less])
        limits_kw.append(np.full(6, phases.unbalance_a * phases.voltage_v / 1000))
    return np.concatenate(weights), np.concatenate(limits_kw)
