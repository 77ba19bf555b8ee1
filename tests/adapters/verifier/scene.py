"""Who is who in the verifier's tests: an issuer, a holder, an attacker, and a registry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.adapters.verifier.dids import did_key, did_pkh, key_method
from backend.adapters.verifier.interface import Purpose, StatusEntry, VerificationMethod
from backend.adapters.verifier.issuing import (
    Model,
    draft_credential,
    sign_credential_jwt,
    sign_credential_ldp,
    sign_presentation_jwt,
    sign_presentation_ldp,
)
from backend.adapters.verifier.keys import KeyKind, SigningKey, key_from_seed
from backend.adapters.verifier.reasons import Reason

CHALLENGE, DOMAIN = "n-0S6_WzA2Mj", "https://tasco.example"
LIST_URL = "https://tasco.example/api/v1/credentials/status/1"
VEHICLE = {
    "wmi": "WVW",
    "model": "Probe 77",
    "batteryCapacityWh": 77_000,
    "maxAcPowerW": 11_000,
    "maxDcPowerW": 135_000,
    "consumptionWhPerKm": 180,
    "connector": "ccs2",
}


@dataclass
class Book:
    """A registry that trusts who it is told to."""

    trusted: set[str] = field(default_factory=set)
    bound: dict[str, tuple[VerificationMethod, ...]] = field(default_factory=dict)
    standing: dict[int, Reason] = field(default_factory=dict)
    accompanies: set[tuple[str, str]] = field(default_factory=set)
    epoch: str = "1"

    def verification_methods(
        self, did: str, *, at: datetime, purpose: Purpose
    ) -> tuple[VerificationMethod, ...]:
        """What was bound, whenever."""
        assert at.tzinfo is not None
        assert purpose in {"assertionMethod", "authentication"}
        return self.bound.get(did, ())

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
        """Trusted issuers may issue everything."""
        assert credential_type
        assert claims
        assert subject
        assert issued_at.tzinfo is at.tzinfo is not None
        return None if issuer in self.trusted else Reason.UNTRUSTED_ISSUER

    def status(self, entry: StatusEntry, *, at: datetime) -> Reason | None:
        """Known is one list."""
        assert at.tzinfo is not None
        if entry.list_url != LIST_URL:
            return Reason.STATUS_UNKNOWN
        return self.standing.get(entry.index)

    def binds(self, holder: str, subject: str, credential_type: str, *, at: datetime) -> bool:
        """Whether the holder accompanies the subject."""
        assert credential_type
        assert at.tzinfo is not None
        return (holder, subject) in self.accompanies


def _key(name: str, kind: KeyKind = KeyKind.ED25519) -> SigningKey:
    return key_from_seed(name.encode(), kind)


@dataclass
class Scene:
    """Keys, a registry and valid documents, all at one moment."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    issuer_key: SigningKey = field(default_factory=lambda: _key("issuer"))
    holder_key: SigningKey = field(default_factory=lambda: _key("holder"))
    attacker_key: SigningKey = field(default_factory=lambda: _key("attacker"))
    book: Book = field(default_factory=Book)

    def __post_init__(self) -> None:
        """Trust the issuer, whatever its kind of key."""
        self.book.trusted.add(self.issuer)

    @property
    def issuer(self) -> str:
        """A trusted issuer."""
        return did_key(self.issuer_key)

    @property
    def holder(self) -> str:
        """Whom the credentials are about."""
        return did_key(self.holder_key)

    @property
    def attacker(self) -> str:
        """Nobody trusts them."""
        return did_key(self.attacker_key)

    def draft(
        self, *, model: Model = "1.1", days: int = 30, ago_days: int = 1, **values: Any
    ) -> Any:
        """A plain vehicle specification of the holder."""
        values.setdefault("issuer", self.issuer)
        values.setdefault("subject", self.holder)
        values.setdefault("claims", VEHICLE)
        values.setdefault("status", [StatusEntry(LIST_URL, 94_567, "revocation")])
        values.setdefault("credential_type", "VehicleSpecCredential")
        return draft_credential(
            valid_from=self.at - timedelta(days=ago_days),
            valid_until=self.at - timedelta(days=ago_days) + timedelta(days=days),
            model=model,
            **values,
        )

    def jwt(self, *, key: SigningKey | None = None, **values: Any) -> str:
        """A good VC-JWT."""
        return sign_credential_jwt(self.draft(**values), key or self.issuer_key)

    def ldp(
        self, suite: str = "Ed25519Signature2020", *, key: SigningKey | None = None, **values: Any
    ) -> dict[str, Any]:
        """A good credential with a proof inside."""
        values.setdefault("model", "2.0" if "-20" in suite else "1.1")
        key = key or self.issuer_key
        return plain(sign_credential_ldp(self.draft(**values), key, suite=suite, at=self.at))

    def recovered(self) -> dict[str, Any]:
        """A good credential signed by a trusted Ethereum account."""
        key = _key("account", KeyKind.SECP256K1)
        did = did_pkh(key)
        self.book.trusted.add(did)
        draft = self.draft(issuer=did)
        suite = "EcdsaSecp256k1RecoverySignature2020"
        return plain(
            sign_credential_ldp(draft, key, suite=suite, at=self.at, method=key_method(did))
        )

    def vp_jwt(self, *credentials: str, key: SigningKey | None = None, **values: Any) -> str:
        """A good VP-JWT of the holder."""
        values = {"challenge": CHALLENGE, "domain": DOMAIN, "at": self.at, **values}
        values.setdefault("holder", self.holder)
        return sign_presentation_jwt(credentials, key or self.holder_key, **values)

    def vp_ldp(
        self, *credentials: Mapping[str, Any], key: SigningKey | None = None, **values: Any
    ) -> dict[str, Any]:
        """A good presentation with a proof inside."""
        values = {"challenge": CHALLENGE, "domain": DOMAIN, "at": self.at, **values}
        values.setdefault("holder", self.holder)
        return plain(sign_presentation_ldp(credentials, key or self.holder_key, **values))


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy, as if it had been sent."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    return copy
