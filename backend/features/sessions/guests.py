"""Guests: a price first, then a session served last, and one link to see and stop it.

A guest has no account. Quote, link and pass are 32 random bytes each, kept as hashes: the quote
starts one session, the link is exchanged once, and the pass opens that one session.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend.database import Database, new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.credentials.rights import Right
from backend.features.sessions import completion, queries, quoting, service, views
from backend.features.sessions.guest_schemas import (
    GuestPassView,
    GuestPrice,
    GuestQuoted,
    GuestQuoteRequest,
    GuestSessionView,
    GuestStarted,
)
from backend.features.sessions.models import OPEN, ChargingSession, GuestPass, GuestQuote
from backend.features.sessions.schemas import (
    ChargerIn,
    DriverIn,
    QuoteRequest,
    SessionStart,
    VehicleIn,
)
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Charger, SalesTariff, Site
from backend.features.sites.service import (
    admission_of,
    require_charger,
    require_site,
    tariff_for,
)
from backend.problems import NotFound, Problem

QUOTE_LIFETIME = timedelta(minutes=5)
LINK_LIFETIME = timedelta(hours=1)
PASS_AFTER_DEPARTURE = timedelta(days=2)
GUEST, CAR = "did:denso:guest:", "did:denso:guest-vehicle:"


class GuestsNotAdmitted(Problem):
    """The site takes no guests."""

    status = HTTPStatus.FORBIDDEN
    fix = "Use a site that does, or come with credentials."


class QuoteNotGood(Problem):
    """The quote is unknown, used, expired, or the price has changed since."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for the price again: POST /guests/quote."


class GuestSessionNotFound(NotFound):
    """The link or pass opens nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A quote as it was asked for, read again to be started."""

    body: GuestQuoteRequest
    row: GuestQuote


def quote(
    read: Session, db: Session, asked: GuestQuoteRequest, *, desk: Desk, now: datetime
) -> GuestQuoted:
    """Show a guest what charging here would cost; the price holds for five minutes.

    Raises:
        GuestsNotAdmitted: If the site takes none.
        ChargerNotFound: If there is no such charger.
    """
    charger, site = _place(read, asked.charger_did)
    start = _as_start(asked)
    wanted = QuoteRequest(
        driver=start.driver, vehicle=start.vehicle, charger=start.charger, trip=start.trip
    )
    holder = _holder(start.driver.did, charger, site)
    found = quoting.quote(read, wanted, holder=holder, desk=desk, now=now).options[0]
    tariff = tariff_for(read, site_id=site.id, charger_did=charger.did, at=now)
    secret, expires_at = secrets.token_urlsafe(32), now + QUOTE_LIFETIME
    db.add(
        GuestQuote(
            quote_hash=_hash(secret),
            site_id=site.id,
            charger_did=charger.did,
            asked=asked.model_dump(mode="json", exclude_unset=True),
            tariff_id=tariff.id,
            expires_at=expires_at,
        )
    )
    db.execute(delete(GuestQuote).where(GuestQuote.expires_at < now - timedelta(days=1)))
    return GuestQuoted(
        quote=secret,
        expires_at=expires_at,
        site_id=site.id,
        charger_did=charger.did,
        price=_price(site, tariff),
        planned_cost_eur=found.planned_cost_eur,
        planned_energy_kwh=found.planned_energy_kwh,
        ready_at=found.ready_at,
        departure_time=found.departure_time,
        is_feasible=found.is_feasible,
        short_by_kwh=found.short_by_kwh,
    )


def charger_of(database: Database, secret: str, now: datetime) -> str:
    """The charger a quote is for, to wait for its site's turn.

    Raises:
        QuoteNotGood: If there is no such quote any more.
    """
    with database.reading() as db:
        return _good_quote(db, secret, now=now).charger_did


