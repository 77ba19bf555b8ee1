"""Linear programmes some of whose columns are 0 or 1, by HiGHS on one thread."""

from typing import Any, Final

import numpy as np

from backend.planning.problem import Array
from backend.planning.standard import NotSolved

OPTIONS: Final = {"output_flag": False, "threads": 1, "mip_rel_gap": 0.0, "mip_abs_gap": 0.01}


def least_cost(
    cost: Array,
    *,
    columns: tuple[Array, Array],
    matrix: Any,  # noqa: ANN401 - scipy has no types here
    rows: tuple[Array, Array],
    binaries: int,
    time_limit_s: float,
) -> Array:
    """The best columns between their bounds, the last of them whole, with rows between theirs.

    Raises:
        NotSolved: If there is no solution in time.
    """
    import highspy  # noqa: PLC0415 - only the processes that solve pay for it

    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(cost), matrix.shape[0]
    model.col_cost_, (model.col_lower_, model.col_upper_) = cost, columns
    model.row_lower_, model.row_upper_ = rows
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.a_matrix_.value_ = matrix.data
    kinds = highspy.HighsVarType
    whole = [kinds.kInteger] * binaries
    model.integrality_ = [kinds.kContinuous] * (len(cost) - binaries) + whole
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # it has no types
    for option, value in (OPTIONS | {"time_limit": time_limit_s}).items():
        solver.setOptionValue(option, value)
    solver.passModel(model)
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        raise NotSolved("no settings found in time")
    return np.asarray(solver.getSolution().col_value)
