"""Who may register a DID, change its key or end it: proofs first, then the registry."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import String, column, exists, or_, select, table
from sqlalchemy.orm import Session

from backend.adapters.verifier.interface import PresentationVerdict
from backend.features.credentials import dids
from backend.features.credentials.holder import Holder
from backend.features.credentials.issuing_models import Accreditation
from backend.features.credentials.models import DidVersion, Driver, FleetVehicle, RoleGrant
from backend.features.credentials.presenting import (
    Counter,
    Presentation,
    judge,
    receive,
    take,
)
from backend.features.credentials.standing import standing_of
from backend.problems import NotFound, Problem

MAY_APPROVE = frozenset({"operator", "administrator"})
KEY = "did:key:"
BOTH = 2
# Tables of rooms above this one: read by name, so that this room does not import them.
_CHARGERS = table("chargers", column("did", String), column("site_id", String))
_VEHICLES = table("vehicles", column("did", String))


class KeyNotPresented(Problem):
    """The new key has to present itself as its did:key."""

    status = HTTPStatus.CONFLICT
    fix = "Present with the did:key of the new key as holder."


class ApprovalInsufficient(Problem):
    """Neither the key before it nor two operators let the new key in."""

    status = HTTPStatus.FORBIDDEN
    fix = "Add a presentation by the old key, or one each by two operators."


class DidInUse(Problem):
    """Somebody or something here goes by this DID already: to be it would be worth something."""

    status = HTTPStatus.CONFLICT
    fix = "Ask an administrator to register it."


def register(
    db: Session,
    counter: Counter,
    did: str,
    presentation: Presentation,
    nonce: str,
    *,
    holder: Holder,
    now: datetime,
) -> DidVersion:
    """Register a DID for the key that presents itself, on an operator's word.

    Raises:
        ChallengeRefused: If the challenge does not hold.
        PresentationRefused: If the presentation does not verify.
        KeyNotPresented: If the holder is no did:key.
        DidInUse: If it is known here, and the caller is no administrator.
        DidTaken: If it is registered.
    """
    purpose = f"did-register:{did}"
    presented = receive(counter, presentation, nonce, purpose=purpose, now=now)
    controller = _controller(presented.verdict)
    if "administrator" not in holder.roles and _is_known(db, did, holder):
        raise DidInUse
    return dids.register(db, did, controller=controller, by=holder.did, now=now)


def rotate(
    db: Session,
    counter: Counter,
    did: str,
    presentation: Presentation,
    nonce: str,
    *,
    approvals: Sequence[Presentation],
    stolen_at: datetime | None,
    holder: Holder,
    now: datetime,
) -> DidVersion:
    """Let a new key in, on the word of the old one or of two operators.

    Raises:
        ChallengeRefused: If the challenge does not hold.
        PresentationRefused: If a presentation does not verify.
        KeyNotPresented: If the new key's holder is no did:key.
        ApprovalInsufficient: If nobody who may let it in did.
    """
    purpose = f"did-rotate:{did}"
    take(counter, nonce, purpose=purpose, now=now)
    controller = _controller(judge(counter, presentation, nonce, purpose=purpose, now=now))
    verdicts = [judge(counter, one, nonce, purpose=purpose, now=now) for one in approvals]
    last = dids.newest_version(db, did)
    if not (_is_by_old_key(last, verdicts) or _is_by_operators(db, did, verdicts)):
        raise ApprovalInsufficient
    return dids.rotate(
        db,
        did,
        controller=controller,
        by=holder.did,
        stolen_at=stolen_at,
        now=now,
        replaces=last.version,
    )


def deactivate(
    db: Session, did: str, *, stolen_at: datetime | None, holder: Holder, now: datetime
) -> DidVersion:
    """End a DID: the DID itself or an administrator may, and who registered it.

    The latter not once it was given power: they would take it from somebody above them.

    Raises:
        NotFound: If there is none that the caller may end.
    """
    last = dids.newest_version(db, did)
    has_registered = holder.did == last.registered_by and not _gives_power(db, did)
    is_theirs = holder.did == did or has_registered
    if not (is_theirs or "administrator" in holder.roles):
        raise NotFound
    return dids.deactivate(db, did, stolen_at=stolen_at, by=holder.did, now=now)


def _controller(verdict: PresentationVerdict) -> str:
    if verdict.holder is None or not verdict.holder.startswith(KEY):
        raise KeyNotPresented
    return verdict.holder


def _is_known(db: Session, did: str, holder: Holder) -> bool:
    """Whether a DID stands for more than a stranger: a driver, a vehicle, a role, an issuer.

    The operator of a charger's site may still give the charger its key.
    """
    elsewhere = _CHARGERS.c.site_id.not_in(holder.sites)
    return db.scalar(
        select(
            or_(
                exists().where(Driver.did == did),
                exists().where(FleetVehicle.vehicle_did == did),
                exists().where(_VEHICLES.c.did == did),
                exists().where(_CHARGERS.c.did == did, elsewhere),
            )
        )
    ) or _gives_power(db, did)


def _gives_power(db: Session, did: str) -> bool:
    """Whether roles were granted to a DID, or its word is trusted."""
    is_granted = (RoleGrant.holder_did == did, RoleGrant.revoked_at.is_(None))
    is_issuer = (Accreditation.issuer_did == did, Accreditation.revoked_at.is_(None))
    return bool(db.scalar(select(or_(exists().where(*is_granted), exists().where(*is_issuer)))))


def _is_by_old_key(last: DidVersion, verdicts: Sequence[PresentationVerdict]) -> bool:
    """The key that is to be replaced; one before it could present until just now."""
    old = dids.method_of(last).public_jwk
    return any(
        one.holder in (last.did, last.controller)
        and one.holder_key is not None
        and one.holder_key.public_jwk == old
        for one in verdicts
    )


def _is_by_operators(db: Session, did: str, verdicts: Sequence[PresentationVerdict]) -> bool:
    """Two of them, with two keys; one an administrator where they would gain power by it."""
    may = [(one, standing_of(db, one).roles & MAY_APPROVE) for one in verdicts]
    may = [(one, roles) for one, roles in may if roles]
    holders = {one.holder for one, _ in may}
    keys = {one.holder_key_thumbprint for one, _ in may}
    has_administrator = any("administrator" in roles for _, roles in may)
    is_enough = has_administrator or not _gives_power(db, did)
    return len(holders) >= BOTH and len(keys) >= BOTH and is_enough
