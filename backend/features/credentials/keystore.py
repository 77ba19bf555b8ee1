"""Private keys in files that only their owner may read, encrypted if a passphrase is given.

A file holds PKCS #8 in PEM (RFC 5958, RFC 7468), as `openssl genpkey` writes it too, or that text
as a Fernet token under a key that scrypt derives from the passphrase.
"""

import contextlib
import os
import stat
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from backend.adapters.verifier.keys import SigningKey, kind_of

OWNER_ONLY = 0o600
_LOCKED = "tasco-locked-key:"


class KeyFileRefused(Exception):
    """A key file cannot be used; the message says why and what to do."""


def write_private(path: Path, text: str, *, may_replace: bool = False) -> None:
    """Write a file that its owner alone may read; it appears whole or not at all.

    Raises:
        FileExistsError: If there is such a file already, unless it may be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if may_replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # fails where the file exists, unlike a rename
    finally:
        beside.unlink(missing_ok=True)


def read_private(path: Path) -> str:
    """Read a file that others may not read.

    Raises:
        KeyFileRefused: If it is not there, or others may read or change it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileRefused(f"{path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileRefused(f"Others may read {path}; run: chmod 600 {path}")
    return text


def to_text(key: SigningKey, passphrase: str | None = None) -> str:
    """The text of a key file."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if not passphrase:
        return pem.decode()
    salt = os.urandom(16)
    return f"{_LOCKED}{salt.hex()}:{_lock(passphrase, salt).encrypt(pem).decode()}\n"


def _lock(passphrase: str, salt: bytes) -> Fernet:
    """A lock that takes 64 MB and a tenth of a second to try (RFC 7914 scrypt)."""
    secret = Scrypt(salt=salt, length=32, n=2**16, r=8, p=1).derive(passphrase.encode())
    return Fernet(urlsafe_b64encode(secret))


def is_locked(text: str) -> bool:
    """Whether a key file needs a passphrase."""
    return text.startswith(_LOCKED)


def from_text(text: str, passphrase: str | None = None) -> SigningKey:
    """The key in a key file.

    Raises:
        KeyFileRefused: If the passphrase is missing or wrong, or there is no key of a known kind.
    """
    pem = _unlocked(text, passphrase) if is_locked(text) else text.encode()
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileRefused("This is no PKCS #8 key file.") from error
    if isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        with contextlib.suppress(KeyError):  # a curve that is not ours
            kind_of(private)
            return SigningKey(private)
    raise KeyFileRefused("The key is neither Ed25519 nor on P-256, P-384 or secp256k1.")


def _unlocked(text: str, passphrase: str | None) -> bytes:
    if not passphrase:
        raise KeyFileRefused("The key is locked: its passphrase is needed.")
    salt, _, token = text.removeprefix(_LOCKED).strip().partition(":")
    try:
        return _lock(passphrase, bytes.fromhex(salt)).decrypt(token)
    except (InvalidToken, ValueError) as error:
        raise KeyFileRefused("The passphrase is wrong, or the key file was altered.") from error
