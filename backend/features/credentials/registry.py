"""What the verifier asks this service back: keys of our DIDs, accreditations, status, binding."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.verifier.interface import Purpose, Reason, StatusEntry, VerificationMethod
from backend.features.credentials import trust
from backend.features.credentials.dids import PREFIX, methods_at, versions_of
from backend.features.credentials.epochs import current_epoch
from backend.features.credentials.status_lists import status_of

# Data sheets: about a thing, not about who shows them; whoever uses one compares its subject.
ABOUT_THINGS = frozenset(
    {"VehicleSpecCredential", "BatteryBirthCertificateCredential", "ChargerSpecCredential"}
)


class LocalRegistry:
    """The registry as one reading session sees it.

    Args:
        db: Where to read; used by one verification at a time.
        kept: Where this process keeps what it need not read again (`parts.shared`).
    """

    def __init__(self, db: Session, kept: dict[str, Any]) -> None:
        self._db, self._kept = db, kept

    @property
    def epoch(self) -> str:
        """Changes with every revocation."""
        return str(current_epoch(self._db))

    def verification_methods(
        self, did: str, *, at: datetime, purpose: Purpose
    ) -> tuple[VerificationMethod, ...]:
        """Keys that spoke for a `did:denso` at that time; they assert and authenticate."""
        del purpose
        return methods_at(self._db, did, at=at) if did.startswith(PREFIX) else ()

    def accredits(
        self,
        issuer: str,
        credential_type: str,
        claims: Mapping[str, Any],
        *,
        subject: str,
        issued_at: datetime,
        at: datetime,
    ) -> Reason | None:
        """None if the trust registry covers this issuer, type, subject and claims."""
        return trust.accredits(
            self._db,
            self._kept,
            issuer,
            credential_type,
            claims,
            subject=subject,
            issued_at=issued_at,
            at=at,
        )

    def status(self, entry: StatusEntry, *, at: datetime) -> Reason | None:
        """What the credential's own bit says."""
        del at
        return status_of(self._db, entry)

    def binds(self, holder: str, subject: str, credential_type: str, *, at: datetime) -> bool:
        """Data sheets may be shown by anybody; a DID may show what its own key was given."""
        if credential_type in ABOUT_THINGS:
            return True
        versions = versions_of(self._db, holder) if holder.startswith(PREFIX) else ()
        return any(one.controller == subject and one.valid_from <= at for one in versions)
