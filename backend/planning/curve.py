"""How much of the power that is drawn reaches a battery."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class EfficiencyCurve:
    """Battery energy per energy drawn, by charging power.

    Between two points the power that reaches the battery is linear; below the first and above the
    last the efficiency is theirs.

    Attributes:
        power_kw: Powers drawn, above 0 and ascending, shape (vehicles, points).
        efficiency: Battery energy per energy drawn there, shape (vehicles, points).
    """

    power_kw: Array
    efficiency: Array

    @property
    def highest(self) -> Array:
        """The best efficiency of each vehicle, shape (vehicles,)."""
        return np.asarray(self.efficiency.max(axis=1))

    def battery_kw(self, drawn_kw: Array) -> Array:
        """Power that reaches the batteries, both of shape (vehicles, steps)."""
        return _along(drawn_kw, self.power_kw, self.power_kw * self.efficiency)

    def drawn_kw(self, battery_kw: Array) -> Array:
        """Power to draw for so much in the batteries, both of shape (vehicles, steps)."""
        return _along(battery_kw, self.power_kw * self.efficiency, self.power_kw)

    def of(self, rows: npt.NDArray[np.intp]) -> Self:
        """The curves of some of the vehicles."""
        return type(self)(self.power_kw[rows], self.efficiency[rows])

    def faults(self, vehicles: int, _steps: int) -> Iterator[str]:
        """What cannot be."""
        shape = self.power_kw.shape
        if len(shape) != 2 or shape[0] != vehicles or shape[1] < 1:  # noqa: PLR2004 - a table
            yield f"power_kw has shape {shape}, expected {(vehicles, 'points')}"
        elif self.efficiency.shape != shape:
            yield f"efficiency has shape {self.efficiency.shape}, expected {shape}"
        elif not np.all((self.efficiency > 0) & (self.efficiency <= 1)):
            yield "efficiency is not above 0 and at most 1"
        else:
            for powers in (self.power_kw, self.power_kw * self.efficiency):
                if not np.all(np.isfinite(powers) & (np.diff(powers, axis=1, prepend=0.0) > 0)):
                    yield "power_kw, drawn or in the battery, is not positive and ascending"


def _along(value: Array, at: Array, result: Array) -> Array:
    """Piecewise linear from 0 through the points, proportional beyond the last."""
    start, end = np.pad(at, ((0, 0), (1, 0))), np.pad(at, ((0, 0), (0, 1)), constant_values=np.inf)
    rise = np.diff(result, axis=1, prepend=0.0) / np.diff(at, axis=1, prepend=0.0)
    rise = np.concatenate((rise, result[:, -1:] / at[:, -1:]), axis=1)
    total = np.zeros_like(value)
    for piece in range(rise.shape[1]):
        within = np.clip(value - start[:, piece, None], 0.0, (end - start)[:, piece, None])
        total += rise[:, piece, None] * within
    return total
