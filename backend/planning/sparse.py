"""A convex programme that grows block by block."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.planning.problem import Array
from backend.planning.standard import Programme

Indices = npt.NDArray[np.intp]


@dataclass(slots=True)
class Rows:
    """Rows of a matrix and their right-hand sides."""

    rows: list[Indices] = field(default_factory=list)
    columns: list[Indices] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    right: list[Array] = field(default_factory=list)
    height: int = 0

    def new(self, right: Array) -> Indices:
        """Add empty rows with this right-hand side; gives their numbers."""
        added = np.arange(self.height, self.height + len(right))
        self.right.append(right)
        self.height += len(right)
        return added

    def put(self, rows: Indices, columns: Indices, values: Array | float) -> None:
        """Add entries; entries in the same place add up."""
        self.rows.append(rows)
        self.columns.append(columns)
        self.values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape))

    def matrix(self, width: int) -> tuple[Any, Array]:
        """The matrix, sparse by columns, and the right-hand side."""
        right = np.concatenate(self.right) if self.height else np.zeros(0)
        return self.entries(width, self.height), right

    def entries(self, width: int, height: int) -> Any:  # noqa: ANN401 - scipy has no types here
        """The entries as a matrix of this size, sparse by columns."""
        import scipy.sparse as sp  # noqa: PLC0415 - only the processes that solve pay for it

        if not self.rows:
            return sp.csc_array((height, width))
        places = (np.concatenate(self.rows), np.concatenate(self.columns))
        return sp.csc_array((np.concatenate(self.values), places), shape=(height, width))


@dataclass(slots=True)
class Draft:
    """Variables and rows of a programme that is still growing."""

    lower: list[Array] = field(default_factory=list)
    upper: list[Array] = field(default_factory=list)
    cost: list[Array] = field(default_factory=list)
    curvature: list[Array] = field(default_factory=list)
    help: list[Array] = field(default_factory=list)
    equal: Rows = field(default_factory=Rows)
    at_most: Rows = field(default_factory=Rows)
    width: int = 0

    def variables(
        self,
        lower: Array | float,
        upper: Array,
        *,
        cost: Array | float = 0.0,
        curvature: Array | float = 0.0,
        help_: Array | float = 0.0,
    ) -> Indices:
        """Add one variable for each upper bound; gives their columns."""
        bounds = ((self.lower, lower), (self.upper, upper))
        costs = ((self.cost, cost), (self.curvature, curvature), (self.help, help_))
        for kept, value in (*bounds, *costs):
            kept.append(np.broadcast_to(np.asarray(value, dtype=np.float64), upper.shape))
        added = np.arange(self.width, self.width + len(upper))
        self.width += len(upper)
        return added

    def sums(self, lower: Array | float, upper: Array) -> tuple[Indices, Indices]:
        """Add variables that are sums of others; gives their columns and rows to put those in."""
        columns, rows = self.variables(lower, upper), self.equal.new(np.zeros(len(upper)))
        self.equal.put(rows, columns, -1.0)
        return columns, rows

    def finished(self) -> Programme:
        """The programme as it stands."""
        return Programme(
            curvature=np.concatenate(self.curvature),
            help=np.concatenate(self.help),
            cost=np.concatenate(self.cost),
            equal=self.equal.matrix(self.width),
            at_most=self.at_most.matrix(self.width),
            lower=np.concatenate(self.lower),
            upper=np.concatenate(self.upper),
        )
