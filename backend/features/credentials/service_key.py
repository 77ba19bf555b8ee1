"""The key that signs access tokens: a file only its owner can read."""

import json
import os
from pathlib import Path
from typing import Any

from backend.adapters.verifier.keys import (
    SigningKey,
    UnusableKey,
    generate_key,
    key_from_jwk,
    thumbprint,
)
from backend.components import Parts


class SigningKeyMissing(RuntimeError):
    """Production does not start without a signing key of its own."""


def write_new_key(file: Path) -> SigningKey:
    """Make an Ed25519 key and store it; whoever may not own the process cannot read it.

    Raises:
        FileExistsError: If there is a file already: a key is never overwritten.
    """
    key = generate_key()
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        json.dump(key.private_jwk(), opened)
    return key


def read_key(file: Path) -> SigningKey:
    """Read a stored key.

    Raises:
        SigningKeyMissing: If there is none, others can read it, or it is no private Ed25519 JWK.
    """
    try:
        if file.stat().st_mode & 0o077:
            raise SigningKeyMissing(f"{file} can be read by others; set its mode to 0600.")
        key = key_from_jwk(json.loads(file.read_text()))
    except FileNotFoundError:
        raise SigningKeyMissing(
            f"There is no signing key at {file}; make one: python -m backend admin new-key {file}"
        ) from None
    except (UnusableKey, ValueError, TypeError):
        raise SigningKeyMissing(f"{file} holds no private key (JWK).") from None
    if key.algorithm != "EdDSA":
        raise SigningKeyMissing(f"{file} holds no Ed25519 key.")
    return key


def token_key(parts: Parts) -> SigningKey:
    """The key of this installation; the demo makes one when it has none.

    Raises:
        SigningKeyMissing: If production has none, or the file cannot be used.
    """
    if "token_key" not in parts.shared:
        file = parts.settings.token_key_file
        if parts.settings.profile == "demo" and not file.exists():
            _made_by_first(file)
        parts.shared["token_key"] = read_key(file)
    key: SigningKey = parts.shared["token_key"]
    return key


def _made_by_first(file: Path) -> None:
    try:
        write_new_key(file)
    except FileExistsError:
        return  # another process of this installation was quicker


def key_set(key: SigningKey) -> dict[str, Any]:
    """The public half as a JWK set (RFC 7517)."""
    public = key.public_jwk
    return {"keys": [{**public, "kid": thumbprint(public), "use": "sig", "alg": key.algorithm}]}
