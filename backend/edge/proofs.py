"""Proofs that a gateway holds the key its access token is bound to (RFC 9449)."""

import hashlib
import json
import secrets
import stat
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyRefused(Exception):
    """The key or the token cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, repr=False)
class Pass:
    """An access token and the key that it is bound to."""

    token: str
    key: Ed25519PrivateKey

    @classmethod
    def of_files(cls, *, key: Path, token: Path) -> "Pass":
        """Read a wallet's `key.pem` (Ed25519, not locked) and a token by itself in a file.

        Raises:
            KeyRefused: If one cannot be read, others may read it, or the key is of another kind.
        """
        said = _private_text(token).strip()
        if not said or any(one.isspace() for one in said):
            raise KeyRefused(f"{token} holds no access token")
        return cls(said, key_in(key))

    def headers(self, *, method: str, url: str, now: datetime) -> dict[str, str]:
        """The headers of one request: the token and a fresh proof, good for a minute.

        Args:
            method: The request's HTTP method.
            url: The request's URL without query, as the service calls itself.
            now: Time of the request.
        """
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        header = {
            "alg": "EdDSA",
            "typ": "dpop+jwt",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)},
        }
        claims = {
            "htm": method,
            "htu": url,
            "iat": int(now.timestamp()),
            "jti": secrets.token_urlsafe(16),
            "ath": _base64url(hashlib.sha256(self.token.encode()).digest()),
        }
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        proof = f"{signed}.{_base64url(self.key.sign(signed.encode()))}"
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}


def key_in(path: Path) -> Ed25519PrivateKey:
    """The key in a wallet's `key.pem`.

    Raises:
        KeyRefused: If it cannot be read, others may read it, or it is of another kind.
    """
    try:
        loaded = load_pem_private_key(_private_text(path).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"{path} is no key, or a locked one") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise KeyRefused(f"{path} is no Ed25519 key")
    return loaded


def _private_text(path: Path) -> str:
    try:
        if path.stat().st_mode & OTHERS:
            raise KeyRefused(f"others may read {path}; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRefused(f"{path} cannot be read") from error


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
