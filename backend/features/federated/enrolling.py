"""Gateways enrol for their site: whose key signs, and on what credential."""

from datetime import datetime
from http import HTTPStatus

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import DidRefused, resolve_offline
from backend.adapters.verifier.interface import VerificationMethod
from backend.database import insert_missing
from backend.features.credentials.audit import note
from backend.features.credentials.dids import PREFIX, methods_at
from backend.features.credentials.holder import Holder
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.federated import queries
from backend.features.federated.models import EDGE, FederatedParticipant
from backend.features.federated.queries import ACTIVE
from backend.features.federated.schemas import ParticipantNew
from backend.features.federated.standings import FAILURES, SUSPENDED
from backend.federation.reputation import SUSPENDED_AFTER
from backend.problems import NotFound, Problem

LEFT, REGISTERED, VERIFIED = "left", "registered", "verified"
CREDENTIAL = "FederatedParticipantCredential"


class NotItsSite(Problem):
    """The credential does not let the caller train for this site."""

    status = HTTPStatus.FORBIDDEN
    fix = "Present a FederatedParticipantCredential for this site at /auth/token."


class SiteTaken(Problem):
    """The site has another participant."""

    status = HTTPStatus.CONFLICT
    fix = "A site has one voice: enrol with the DID it is enrolled with, or another site."


class KeyUnknown(Problem):
    """The DID has no key that could sign updates."""

    status = HTTPStatus.CONFLICT
    fix = "Use a did:key, did:jwk or a did:denso of this service with a key in force."


class ParticipantNotFound(NotFound):
    """There is no such participant."""


def enrol(
    db: Session, new: ParticipantNew, *, holder: Holder, now: datetime
) -> FederatedParticipant:
    """Enrol a site's gateway or node; once more by the same DID changes nothing.

    Raises:
        NotItsSite: If a verified caller has no credential for the site, or names another's DID.
        SiteTaken: If another DID is enrolled for it.
        KeyUnknown: If the DID cannot sign.
    """
    did = new.did or holder.did
    is_own = did == holder.did and new.site_id in holder.training_sites
    if holder.assurance != "simulated" and not is_own:
        raise NotItsSite
    if not methods_for(db, did, now=now):
        raise KeyUnknown
    row = {
        "site_id": new.site_id,
        "engine": new.engine,
        "did": did,
        "assurance": holder.assurance,
        "state": ACTIVE,
        "strikes": 0,
        "standing": {},
        "enrolled_at": now,
    }
    is_new = insert_missing(db, FederatedParticipant, row) == 1
    known = _require(db, new.site_id, new.engine)
    if known.state == LEFT:  # what it failed at and what its privacy cost stays
        known.did, known.assurance = did, holder.assurance
        known.state = SUSPENDED if known.strikes >= SUSPENDED_AFTER else ACTIVE
        is_new = True
    elif known.did != did:
        raise SiteTaken
    elif known.assurance == REGISTERED:  # so far it was the operator's word
        known.assurance = holder.assurance
        is_new = True
    if is_new:
        facts = {"engine": new.engine, "assurance": holder.assurance}
        action, site = "federated.enrolled", new.site_id
        note(db, now=now, actor=holder.did, action=action, object_id=site, facts=facts)
    return known


def withdraw(
    db: Session, site_id: str, engine: str, *, holder: Holder, now: datetime
) -> FederatedParticipant:
    """Take a site's gateway or node out: it is not asked any more, and another may enrol.

    Raises:
        ParticipantNotFound: If there is none that the caller may take out.
    """
    row = _require(db, site_id, engine)
    is_own = row.did == holder.did or holder.assurance == "simulated"
    if not is_own and not holder.runs(site_id):
        raise ParticipantNotFound
    row.state = LEFT
    _note(db, row, "federated.withdrawn", holder=holder, now=now)
    return row


def reinstate(
    db: Session, site_id: str, engine: str, *, holder: Holder, now: datetime
) -> FederatedParticipant:
    """Let a suspended participant be asked again; its failures are forgotten.

    Raises:
        ParticipantNotFound: If there is none at a site that the caller runs.
    """
    row = _require(db, site_id, engine)
    if not holder.runs(site_id):
        raise ParticipantNotFound
    if row.state == SUSPENDED:
        row.state, row.strikes = ACTIVE, 0
        row.standing = {name: one for name, one in row.standing.items() if name != FAILURES}
        _note(db, row, "federated.reinstated", holder=holder, now=now)
    return row


def _require(db: Session, site_id: str, engine: str) -> FederatedParticipant:
    # Held until the commit: what an update costs its site is entered in the same row.
    row = db.get(FederatedParticipant, (site_id, engine), with_for_update=True)
    if row is None:
        raise ParticipantNotFound
    return row


def _note(
    db: Session, row: FederatedParticipant, action: str, *, holder: Holder, now: datetime
) -> None:
    facts = {"engine": row.engine}
    note(db, now=now, actor=holder.did, action=action, object_id=row.site_id, facts=facts)


def methods_for(db: Session, did: str, *, now: datetime) -> tuple[VerificationMethod, ...]:
    """The keys that may sign for a DID now; none if it has none or needs a network."""
    if did.startswith(PREFIX):
        return methods_at(db, did, at=now)
    try:
        found = resolve_offline(did)
    except DidRefused:
        return ()
    return tuple(one for one in found if one.public_jwk is not None)


def asked_for(db: Session, holder: Holder) -> list[str]:
    """The sites whose tasks a caller may see: active, and still its own by its credential."""
    is_simulated = holder.assurance == "simulated"
    return [
        one.site_id
        for one in of_did(db, holder.did, EDGE)
        if one.state == ACTIVE and (is_simulated or one.site_id in holder.training_sites)
    ]


def entitled_names(db: Session, engine: str, *, now: datetime) -> list[str]:
    """Who of an engine may be asked: active, and its credential, if issued here, still in force."""
    ended = _ended(db, now)
    return [
        one.site_id
        for one in queries.participants(db, engine)
        if one.state == ACTIVE
        and not (one.assurance == VERIFIED and (one.did, one.site_id) in ended)
    ]


def _ended(db: Session, now: datetime) -> set[tuple[str, str]]:
    """DIDs and the sites for which they had credentials of this service, none of them in force."""
    row = IssuedCredential
    is_untouched = row.revoked_at.is_(None) & row.suspended_at.is_(None)
    in_force = case((is_untouched & (row.valid_from <= now) & (row.valid_until > now), 1), else_=0)
    query = select(row.subject_did, row.site_id).where(row.credential_type == CREDENTIAL)
    ended = query.group_by(row.subject_did, row.site_id).having(func.max(in_force) == 0)
    return {(str(did), str(site_id)) for did, site_id in db.execute(ended)}


def of_did(db: Session, did: str, engine: str) -> list[FederatedParticipant]:
    """The sites that a DID speaks for in an engine, in order."""
    query = select(FederatedParticipant).where(
        FederatedParticipant.did == did, FederatedParticipant.engine == engine
    )
    return list(db.scalars(query.order_by(FederatedParticipant.site_id)))
