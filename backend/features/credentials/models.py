"""Drivers, roles, DIDs and their keys, challenges, and the audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base
from backend.features.credentials import issuing_models  # noqa: F401 - its tables

_IN_FORCE = text("revoked_at IS NULL")


class Driver(Base):
    """A driver, known by a DID only."""

    __tablename__ = "drivers"

    did: Mapped[str] = mapped_column(String(255), primary_key=True)
    registered_at: Mapped[datetime]


class RoleGrant(Base):
    """A role that a DID holds without a credential: at one site, for one fleet or everywhere."""

    __tablename__ = "role_grants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder_did: Mapped[str] = mapped_column(String(255), index=True)
    role: Mapped[str] = mapped_column(String(20))
    site_id: Mapped[str | None] = mapped_column(String(64))
    fleet_id: Mapped[str | None] = mapped_column(String(64))
    granted_at: Mapped[datetime]
    granted_by: Mapped[str | None] = mapped_column(String(255))
    revoked_at: Mapped[datetime | None]


class FleetVehicle(Base):
    """The one fleet that a vehicle belongs to."""

    __tablename__ = "fleet_vehicles"

    vehicle_did: Mapped[str] = mapped_column(String(255), primary_key=True)
    fleet_id: Mapped[str] = mapped_column(String(64), index=True)
    assigned_at: Mapped[datetime]
    assigned_by: Mapped[str] = mapped_column(String(255))


class DidVersion(Base):
    """One key of a `did:denso`: who controlled it, from when to when.

    The interval is half-open; the newest version of an active DID has no `valid_to`. A key that
    was stolen has `revoked_at`: nothing made with it from then on counts.
    """

    __tablename__ = "did_registry"
    __table_args__ = (UniqueConstraint("did", "version"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    did: Mapped[str] = mapped_column(String(255))
    version: Mapped[int]
    controller: Mapped[str] = mapped_column(String(255), index=True)
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    registered_by: Mapped[str] = mapped_column(String(255))


class Challenge(Base):
    """A nonce that was handed out, kept as its hash; it is used up once."""

    __tablename__ = "auth_challenges"

    nonce_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(300))
    body_hash: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class SeenProof(Base):
    """A proof of possession that came with a request, so that it does not come twice."""

    __tablename__ = "seen_proofs"

    proof_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Epoch(Base):
    """When something that tokens rest upon was last taken back, as a count of all such deeds."""

    __tablename__ = "token_epochs"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)  # a hash
    epoch: Mapped[int]


class Card(Base):
    """An RFID card or contract (EMAID) and whom it stands for; never kept in clear.

    What its owner might do when it was registered goes along and ends with what that rested upon.
    """

    __tablename__ = "cards"
    __table_args__ = (
        Index(
            "uq_cards_in_force",
            "card_hash",
            unique=True,
            sqlite_where=_IN_FORCE,
            postgresql_where=_IN_FORCE,
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    driver_did: Mapped[str] = mapped_column(String(255), index=True)
    vehicle_did: Mapped[str | None] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(8))
    card_hash: Mapped[str] = mapped_column(String(64))  # HMAC-SHA-256 under a key of the service
    last4: Mapped[str] = mapped_column(String(4))
    rights: Mapped[list[Any]]
    sites: Mapped[list[Any] | None]  # where an operator lets it in; None if its owner came
    rests_on: Mapped[list[Any]]
    epoch: Mapped[int]
    registered_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Alias(Base):
    """What a DID is called in the audit trail; deleted when its person is erased."""

    __tablename__ = "aliases"

    did: Mapped[str] = mapped_column(String(255), primary_key=True)
    alias: Mapped[str] = mapped_column(String(40), unique=True)


class Erasure(Base):
    """A DID that was erased, by its SHA-256: it is not registered again, nor restored."""

    __tablename__ = "erasures"

    did_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    erased_at: Mapped[datetime]


class AuditEvent(Base):
    """One decision. The hash chain over all events is closed after commit, in order."""

    __tablename__ = "audit_events"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(60))
    object_id: Mapped[str] = mapped_column(String(255), index=True)
    facts: Mapped[dict[str, Any]]
    sequence: Mapped[int | None] = mapped_column(unique=True)
    previous_hash: Mapped[str | None] = mapped_column(String(64))
    hash: Mapped[str | None] = mapped_column(String(64))
