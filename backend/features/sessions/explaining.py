"""Why a session's plan is as it is: slot by slot, with the price of one kWh more."""

from datetime import datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from backend.compute import Overdue, WorkerLost
from backend.features.credentials.holder import Holder
from backend.features.sessions import binding, planner, queries, views
from backend.features.sessions.models import OPEN
from backend.features.sessions.planner import Answer
from backend.features.sessions.problems import SessionEnded, SiteBusy
from backend.features.sessions.schemas import (
    BindingLimit,
    ExplainedSlot,
    Explanation,
    Plan,
    ReasonView,
)
from backend.features.sessions.service import require_session
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Site
from backend.features.vehicles.trips import sentence
from backend.planning import slot_explanation
from backend.planning.slot_explanation import FULL, SlotExplanation, VehicleExplanation

NOTICEABLE_KWH = 0.01
HOUR = timedelta(hours=1)
LIMITS: tuple[BindingLimit, ...] = get_args(BindingLimit)


def explain(
    read: Session, session_id: str, *, holder: Holder, desk: Desk, now: datetime
) -> Explanation:
    """Plan the site as it is now and say, slot by slot, what made this session's plan.

    Raises:
        SessionEnded: If nothing is planned any more.
        SiteBusy: If there is no time to work it out.
    """
    session = require_session(read, session_id, holder=holder)
    plan = views.current_plan(read, session) if session.status in OPEN else None
    if plan is None:
        raise SessionEnded(f"{session_id} is {session.status}.")
    situation = queries.situation_of(read, read.get_one(Site, session.site_id), now=now)
    read.commit()  # let go of the snapshot, keep what was read: planning takes a while
    answer = planner.plan_site(
        situation, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now, beyond=HOUR
    )
    place = situation.place_of(session_id)
    found = _explained(answer, place, desk=desk)
    is_short = answer.plan.shortfall_kwh[place] > NOTICEABLE_KWH
    return Explanation(
        session_id=session_id,
        sentence=f"{answer.reasons[place][0].text} {found.text}{_of_chain(plan)}",
        slots=_slots(answer, place, found),
        reasons=[ReasonView(**one) for one in planner.session_row(answer, 0, place)["reasons"]],
        marginal_price_eur_per_kwh=None if is_short else found.marginal_price_eur_per_kwh,
        one_hour_longer_saves_eur=round(found.longer.saves_eur, 4),
        one_hour_longer_brings_kwh=round(found.longer.gains_kwh, 4),
        cost_if_charged_now_eur=plan.cost_if_charged_now_eur,
        planned_cost_eur=plan.planned_cost_eur,
        formula=plan.formula,
        trip_model=plan.trip_model,
        legs=plan.legs,
    )


def _of_chain(plan: Plan) -> str:
    return f" {sentence(plan.legs)}" if plan.legs else ""


def _explained(answer: Answer, place: int, *, desk: Desk) -> VehicleExplanation:
    zone = ZoneInfo(answer.situation.timezone)
    edges = [edge.astimezone(zone) for edge in answer.edges]
    try:
        return desk.compute.run(
            slot_explanation.explain,
            desk.plan_timeout_s,
            answer.problem,
            answer.plan,
            place,
            edges=edges,
        )
    except (Overdue, WorkerLost):
        raise SiteBusy from None


def _slots(answer: Answer, place: int, found: VehicleExplanation) -> list[ExplainedSlot]:
    """Stretches of the stay with one power and one cause."""
    slots: list[ExplainedSlot] = []
    for step, explained in enumerate(found.slots):
        slot = _slot(answer, place, step, explained)
        if slots and _continues(slots[-1], slot):
            slots[-1] = slots[-1].model_copy(update={"end": slot.end})
        else:
            slots.append(slot)
    return slots


def _continues(before: ExplainedSlot, slot: ExplainedSlot) -> bool:
    left_out = {"start", "end"}
    return before.model_dump(exclude=left_out) == slot.model_dump(exclude=left_out)


def _slot(answer: Answer, place: int, step: int, explained: SlotExplanation) -> ExplainedSlot:
    name = binding.group_name(answer, place, step) if explained.limit == "group" else None
    limit = "site" if explained.limit == "group" and name is None else explained.limit
    departure_at = answer.situation.sessions[place].departure_at
    return ExplainedSlot(
        start=answer.edges[step],
        end=min(answer.edges[step + 1], departure_at),
        power_kw=explained.power_kw,
        charges=explained.choice == "charges",
        binding_limit=limit if limit in LIMITS else None,
        marginal_price_eur_per_kwh=explained.price_eur_per_kwh,
        text=_text(answer, place, step, explained, is_shared=limit in ("site", "group")),
    )


def _text(
    answer: Answer, place: int, step: int, explained: SlotExplanation, *, is_shared: bool
) -> str:
    if explained.choice == "away":
        return "It waits for the agreed time."
    if not is_shared:
        return explained.text
    vehicle = place if explained.limit == "group" else None
    name = binding.limit_name(answer, step, vehicle)
    return explained.text.replace(FULL[explained.limit], f"{name[0].lower()}{name[1:]} is reached")
