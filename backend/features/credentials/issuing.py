"""Issuing: say something about a subject, sign it, and be able to take it back.

Kept are hashes, dates and where the status bits stand; of the claims nothing is kept. What the
chain may see is a commitment to the credential's hash under a random salt, so that nobody can
guess claims and compare, and that says nothing any more once the salt is deleted.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal
from uuid import uuid4

from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.adapters.verifier.interface import StatusEntry
from backend.adapters.verifier.profiles import PROFILES
from backend.features.credentials import status_lists, trust
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import end_what_rests_on
from backend.features.credentials.holder import Holder, NotAllowed
from backend.features.credentials.issuer import Signer
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.credentials.signing import Secured, Statement, credential_hash, secured
from backend.features.credentials.trust_book import ACCREDITATION, EMPLOYMENT, NONE, scope_of
from backend.problems import FieldError, NotFound, Problem

DEFAULT_VALIDITY = timedelta(days=365)
State = Literal["valid", "expired", "suspended", "revoked"]
LONGEST_VALIDITY = timedelta(days=3_660)


class CredentialNotFound(NotFound):
    """There is no such credential for this caller."""


class ClaimsRefused(Problem):
    """The claims are not those of this credential type."""

    status = HTTPStatus.CONFLICT
    fix = "Compare the named claims with docs/credentials.md."


class IssuerNotAccredited(Problem):
    """This service's issuer is not accredited for such a credential."""

    status = HTTPStatus.CONFLICT
    fix = "An administrator accredits the signer named in GET /issuers/snapshot with POST /issuers."


class CredentialValidityImpossible(Problem):
    """The credential would never be valid, or for longer than ten years."""

    status = HTTPStatus.CONFLICT
    fix = "Choose an end that lies ahead, after the beginning, and within ten years."


class CredentialRevoked(Problem):
    """The credential is revoked, and that is for good."""

    status = HTTPStatus.CONFLICT
    fix = "Issue a new one."


class NotSuspendable(Problem):
    """An accreditation is revoked or holds; it is not suspended."""

    status = HTTPStatus.CONFLICT
    fix = "Revoke it, and accredit the issuer anew."


def statement(
    credential_type: str,
    subject_did: str,
    claims: Mapping[str, Any],
    *,
    now: datetime,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    form: str = "jwt",
) -> Statement:
    """A statement whose claims fit their profile and whose times fit each other.

    Raises:
        ClaimsRefused: If the claims are not those of the type.
        CredentialValidityImpossible: If it would never be valid.
    """
    _check_claims(credential_type, claims)
    begin = (valid_from or now).replace(microsecond=0)
    end = (valid_until or begin + DEFAULT_VALIDITY).replace(microsecond=0)
    if not max(now, begin) < end <= begin + LONGEST_VALIDITY:
        raise CredentialValidityImpossible
    return Statement(f"urn:uuid:{uuid4()}", credential_type, subject_did, claims, begin, end, form)


def _check_claims(credential_type: str, claims: Mapping[str, Any]) -> None:
    try:
        PROFILES[credential_type].claims.model_validate(claims)
    except ValidationError as error:
        errors = [
            FieldError(
                pointer="/body/claims" + "".join(f"/{step}" for step in one["loc"]),
                reason=one["msg"],
            )
            for one in error.errors(include_input=False, include_url=False)[:20]
        ]
        raise ClaimsRefused(f"{errors[0].pointer}: {errors[0].reason}", errors=errors) from None


def require_entitled(holder: Holder, said: Statement) -> None:
    """Operators speak for their sites, fleet managers for their fleets, administrators for all.

    Raises:
        NotAllowed: If the caller may not have this said.
    """
    if "administrator" in holder.roles:
        return
    if said.credential_type == ACCREDITATION:
        raise NotAllowed
    scope = scope_of(said.credential_type, said.claims)
    gives_function = said.credential_type == EMPLOYMENT and said.claims["role"] != "employee"
    if gives_function or scope.wmis != NONE:
        raise NotAllowed
    for_sites = (
        bool(scope.sites)
        and scope.fleets == NONE
        and all(holder.runs(site) for site in scope.sites or ())
    )
    for_fleets = bool(scope.fleets) and scope.sites == NONE and "fleet" in holder.roles
    if not for_sites and not (for_fleets and (scope.fleets or NONE) <= holder.fleets):
        raise NotAllowed


@dataclass(frozen=True, slots=True)
class Made:
    """A credential that was just issued."""

    row: IssuedCredential
    document: Secured
    places: list[StatusEntry]


def issue(
    db: Session,
    said: Statement,
    *,
    signer: Signer,
    by: str,
    public_url: str,
    now: datetime,
    kept: dict[str, Any],
) -> Made:
    """Sign a statement, give it its status bits and remember its hash.

    Args:
        db: The transaction.
        said: What is said about whom.
        signer: Who says it.
        by: Whoever had it said.
        public_url: Where the status lists are reached.
        now: The present.
        kept: Where this process keeps its copy of the trust registry.

    Raises:
        IssuerNotAccredited: If our own verification would refuse it.
    """
    refusal = trust.accredits(
        db,
        kept,
        signer.did,
        said.credential_type,
        said.claims,
        subject=said.subject_did,
        issued_at=said.valid_from,
        at=now,
    )
    if refusal is not None:
        raise IssuerNotAccredited(f"{signer.did} may not say this: {refusal}.")
    places = [
        status_lists.assign(db, said.id, purpose=purpose, public_url=public_url, now=now)
        for purpose in status_lists.PURPOSES
    ]
    document = secured(said, places, signer)
    row = issued_row(said, document, signer=signer, by=by, now=now)
    db.add(row)
    _tell(db, row, "credential.issued", by=by, now=now)
    return Made(row, document, places)


