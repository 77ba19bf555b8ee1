"""A plan of a whole site together with the question it answers."""

from dataclasses import dataclass
from datetime import datetime

from backend.features.sessions.situation import Situation
from backend.planning.explanation import Reason
from backend.planning.problem import Array, ChargingPlan, ChargingProblem


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A plan for every open session of a site.

    Attributes:
        edges: Edges of the steps, UTC.
        uncontrolled_cost_eur: Purchase cost of each session if all charged at once, shape
            (sessions,).
        reasons: Why, for each session.
    """

    situation: Situation
    edges: tuple[datetime, ...]
    problem: ChargingProblem
    plan: ChargingPlan
    uncontrolled_kw: Array
    uncontrolled_cost_eur: Array
    reasons: tuple[tuple[Reason, ...], ...]
    solve_ms: float
