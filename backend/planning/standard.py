"""Convex programmes in one shape, solved through cvxpy and compiled once per matrix.

A programme is: minimise ½ x'diag(q)x + c'x over lower ≤ x ≤ upper with A x = b and G x ≤ h. Its
vectors may change from one solve to the next; its matrices and q decide what is compiled.
"""

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.planning.problem import Array

# At the solvers' own tolerances a step that should be idle keeps 10 mW to 1 W, because waiting
# costs so little; these, an iteration or two later, leave almost nothing.
OPTIONS: Mapping[str, Mapping[str, float]] = {
    "PIQP": {"max_iter": 100, "eps_duality_gap_abs": 1e-11, "eps_duality_gap_rel": 1e-12},
    "CLARABEL": {"max_threads": 1, "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-12},
    "HIGHS": {"threads": 1},
}

KEPT = 8
"""Compiled programmes that are kept."""


class NotSolved(Exception):
    """This solver has no plan for this problem; the next one may."""


@dataclass(frozen=True, slots=True, eq=False)
class Programme:
    """One convex programme.

    Attributes:
        curvature: Diagonal q of the quadratic cost, shape (variables,).
        help: Curvature that is there only because it speeds PIQP up, shape (variables,).
        cost: Linear cost c, shape (variables,).
        equal: Matrix A, sparse by columns, and its right-hand side b.
        at_most: Matrix G, sparse by columns, and its right-hand side h.
        lower: Lower bounds, shape (variables,).
        upper: Upper bounds, shape (variables,).
    """

    curvature: Array
    help: Array
    cost: Array
    equal: tuple[Any, Array]
    at_most: tuple[Any, Array]
    lower: Array
    upper: Array


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The values of the variables and the prices of what holds them.

    Attributes:
        x: Values, shape (variables,).
        equal_price: What one more on the right of each equation would save, negated, (equations,).
        reduced: What one more of each upper bound would save if positive, and one more of each
            lower bound would cost if negative, shape (variables,).
    """

    x: Array
    equal_price: Array
    reduced: Array


@dataclass(slots=True, eq=False)
class _Compiled:
    """A programme as cvxpy hands it to PIQP; the vectors are exchanged for each solve."""

    problem: Any
    variable: Any
    constraints: list[Any]
    data: dict[str, Any]
    chain: Any
    inverse: Any


_compiled: OrderedDict[bytes, _Compiled] = OrderedDict()


def solve(programme: Programme, solver: str, time_limit_s: float | None = None) -> Optimum:
    """Solve with PIQP, CLARABEL (which needs no help) or HIGHS (without quadratic cost).

    Raises:
        NotSolved: If there is no optimum within its tolerances and the time.
    """
    import cvxpy as cp  # noqa: PLC0415 - only the processes that solve pay for its import

    curvature = _curvature(programme, solver)
    with warnings.catch_warnings():  # an inaccurate solution is refused below, not warned of
        warnings.simplefilter("ignore")
        try:
            if solver == "PIQP":
                problem, variable, constraints = _solved_again(programme)
            else:
                options = dict(OPTIONS[solver])
                if time_limit_s is not None:
                    options["time_limit"] = time_limit_s
                problem, variable, constraints = _modelled(programme, curvature)
                problem.solve(solver=solver, **options)
        except cp.SolverError as error:
            raise NotSolved(solver) from error
    duals = [constraint.dual_value for constraint in constraints]
    if problem.status != cp.OPTIMAL or variable.value is None or any(d is None for d in duals):
        raise NotSolved(f"{solver}: {problem.status}")
    return _optimum(programme, variable.value, duals, curvature)


def _curvature(programme: Programme, solver: str) -> Array:
    """The quadratic cost that a solver is given, shape (variables,)."""
    if solver == "PIQP":
        return programme.curvature + programme.help
    return programme.curvature if solver == "CLARABEL" else 0.0 * programme.curvature


def _modelled(programme: Programme, curvature: Array) -> tuple[Any, Any, list[Any]]:
    """The programme in cvxpy: its problem, its one stacked variable and its constraints."""
    import cvxpy as cp  # noqa: PLC0415
    import scipy.sparse as sp  # noqa: PLC0415

    x = cp.Variable(len(programme.cost), bounds=[programme.lower, programme.upper])
    objective = programme.cost @ x
    if curvature.any():
        diagonal = sp.csc_matrix(sp.diags_array(curvature))
        objective += 0.5 * cp.quad_form(x, diagonal, assume_PSD=True)
    (matrix, right), (upper_matrix, upper_right) = programme.equal, programme.at_most
    constraints = [matrix @ x == right]
    if upper_matrix.shape[0]:
        constraints.append(upper_matrix @ x <= upper_right)
    return cp.Problem(cp.Minimize(objective), constraints), x, constraints


def _solved_again(programme: Programme) -> tuple[Any, Any, list[Any]]:
    """Solve with PIQP; only new vectors are handed over if the matrices are known."""
    found = compiled(programme)
    bounds = {"lower_bounds": programme.lower, "upper_bounds": programme.upper}
    right = {"b": programme.equal[1], "G": programme.at_most[1]}
    data = {**found.data, "q": programme.cost, **right, **bounds}
    raw = found.chain.solve_via_data(
        found.problem, data, warm_start=True, verbose=False, solver_opts=dict(OPTIONS["PIQP"])
    )
    found.problem.unpack_results(raw, found.chain, found.inverse)
    return found.problem, found.variable, found.constraints


def forget() -> None:
    """Drop every compiled programme, as a new process would be without."""
    _compiled.clear()


def compiled(programme: Programme) -> _Compiled:
    """The programme with these matrices as compiled for PIQP, from the few that are kept."""
    import cvxpy as cp  # noqa: PLC0415

    curvature = _curvature(programme, "PIQP")
    key = _key(programme, curvature)
    if key not in _compiled:
        problem, variable, constraints = _modelled(programme, curvature)
        data, chain, inverse = problem.get_problem_data(cp.PIQP)
        _compiled[key] = _Compiled(problem, variable, constraints, data, chain, inverse)
    _compiled.move_to_end(key)
    while len(_compiled) > KEPT:
        _compiled.popitem(last=False)
    return _compiled[key]


def _key(programme: Programme, curvature: Array) -> bytes:
    digest = hashlib.blake2b(curvature.tobytes(), digest_size=16)
    for matrix, _ in (programme.equal, programme.at_most):
        digest.update(np.array(matrix.shape).tobytes())
        for part in (matrix.indptr, matrix.indices, matrix.data):
            digest.update(part.tobytes())
    return digest.digest()


def _optimum(programme: Programme, x: Array, duals: list[Array], curvature: Array) -> Optimum:
    """Prices from the stationarity of the Lagrangian: what is left over is the bounds' share."""
    slope = programme.cost + curvature * x
    for (matrix, _), dual in zip((programme.equal, programme.at_most), duals, strict=False):
        slope = slope + matrix.T @ dual
    return Optimum(np.asarray(x), np.asarray(duals[0]), np.asarray(-slope))