def start(
    read: Session, db: Session, secret: str, *, address: str, desk: Desk, now: datetime
) -> GuestStarted:
    """Start what was quoted, after everybody else; gives the link to it.

    Raises:
        QuoteNotGood: If the quote does not hold; it holds once.
        GuestsNotAdmitted: If the site takes none any more.
    """
    row = _good_quote(read, secret, now=now)
    charger, site = _place(read, row.charger_did)
    tariff = tariff_for(read, site_id=site.id, charger_did=charger.did, at=now)
    if tariff.id != row.tariff_id:
        raise QuoteNotGood
    asked = _as_start(GuestQuoteRequest.model_validate(row.asked, strict=False))
    holder = _holder(asked.driver.did, charger, site)
    started = service.start_session(read, db, asked, holder=holder, desk=desk, now=now)
    _use_up(db, secret, now=now)
    link = secrets.token_urlsafe(32)
    db.add(
        GuestPass(
            session_id=started.session_id,
            link_hash=_hash(link),
            link_expires_at=now + LINK_LIFETIME,
            expires_at=started.plan.departure_time + PASS_AFTER_DEPARTURE,
        )
    )
    return GuestStarted(
        session_id=started.session_id,
        link=f"{address}/guest#{link}",  # what follows # is sent to no server and stands in no log
        link_expires_at=now + LINK_LIFETIME,
        price=_price(site, tariff),
        planned_cost_eur=started.plan.planned_cost_eur,
        planned_energy_kwh=started.plan.planned_energy_kwh,
        ready_at=started.plan.planned_finish_time,
        is_feasible=started.plan.is_feasible,
        message=started.message,
    )


def open_link(db: Session, secret: str, *, now: datetime) -> GuestPassView:
    """Exchange a link, once, for the pass to its session.

    Raises:
        GuestSessionNotFound: If the link is unknown, used or expired.
    """
    key = secrets.token_urlsafe(32)
    unused = (
        GuestPass.link_hash == _hash(secret),
        GuestPass.link_used_at.is_(None),
        GuestPass.link_expires_at > now,
    )
    opened = (
        update(GuestPass)
        .where(*unused)
        .values(link_used_at=now, pass_hash=_hash(key))
        .returning(GuestPass.session_id, GuestPass.expires_at)
    )
    found = db.execute(opened).first()
    if found is None:
        raise GuestSessionNotFound
    session_id, expires_at = found
    actor, action = "guest", "guest.link_opened"
    note(db, now=now, actor=actor, action=action, object_id=session_id, facts={})
    return GuestPassView(
        guest_pass=key, expires_at=expires_at, session=_view(db, _session(db, session_id))
    )


def see(db: Session, key: str, *, now: datetime) -> GuestSessionView:
    """The session a pass opens, and what it comes to.

    Raises:
        GuestSessionNotFound: If the pass is unknown or expired.
    """
    return _view(db, _passed(db, key, now=now))


def stop(db: Session, key: str, *, now: datetime) -> GuestSessionView:
    """Stop charging; what was metered is billed.

    Raises:
        GuestSessionNotFound: If the pass is unknown or expired.
        SessionEnded: If it has ended.
    """
    session = _passed(db, key, now=now)
    holder = Holder(session.driver_did, frozenset({"driver"}), "guest")
    completion.cancel(db, session.id, holder=holder, now=now)
    db.flush()
    return _view(db, _session(db, session.id))


def _good_quote(db: Session, secret: str, *, now: datetime) -> GuestQuote:
    row = db.get(GuestQuote, _hash(secret))
    if row is None or row.used_at is not None or row.expires_at <= now:
        raise QuoteNotGood
    return row


def _use_up(db: Session, secret: str, *, now: datetime) -> None:
    """In the transaction of the start, so that of two starts one is undone."""
    mine = (GuestQuote.quote_hash == _hash(secret), GuestQuote.used_at.is_(None))
    used = update(GuestQuote).where(*mine).values(used_at=now).returning(GuestQuote.quote_hash)
    if db.execute(used).first() is None:
        raise QuoteNotGood


