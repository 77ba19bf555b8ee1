"""The question before plugging in: would it be ready, what would it cost? Nothing is stored."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.credentials.holder import Holder
from backend.features.sessions import planner, queries, views
from backend.features.sessions.intake import Request, look_up, newcomer_of, stay_terms
from backend.features.sessions.models import SessionPlan
from backend.features.sessions.planner import Answer, OpenSession, Situation
from backend.features.sessions.problems import ChargerInUse, ChargerUnavailable
from backend.features.sessions.reservations import ChargerReserved, WhereMissing
from backend.features.sessions.schemas import (
    ChargerIn,
    Quote,
    QuotedCharger,
    QuoteRequest,
    ReasonView,
    SessionStart,
)
from backend.features.sessions.turns import Desk
from backend.features.sites.equipment import equipment_of, members_of
from backend.features.sites.models import Charger
from backend.features.sites.service import require_site
from backend.problems import Problem

MOST_OPTIONS = 24


class NothingFree(Problem):
    """No charger of the site is free."""

    status = HTTPStatus.CONFLICT
    fix = "Try again later, or reserve a charger."


def quote(
    read: Session, asked: QuoteRequest, *, holder: Holder, desk: Desk, now: datetime
) -> Quote:
    """Plan the site as if the vehicle plugged in now: at one charger, or at each that is free."""
    requests = _requests(read, asked, holder=holder, desk=desk, now=now)
    first = requests[0]
    situation = queries.situation_of(read, first.site, now=now)
    newcomers = [newcomer_of(read, request, now=now) for request in requests]
    read.commit()  # let go of the snapshot, keep what was read: planning takes a while
    answers: dict[tuple[float, str, str], QuotedCharger] = {}
    for request, newcomer in zip(requests, newcomers, strict=True):
        if _alike(request) not in answers:
            answers[_alike(request)] = _option(situation, request, newcomer, desk=desk, now=now)
    options = [_at(answers[_alike(request)], request) for request in requests]
    options = sorted(options, key=_worth)[:MOST_OPTIONS]
    return Quote(
        site_id=first.site.id,
        options=options,
        needed_trip_energy_kwh=first.energy.needed_trip_energy_kwh,
        extra_energy_needed_kwh=first.energy.extra_energy_needed_kwh,
        trip_model=first.trip_model,
        legs=first.legs,
        message=_message(options),
        warnings=[first.departure.warning] if first.departure.warning else [],
        assurance=holder.assurance,
    )


def _requests(
    read: Session, asked: QuoteRequest, *, holder: Holder, desk: Desk, now: datetime
) -> list[Request]:
    """The start at the named charger, or at each of the site's that is free for the whole stay.

    Raises:
        NothingFree: If the site has none.
    """
    if asked.charger is not None:
        return [look_up(read, _as_start(asked, asked.charger), holder=holder, desk=desk, now=now)]
    found = []
    if asked.site_id is None:
        raise WhereMissing
    for charger in free_chargers(read, asked.site_id):
        try:
            start = _as_start(asked, charger)
            found.append(look_up(read, start, holder=holder, desk=desk, now=now))
        except ChargerReserved:
            continue
    if not found:
        raise NothingFree
    return found


def _alike(request: Request) -> tuple[float, str, str]:
    """What tells chargers apart for this vehicle: equal ones are planned once."""
    members = members_of(equipment_of(request.site))
    above = sorted(name for name, below in members.items() if request.charger.did in below)
    place = f"{request.charger.equipment} {above}"
    return request.energy.effective_charge_power_kw, request.tariff.id, place


def _at(option: QuotedCharger, request: Request) -> QuotedCharger:
    charger = request.charger
    return option.model_copy(
        update={"charger_did": charger.did, "max_power_kw": charger.max_power_kw}
    )


def _worth(option: QuotedCharger) -> tuple[bool, float, float, float, str]:
    """Ready first, then cheap; a stronger charger than needed is left to others."""
    return (
        not option.is_feasible,
        round(option.short_by_kwh, 3),
        round(option.planned_cost_eur, 2),
        option.max_power_kw,
        option.charger_did,
    )


def free_chargers(read: Session, site_id: str) -> list[ChargerIn]:
    """The site's chargers that are free now, the weakest first.

    Raises:
        SiteNotFound: If there is no such site.
    """
    require_site(read, site_id)
    free = select(Charger.did).where(Charger.site_id == site_id, Charger.status == "available")
    by_power = free.order_by(Charger.max_power_kw, Charger.did)
    return [ChargerIn(did=did) for did in read.scalars(by_power).all()]


def _as_start(asked: QuoteRequest, charger: ChargerIn) -> SessionStart:
    return SessionStart(
        driver=asked.driver, vehicle=asked.vehicle, charger=charger, trip=asked.trip
    )


def _option(
    situation: Situation, request: Request, newcomer: OpenSession, *, desk: Desk, now: datetime
) -> QuotedCharger:
    joined = situation.joined_by(newcomer)
    answer = planner.plan_site(joined, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now)
    return quoted(request, answer, joined.place_of(newcomer.session_id))


def quoted(request: Request, answer: Answer, place: int) -> QuotedCharger:
    """What a plan of the site says about one vehicle in it."""
    row = SessionPlan(**planner.session_row(answer, 0, place))
    schedule = views.schedule_of(row, answer.problem.price_eur_per_kwh.tolist())
    short_kwh = row.shortfall_kwh + request.energy.exceeds_battery_kwh
    terms, full_kw = stay_terms(request), request.energy.effective_charge_power_kw
    metered_kwh = terms.metered_kwh(row.energy_kwh, power_kw=schedule.power_kw or full_kw)
    at_once_kwh = terms.metered_kwh(row.energy_kwh, power_kw=full_kw)
    rate = float(request.tariff.eur_per_kwh)
    fee = float(request.tariff.eur_per_session) if row.energy_kwh > 0 else 0.0
    return QuotedCharger(
        charger_did=request.charger.did,
        max_power_kw=request.charger.max_power_kw,
        is_feasible=short_kwh <= views.SHORT_KWH,
        short_by_kwh=short_kwh if short_kwh > views.SHORT_KWH else 0.0,
        ready_at=schedule.charging[-1].end if schedule.charging else row.planned_at,
        departure_time=request.departure.at,
        planned_energy_kwh=metered_kwh,
        planned_cost_eur=round(metered_kwh * rate + fee, 4),
        cost_if_charged_now_eur=round(at_once_kwh * rate + fee, 4),
        planned_purchase_cost_eur=row.purchase_cost_eur,
        effective_charge_power_kw=full_kw,
        reasons=[ReasonView(**one) for one in row.reasons],
    )


def _message(options: Sequence[QuotedCharger]) -> str:
    best = options[0]
    if best.is_feasible and best.planned_energy_kwh <= 0:
        return "The battery holds enough for the trip; nothing needs to be charged."
    if not best.is_feasible:
        return (
            f"No charger here gets it ready in time; {best.short_by_kwh:.1f} kWh would be missing."
        )
    return (
        f"{best.charger_did} has it ready at {best.ready_at:%Y-%m-%d %H:%M} UTC "
        f"for {best.planned_cost_eur:.2f} EUR."
    )


QUOTE_PROBLEMS = (WhereMissing, NothingFree, ChargerInUse, ChargerUnavailable)
