"""The service as an issuer: the key it signs credentials, status lists and snapshots with."""

import contextlib
import json
from dataclasses import dataclass
from http import HTTPStatus

from backend.adapters.verifier.dids import did_key, key_method
from backend.adapters.verifier.keys import SigningKey, base64url
from backend.components import Parts
from backend.features.credentials.service_key import SigningKeyMissing, read_key, write_new_key
from backend.problems import Problem

KEPT = "service_issuer"
DEMO_ADDRESS = "http://127.0.0.1:8000"


class IssuerKeyMissing(Problem):
    """This service has no key to issue credentials with."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 60
    fix = "The operator of the service sets TASCO_ISSUER_KEY_FILE."


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and the DID it signs for."""

    did: str
    key: SigningKey

    @property
    def method(self) -> str:
        """The verification method that proofs name."""
        return key_method(self.did)

    def sign(self, content: bytes) -> str:
        """The content as compact JWS (RFC 7515)."""
        header = json.dumps({"alg": self.key.algorithm, "kid": self.method}).encode()
        signed = f"{base64url(header)}.{base64url(content)}"
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"


def service_issuer(parts: Parts) -> Signer:
    """The service's own issuer; the demo makes a key when it has none.

    Raises:
        IssuerKeyMissing: If production has no usable key.
    """
    if KEPT not in parts.shared:
        file = parts.settings.issuer_key_file
        if parts.settings.profile == "demo" and not file.exists():
            with contextlib.suppress(FileExistsError):  # another process was quicker
                write_new_key(file)
        try:
            key = read_key(file)
        except SigningKeyMissing as missing:
            raise IssuerKeyMissing from missing
        parts.shared[KEPT] = Signer(did_key(key), key)
    signer: Signer = parts.shared[KEPT]
    return signer


def public_url(parts: Parts) -> str:
    """Where others reach this service: part of what it signs."""
    return parts.settings.public_url or DEMO_ADDRESS