def issued_row(
    said: Statement,
    document: Secured,
    *,
    signer: Signer,
    by: str,
    now: datetime,
    is_demo: bool = False,
) -> IssuedCredential:
    """What is remembered of a credential."""
    digest, salt = credential_hash(document), secrets.token_bytes(32)
    return IssuedCredential(
        id=said.id,
        credential_type=said.credential_type,
        issuer_did=signer.did,
        subject_did=said.subject_did,
        site_id=site_of(said.credential_type, said.claims),
        issued_by=by,
        issued_at=now,
        valid_from=said.valid_from,
        valid_until=said.valid_until,
        credential_hash=digest,
        salt=salt,
        commitment=hashlib.sha256(salt + bytes.fromhex(digest)).hexdigest(),
        is_demo=is_demo,
        revoked_at=None,
        suspended_at=None,
    )


def site_of(credential_type: str, claims: Mapping[str, Any]) -> str | None:
    """The one site that a credential is about; None if it is of none, of several or of all."""
    if credential_type == ACCREDITATION:
        return None
    sites = scope_of(credential_type, claims).sites or NONE
    return next(iter(sites)) if len(sites) == 1 else None


def _tell(db: Session, row: IssuedCredential, event: str, *, by: str, now: datetime) -> None:
    """An event and an audit note: a commitment, and nothing about the subject."""
    facts = {"credential_type": row.credential_type, "commitment": row.commitment}
    note(db, now=now, actor=by, action=event, object_id=row.id, facts=facts)
    record(db, event, {"credential_id": row.id, **facts, "issuer_did": row.issuer_did}, now=now)


def revoke(db: Session, credential_id: str, *, holder: Holder, now: datetime) -> IssuedCredential:
    """Take a credential back for good, at once and on every worker; again is the same as once.

    Raises:
        CredentialNotFound: If there is none that the caller may revoke.
    """
    row = _require(db, credential_id, holder)
    if row.revoked_at is None:
        _revoke(db, row, by=holder.did, now=now)
    return row


def _revoke(db: Session, row: IssuedCredential, *, by: str, now: datetime) -> None:
    row.revoked_at = now
    status_lists.set_bit(db, row.id, purpose="revocation", value=True, now=now)
    end_what_rests_on(db, {row.id})
    if row.credential_type == ACCREDITATION:
        trust.end_by_credential(db, row.id, issuer_did=row.issuer_did, by=by, now=now)
    _tell(db, row, "credential.revoked", by=by, now=now)


def suspend(
    db: Session, credential_id: str, *, lift: bool, holder: Holder, now: datetime
) -> IssuedCredential:
    """Take a credential back for a time, or give it back; again is the same as once.

    Raises:
        CredentialNotFound: If there is none that the caller may suspend.
        CredentialRevoked: If it is revoked.
        NotSuspendable: If it is an accreditation.
    """
    row = _require(db, credential_id, holder)
    if row.revoked_at is not None:
        raise CredentialRevoked
    if row.credential_type == ACCREDITATION:
        raise NotSuspendable
    if lift != (row.suspended_at is None):
        row.suspended_at = None if lift else now
        status_lists.set_bit(db, row.id, purpose="suspension", value=not lift, now=now)
        if not lift:
            end_what_rests_on(db, {row.id})
        event = "credential.reinstated" if lift else "credential.suspended"
        _tell(db, row, event, by=holder.did, now=now)
    return row


def _require(db: Session, credential_id: str, holder: Holder) -> IssuedCredential:
    row = db.get(IssuedCredential, credential_id, with_for_update=True)
    if row is None or not _may_change(holder, row):
        raise CredentialNotFound
    return row


def _may_change(holder: Holder, row: IssuedCredential) -> bool:
    """Whoever had it issued, the operator of its site, and administrators."""
    is_of_site = row.site_id is not None and holder.runs(row.site_id)
    return is_of_site or holder.did == row.issued_by or "administrator" in holder.roles


def forget_subject(db: Session, subject_did: str, *, by: str, now: datetime) -> int:
    """Revoke all that was said about a subject and forget whom it was about; gives how many.

    The commitments stay; without their salts they say nothing about anybody.
    """
    query = select(IssuedCredential).where(IssuedCredential.subject_did == subject_did)
    rows = db.scalars(query).all()
    for row in rows:
        if row.revoked_at is None:
            _revoke(db, row, by=by, now=now)
        row.subject_did = row.salt = None
    return len(rows)


def page(
    db: Session, *, holder: Holder, subject_did: str | None, after: str | None, limit: int
) -> Sequence[IssuedCredential]:
    """Up to `limit + 1` issued credentials that the caller may see, by id."""
    query = select(IssuedCredential).order_by(IssuedCredential.id).limit(limit + 1)
    if not holder.sees_everything:
        mine = (
            IssuedCredential.site_id.in_(holder.sites if "operator" in holder.roles else NONE),
            IssuedCredential.issued_by == holder.did,
            IssuedCredential.subject_did == holder.did,
        )
        query = query.where(or_(*mine))
    if subject_did is not None:
        query = query.where(IssuedCredential.subject_did == subject_did)
    if after is not None:
        query = query.where(IssuedCredential.id > after)
    return db.scalars(query).all()
