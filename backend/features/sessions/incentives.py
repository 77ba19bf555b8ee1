"""A driver's decision on an offer."""

from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sessions import views
from backend.features.sessions.completion import open_for_change, plan_version
from backend.features.sessions.models import ChargingSession, IncentiveOffer
from backend.features.sessions.problems import OfferDecidedBefore, OfferNotFound
from backend.features.sessions.schemas import OfferDecided

Decision = Literal["accepted", "declined"]
MESSAGES = {
    "reward_points": "Points will be credited for the energy charged in solar hours.",
    "discount": "Charging will wait for the agreed slot; the discount applies if it does.",
    "priority_slot": "The vehicle now goes before others when the site is full.",
}


def decide(
    db: Session,
    session_id: str,
    offer_id: str,
    *,
    decision: Decision,
    holder: Holder,
    now: datetime,
) -> OfferDecided:
    """Accept or decline an offer; what was accepted shapes the site's next plan.

    Raises:
        OfferNotFound: If the session has no such offer.
        OfferDecidedBefore: If it was decided the other way before.
    """
    session = open_for_change(db, session_id, holder=holder, changes_plan=decision == "accepted")
    offer = db.get(IncentiveOffer, offer_id)
    if offer is None or offer.session_id != session_id:
        raise OfferNotFound
    if offer.state not in ("offered", decision):
        raise OfferDecidedBefore(f"It was {offer.state} before.")
    if offer.state == "offered":
        offer.state, offer.decided_at = decision, now
        if decision == "accepted":
            _apply(session, offer)
        _tell(db, session, offer, holder=holder, now=now)
    db.flush()
    message = MESSAGES[offer.type] if decision == "accepted" else "Declined; nothing changes."
    return OfferDecided(
        session_id=session_id,
        offer=views.offer_view(offer),
        plan=views.current_plan(db, session),
        message=message,
    )


def _apply(session: ChargingSession, offer: IncentiveOffer) -> None:
    """Let the offer bear on the next plan of the site."""
    if offer.type == "discount":
        session.not_before_at = offer.slot_start_at
    elif offer.type == "priority_slot":
        session.has_priority_slot = True


def _tell(
    db: Session, session: ChargingSession, offer: IncentiveOffer, *, holder: Holder, now: datetime
) -> None:
    facts = {
        "session_id": session.id,
        "plan_version": plan_version(db, session.site_id),
        "offer_id": offer.id,
        "type": offer.type,
    }
    action = f"incentive.{offer.state}"
    note(db, now=now, actor=holder.did, action=action, object_id=session.id, facts=facts)
    record(db, action, facts, now=now, site_id=session.site_id, session_id=session.id)
