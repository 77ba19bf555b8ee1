"""Starting by card: whom it stands for charges as if they had asked themselves."""

from datetime import datetime
from http import HTTPStatus

from sqlalchemy.orm import Session

from backend.features.credentials.cards import CardHolder, who_holds
from backend.features.credentials.holder import Holder
from backend.features.sessions import service
from backend.features.sessions.schemas import (
    CardStart,
    ChargerIn,
    DriverIn,
    SessionStart,
    SessionStarted,
    TripIn,
    VehicleIn,
)
from backend.features.sessions.turns import Desk
from backend.features.sites.service import ChargerNotFound, require_charger
from backend.problems import Problem

USUAL_TARGET_PERCENT = 80.0  # where nobody says what for: beyond it most vehicles charge slowly


class CardNotAccepted(Problem):
    """The card is unknown, revoked, or lets nobody charge here."""

    status = HTTPStatus.FORBIDDEN
    fix = "Register the card for its driver, or use another."


class CardWithoutVehicle(Problem):
    """The card stands for no vehicle and none was named."""

    status = HTTPStatus.CONFLICT
    fix = "Send vehicle_did, or register the card with its vehicle."


def start_by_card(
    read: Session,
    db: Session,
    start: CardStart,
    key: bytes,
    *,
    holder: Holder,
    desk: Desk,
    now: datetime,
) -> SessionStarted:
    """Start a session for whom a card stands; the holder is the charger or operator that read it.

    Raises:
        ChargerNotFound: If the charger is not theirs.
        CardNotAccepted: If the card opens nothing.
        CardWithoutVehicle: If it is not known what charges.
    """
    charger = require_charger(read, start.charger_did)
    reads_cards = charger.did in holder.chargers or holder.runs(charger.site_id)
    if not reads_cards and holder.assurance != "simulated":
        raise ChargerNotFound
    found = who_holds(read, key, kind=start.kind, number=start.number)
    if found is None:
        raise CardNotAccepted
    return service.start_session(
        read, db, _as_start(start, found), holder=found.as_holder, desk=desk, now=now
    )


def _as_start(start: CardStart, found: CardHolder) -> SessionStart:
    vehicle_did = found.vehicle_did or start.vehicle_did
    if vehicle_did is None:
        raise CardWithoutVehicle
    vehicle = VehicleIn(did=vehicle_did, current_soc_percent=start.current_soc_percent)
    return SessionStart(
        driver=DriverIn(did=found.driver_did),
        vehicle=vehicle,
        charger=ChargerIn(did=start.charger_did),
        trip=start.trip or TripIn(target_soc_percent=USUAL_TARGET_PERCENT),
    )
