"""Which limits of a site are reached, by the names people know them by."""

import numpy as np

from backend.features.sessions.answer import Answer
from backend.features.sessions.outfit import CONNECTION
from backend.planning.explanation import Mask
from backend.planning.limits import pair_shares
from backend.planning.problem import ChargingPlan, ChargingProblem

NOTICEABLE_KW = 0.01
FULL_SHARE = 0.99  # of a line's current


def binding_limits(problem: ChargingProblem, plan: ChargingPlan) -> list[list[str]]:
    """Names of the limits that are reached in each step while somebody charges."""
    reached: dict[str, Mask] = {
        CONNECTION: plan.flows.import_kw >= problem.import_limit_kw - NOTICEABLE_KW
    }
    for group in problem.groups:
        load_kw = plan.setpoint_kw[list(group.vehicles)].sum(axis=0)
        is_full = load_kw >= group.limit_kw - NOTICEABLE_KW
        reached[group.name] = reached.get(group.name, np.zeros_like(is_full)) | is_full
    reached |= _full_lines(problem, plan)
    charges = plan.setpoint_kw.sum(axis=0) > NOTICEABLE_KW
    return [
        [name for name, is_full in reached.items() if is_full[step] and charges[step]]
        for step in range(len(problem.step_h))
    ]


def _full_lines(problem: ChargingProblem, plan: ChargingPlan) -> dict[str, Mask]:
    phases = problem.phases
    if phases is None:
        return {}
    line_kw = pair_shares(phases) @ plan.setpoint_kw
    limit_kw = phases.limit_a * phases.voltage_v / 1000
    return {f"line {line + 1}": line_kw[line] >= FULL_SHARE * limit_kw[line] for line in range(3)}


def group_name(answer: Answer, vehicle: int, step: int) -> str | None:
    """The full limit of the tree that this vehicle hangs below; None if there is none."""
    nearest_first = sorted(answer.problem.groups, key=lambda group: len(group.vehicles))
    for group in nearest_first:
        load_kw = answer.plan.setpoint_kw[list(group.vehicles), step].sum()
        is_full = load_kw >= group.limit_kw[step] - NOTICEABLE_KW
        if group.name != CONNECTION and vehicle in group.vehicles and is_full:
            return group.name
    return None


def limit_name(answer: Answer, step: int, vehicle: int | None = None) -> str:
    """The limit that holds in a step, with its reason if somebody set it for a time.

    With a vehicle, the full limit of the tree above it goes before that of the site.
    """
    group = None if vehicle is None else group_name(answer, vehicle, step)
    if group is not None:
        of_group = next(one for one in answer.problem.groups if one.name == group)
        reason = _reason_of(answer, step, float(of_group.limit_kw[step]), node=group)
        return f"The limit of {group} ({reason})" if reason else f"The limit of {group}"
    limit_kw = float(answer.problem.site_limit_kw[step])
    reason = _reason_of(answer, step, limit_kw, node=None)
    if reason is not None:
        return f"The limit of {limit_kw:.0f} kW ({reason})"
    return f"The site's limit of {limit_kw:.0f} kW"


def _reason_of(answer: Answer, step: int, limit_kw: float, *, node: str | None) -> str | None:
    """Why somebody limited it to this in a step; None if nobody did."""
    start, end = answer.edges[step], answer.edges[step + 1]
    for one in answer.situation.surroundings.limits:
        has_ended = one.ends_at is not None and one.ends_at <= start
        if (one.node, one.limit_kw) == (node, limit_kw) and one.starts_at < end and not has_ended:
            return one.reason
    return None
