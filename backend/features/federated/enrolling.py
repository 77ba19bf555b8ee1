"""Gateways enrol for their site: whose key signs, and on what credential."""

from datetime import datetime
from http import HTTPStatus

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import DidRefused, resolve_offline
from backend.adapters.verifier.interface import VerificationMethod
from backend.features.credentials.audit import note
from backend.features.credentials.dids import PREFIX, methods_at
from backend.features.credentials.holder import Holder
from backend.features.federated.models import EDGE, FederatedParticipant
from backend.features.federated.queries import ACTIVE
from backend.features.federated.schemas import ParticipantNew
from backend.problems import Problem


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


class NotEnrolled(Problem):
    """Nobody of this DID takes part."""

    status = HTTPStatus.FORBIDDEN
    fix = "POST /federated/participants first."


def enrol(
    db: Session, new: ParticipantNew, *, holder: Holder, now: datetime
) -> FederatedParticipant:
    """Enrol a site's gateway; once more by the same DID changes nothing.

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
    known = db.get(FederatedParticipant, (new.site_id, EDGE))
    if known is None:
        known = FederatedParticipant(
            site_id=new.site_id,
            engine=EDGE,
            did=did,
            assurance=holder.assurance,
            state=ACTIVE,
            strikes=0,
            standing={},
            enrolled_at=now,
        )
        db.add(known)
        facts = {"assurance": holder.assurance}
        action, site = "federated.enrolled", new.site_id
        note(db, now=now, actor=holder.did, action=action, object_id=site, facts=facts)
    elif known.did != did:
        raise SiteTaken
    return known


def methods_for(db: Session, did: str, *, now: datetime) -> tuple[VerificationMethod, ...]:
    """The keys that may sign for a DID now; none if it has none or needs a network."""
    if did.startswith(PREFIX):
        return methods_at(db, did, at=now)
    try:
        found = resolve_offline(did)
    except DidRefused:
        return ()
    return tuple(one for one in found if one.public_jwk is not None)


def of_did(db: Session, did: str) -> list[FederatedParticipant]:
    """The sites that a DID speaks for, in order."""
    query = select(FederatedParticipant).where(
        FederatedParticipant.did == did, FederatedParticipant.engine == EDGE
    )
    return list(db.scalars(query.order_by(FederatedParticipant.site_id)))
