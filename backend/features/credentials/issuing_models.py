"""Accredited issuers, issued credentials and the lists of their states."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class Accreditation(Base):
    """An issuer may issue some types of credentials; a link of a chain that ends at a root."""

    __tablename__ = "accreditations"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    issuer_did: Mapped[str] = mapped_column(String(255), index=True)
    credential_types: Mapped[list[Any]]
    sites: Mapped[list[Any] | None]  # if all three are None, nothing is limited
    fleets: Mapped[list[Any] | None]
    wmis: Mapped[list[Any] | None]  # world manufacturer identifiers
    may_accredit: Mapped[bool]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("accreditations.id"), index=True)
    accredited_by: Mapped[str] = mapped_column(String(255))
    credential: Mapped[str | None] = mapped_column(Text)  # what the parent signed; None of a root
    credential_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RegistryEpoch(Base):
    """Counts the changes of a registry, so that every process knows when its copy is old."""

    __tablename__ = "registry_epochs"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    epoch: Mapped[int]


class IssuedCredential(Base):
    """What was issued: hashes and dates, none of the claims."""

    __tablename__ = "issued_credentials"

    id: Mapped[str] = mapped_column(String(60), primary_key=True)  # urn:uuid:…
    credential_type: Mapped[str] = mapped_column(String(80))
    issuer_did: Mapped[str] = mapped_column(String(255))
    subject_did: Mapped[str | None] = mapped_column(String(255), index=True)  # None once erased
    site_id: Mapped[str | None] = mapped_column(String(64), index=True)  # None: of no site
    issued_by: Mapped[str] = mapped_column(String(255))
    issued_at: Mapped[datetime]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    credential_hash: Mapped[str] = mapped_column(String(64), unique=True)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)  # erased: commits to nothing
    commitment: Mapped[str] = mapped_column(String(64))
    is_demo: Mapped[bool]
    revoked_at: Mapped[datetime | None]
    suspended_at: Mapped[datetime | None]


class StatusList(Base):
    """A Bitstring Status List; full lists stay, their bits go on to be read."""

    __tablename__ = "status_lists"
    __table_args__ = (UniqueConstraint("purpose", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(String(500), unique=True)
    purpose: Mapped[str] = mapped_column(String(12))
    number: Mapped[int]
    assigned: Mapped[int]  # how many indices are given away
    version: Mapped[int]  # counts the changes of its bits
    changed_at: Mapped[datetime]


class StatusEntry(Base):
    """One bit: an index once given away is never given again."""

    __tablename__ = "status_entries"

    list_id: Mapped[str] = mapped_column(ForeignKey("status_lists.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    credential_id: Mapped[str] = mapped_column(String(60), index=True)
    is_set: Mapped[bool]