def _place(db: Session, charger_did: str) -> tuple[Charger, Site]:
    charger = require_charger(db, charger_did)
    site = require_site(db, charger.site_id)
    if not admission_of(site).guests:
        raise GuestsNotAdmitted
    _require_room(db, site)
    return charger, site


def _require_room(db: Session, site: Site) -> None:
    """Half of a site's chargers are kept from guests: nobody knows whether they are there at all.

    Raises:
        GuestsNotAdmitted: If the other half is taken by guests.
    """
    counting = select(func.count()).select_from
    chargers = db.scalar(counting(Charger).where(Charger.site_id == site.id)) or 0
    here = (ChargingSession.site_id == site.id, ChargingSession.status.in_(OPEN))
    is_guest = ChargingSession.assurance == "guest"
    taken = db.scalar(counting(ChargingSession).where(*here, is_guest)) or 0
    if 2 * taken >= chargers and taken:
        raise GuestsNotAdmitted("As many guests charge here as the site takes.")


def _holder(did: str, charger: Charger, site: Site) -> Holder:
    """A guest: may charge at this one charger and nothing else."""
    right = Right("guest", site.id, sites=(site.id,), chargers=(charger.did,))
    return Holder(did, frozenset({"driver"}), "guest", rights=frozenset({right}))


def _as_start(asked: GuestQuoteRequest) -> SessionStart:
    """A start by somebody nobody knows, in a vehicle nobody knows."""
    vehicle: dict[str, Any] = asked.vehicle.model_dump()
    return SessionStart(
        driver=DriverIn(did=new_id(GUEST).replace("_", "", 1)),
        vehicle=VehicleIn(did=new_id(CAR).replace("_", "", 1), **vehicle),
        charger=ChargerIn(did=asked.charger_did),
        trip=asked.trip,
    )


def _passed(db: Session, key: str, *, now: datetime) -> ChargingSession:
    mine = (GuestPass.pass_hash == _hash(key), GuestPass.expires_at > now)
    session_id = db.scalar(select(GuestPass.session_id).where(*mine))
    if session_id is None:
        raise GuestSessionNotFound
    return _session(db, session_id)


def _session(db: Session, session_id: str) -> ChargingSession:
    return db.get_one(ChargingSession, session_id)


def _view(db: Session, session: ChargingSession) -> GuestSessionView:
    """What a guest sees: nobody else's data, and nothing that names anybody."""
    view = views.session_view(db, session)
    tariff = db.get_one(SalesTariff, session.tariff_id)
    bill = queries.record_of(db, session.id) if session.ended_at else None
    site = db.get_one(Site, session.site_id)
    so_far = view.energy_delivered_kwh * float(tariff.eur_per_kwh)
    fee = float(tariff.eur_per_session) if view.energy_delivered_kwh > 0 else 0.0
    return GuestSessionView(
        session_id=session.id,
        charger_did=session.charger_did,
        site_name=site.name,
        status=view.status,
        start_time=view.start_time,
        end_time=view.end_time,
        departure_time=view.departure_time,
        ready_at=view.plan.planned_finish_time if view.plan else None,
        energy_delivered_kwh=view.energy_delivered_kwh,
        price=_price(site, tariff),
        due_eur=round(so_far + fee, 2) if bill is None else float(bill.total_eur),
        vat_eur=None if bill is None else float(bill.vat_eur),
        is_final=bill is not None,
        payment_reference=session.id,
    )


def _price(site: Site, tariff: SalesTariff) -> GuestPrice:
    return GuestPrice(
        currency=site.currency,
        eur_per_kwh=float(tariff.eur_per_kwh),
        eur_per_session=float(tariff.eur_per_session),
        idle_eur_per_hour=float(tariff.idle_eur_per_hour),
        vat_percent=float(tariff.vat_percent),
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
