"""Cards and contracts: whom an RFID card or an EMAID stands for.

A number is kept as HMAC-SHA-256 under a key that follows from the service's token key: RFID
numbers are so few that a plain hash of them could be tried out. A card may do what its owner might
when they registered it, and ends with what that rested upon.

An RFID number can be read and copied by whoever comes close. What is started by card is therefore
marked `card`, never `verified`.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.adapters.verifier.keys import SigningKey
from backend.components import Parts
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.card_numbers import CardKind, CardNumberInvalid, normalised
from backend.features.credentials.epochs import current_epoch, ended_since
from backend.features.credentials.holder import Holder
from backend.features.credentials.models import Card, Driver
from backend.features.credentials.rights import GRANT, Right
from backend.features.credentials.service_key import token_key
from backend.problems import FieldError, NotFound, Problem

MOST_CARDS = 20  # in force, of one driver
SIMULATED = "simulated"
OPERATOR = "operator"


class CardNumberRefused(Problem):
    """The number is no RFID UID or EMAID."""

    status = HTTPStatus.CONFLICT
    fix = "Send a UID of 4, 7 or 10 bytes in hexadecimal, or an EMAID with its check digit."


class CardTaken(Problem):
    """The card or contract is registered already."""

    status = HTTPStatus.CONFLICT
    fix = "Have it revoked first."


class TooManyCards(Problem):
    """The driver has as many cards as one may have."""

    status = HTTPStatus.CONFLICT
    fix = "Revoke one first."


class CardNotFound(NotFound):
    """There is no such driver or card for this caller."""


@dataclass(frozen=True, slots=True)
class CardHolder:
    """Whom a card stands for and what it lets them do."""

    card_id: str
    driver_did: str
    vehicle_did: str | None
    rights: frozenset[Right]

    @property
    def as_holder(self) -> Holder:
        """The caller that a card makes of its holder: a driver, and no more."""
        driver: Holder = Holder(self.driver_did, frozenset({"driver"}), "card", rights=self.rights)
        return driver


def card_key(parts: Parts) -> bytes:
    """The key that numbers are hashed under, 32 bytes; another token key makes it another."""
    return _key_from(token_key(parts))


def _key_from(key: SigningKey) -> bytes:
    secret = key.private_jwk()["d"].encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tasco cards").derive(secret)


def hash_of(key: bytes, kind: CardKind, number: str) -> str:
    """What a number is kept as, 64 hexadecimal digits.

    Raises:
        CardNumberInvalid: If it cannot be a number of this kind.
    """
    said = f"{kind}:{normalised(kind, number)}".encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()


def add(
    db: Session,
    key: bytes,
    driver_did: str,
    *,
    kind: CardKind,
    number: str,
    vehicle_did: str | None,
    holder: Holder,
    now: datetime,
) -> Card:
    """Register a card or contract for a driver.

    Raises:
        CardNotFound: If the driver is unknown, or none of the caller's business.
        CardNumberRefused: If the number is malformed.
        TooManyCards: If the driver has enough.
        CardTaken: If it is somebody's.
    """
    if not _may_register(holder, driver_did) or db.get(Driver, driver_did) is None:
        raise CardNotFound
    try:
        card_hash = hash_of(key, kind, number)
    except CardNumberInvalid as error:
        raise CardNumberRefused(
            errors=[FieldError(pointer="/body/number", reason=str(error))]
        ) from None
    mine = (Card.driver_did == driver_did, Card.revoked_at.is_(None))
    if (db.scalar(select(func.count()).select_from(Card).where(*mine)) or 0) >= MOST_CARDS:
        raise TooManyCards
    card = Card(
        id=new_id("crd"),
        driver_did=driver_did,
        vehicle_did=vehicle_did,
        kind=kind,
        card_hash=card_hash,
        last4=normalised(kind, number)[-4:],
        registered_by=holder.did,
        created_at=now,
        **_reach(db, holder, driver_did),
    )
    try:
        with db.begin_nested():
            db.add(card)
    except IntegrityError:
        raise CardTaken from None
    facts = {"kind": kind, "driver": driver_did}
    note(db, now=now, actor=holder.did, action="card.registered", object_id=card.id, facts=facts)
    return card


def _may_register(holder: Holder, driver_did: str) -> bool:
    is_own = holder.did == driver_did or holder.assurance == SIMULATED
    return is_own or bool(holder.roles & {"operator", "administrator"})


def _reach(db: Session, holder: Holder, driver_did: str) -> dict[str, object]:
    """Where a card holds: where its owner may charge, or at the sites of who registered it."""
    rests_on, sites = sorted(holder.rests_on), None
    epoch = current_epoch(db) if holder.assurance == SIMULATED else holder.epoch
    if holder.did == driver_did and holder.assurance != SIMULATED:
        rights = [one.stored() for one in sorted(holder.rights, key=repr)]
    elif holder.assurance == SIMULATED or "administrator" in holder.roles:
        rights = [Right(GRANT, holder.did).stored()]
    else:
        sites = sorted(holder.sites)
        rights = [Right(OPERATOR, holder.did, sites=tuple(sites)).stored()]
    return {"rights": rights, "sites": sites, "rests_on": rests_on, "epoch": epoch}


def cards_of(db: Session, driver_did: str, *, holder: Holder) -> Sequence[Card]:
    """The cards of a driver that the caller may see, newest first.

    Raises:
        CardNotFound: If the driver is unknown, or none of the caller's business.
    """
    if not _may_register(holder, driver_did) or db.get(Driver, driver_did) is None:
        raise CardNotFound
    query = select(Card).where(Card.driver_did == driver_did).order_by(Card.id.desc())
    return [one for one in db.scalars(query.limit(200)) if _concerns(one, holder)]


def _concerns(card: Card, holder: Holder) -> bool:
    """Its owner, whoever may do everything, and operators of a site it was registered for."""
    is_own = holder.did == card.driver_did or holder.assurance == SIMULATED
    is_theirs = bool(holder.sites & frozenset(card.sites or ()))
    return is_own or "administrator" in holder.roles or is_theirs


def revoke(db: Session, driver_did: str, card_id: str, *, holder: Holder, now: datetime) -> Card:
    """Take a card out of force; it may be registered anew.

    Raises:
        CardNotFound: If the driver has no such card in force that the caller may see.
    """
    card = db.get(Card, card_id)
    if card is None or card.driver_did != driver_did or not _concerns(card, holder):
        raise CardNotFound
    in_force = (Card.id == card_id, Card.revoked_at.is_(None))
    if db.execute(update(Card).where(*in_force).values(revoked_at=now).returning(Card.id)).first():
        note(db, now=now, actor=holder.did, action="card.revoked", object_id=card_id, facts={})
        db.refresh(card)
        return card
    raise CardNotFound


def who_holds(db: Session, key: bytes, *, kind: CardKind, number: str) -> CardHolder | None:
    """Whom a card stands for; None if it is unknown, revoked, or what it rested upon has ended."""
    try:
        card_hash = hash_of(key, kind, number)
    except CardNumberInvalid:
        return None
    query = select(Card).where(Card.card_hash == card_hash, Card.revoked_at.is_(None))
    card = db.scalar(query)
    if card is None or ended_since(db, card.rests_on, epoch=card.epoch):
        return None
    rights = frozenset(Right.read(one) for one in card.rights)
    return CardHolder(card.id, card.driver_did, card.vehicle_did, rights)
