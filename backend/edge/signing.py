"""What a gateway signs with its own key: statements about updates and scores."""

import json
from base64 import urlsafe_b64encode

import base58
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backend.federation.statements import TYPE, Statement

ED25519 = b"\xed\x01"  # multicodec prefix


def did_of(key: Ed25519PrivateKey) -> str:
    """The did:key of a key (W3C-CCG did:key v0.7)."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"did:key:z{base58.b58encode(ED25519 + public).decode()}"


def signed(statement: Statement, key: Ed25519PrivateKey) -> str:
    """A statement as compact JWS (RFC 7515)."""
    method = f"{statement.did}#{statement.did.removeprefix('did:key:')}"
    header = {"alg": "EdDSA", "typ": TYPE, "kid": method}
    text = ".".join(_base64url(json.dumps(one).encode()) for one in (header, statement.claims()))
    return f"{text}.{_base64url(key.sign(text.encode()))}"


def noise_key_of(key: Ed25519PrivateKey) -> bytes:
    """The secret that private training draws its noise from; the same after a crash (RFC 5869)."""
    secret = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"tasco noise").derive(secret)


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
