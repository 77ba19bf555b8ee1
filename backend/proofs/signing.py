"""Ed25519 signatures over canonical documents, by keys that are did:key identifiers."""

import base64
import binascii
from typing import Any

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backend.proofs.canonical import canonical_bytes

ED25519_PUB = b"\xed\x01"  # multicodec prefix of did:key
SIGNATURE_BYTES = 64
DID_LETTERS = 56  # of the did:key of an Ed25519 key, in its one spelling
FIELD = 2**255 - 19
# Points of small order, by their y: for such a key everybody can sign everything.
# Source: libsodium, ge25519_has_small_order.
_ORDER_8 = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER = frozenset({0, 1, FIELD - 1, _ORDER_8, FIELD - _ORDER_8})


def did_of(key: Ed25519PrivateKey) -> str:
    """The did:key of a signing key."""
    raw = key.public_key().public_bytes_raw()
    return "did:key:z" + base58.b58encode(ED25519_PUB + raw).decode()


def public_key_of(did: str) -> Ed25519PublicKey:
    """The key that a did:key names.

    Raises:
        ValueError: If it names no Ed25519 key.
    """
    if not did.startswith("did:key:z") or len(did) != DID_LETTERS:
        raise ValueError("The signer is no did:key of an Ed25519 key.")
    raw = base58.b58decode(did.removeprefix("did:key:z"))
    if not raw.startswith(ED25519_PUB):
        raise ValueError("The signer's key is no Ed25519 key.")
    public = raw.removeprefix(ED25519_PUB)
    y = int.from_bytes(public, "little") % 2**255  # without the sign of x
    if y >= FIELD or y in SMALL_ORDER:
        raise ValueError("The signer's key is not one that only its holder can sign with.")
    return Ed25519PublicKey.from_public_bytes(public)


def signed(document: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with `signer` and a `signature` over its canonical form without it."""
    body = {**document, "signer": did_of(key)}
    signature = base64.urlsafe_b64encode(key.sign(canonical_bytes(body))).decode().rstrip("=")
    return {**body, "signature": signature}


def is_signed(document: dict[str, Any]) -> bool:
    """Tell whether the signature is by the document's own signer, over all the rest of it."""
    body = {name: value for name, value in document.items() if name != "signature"}
    try:
        signature = _signature_in(document["signature"])
        public_key_of(document["signer"]).verify(signature, canonical_bytes(body))
    except (KeyError, TypeError, AttributeError, ValueError, InvalidSignature):
        return False
    return True


def _signature_in(text: str) -> bytes:
    """Bytes of an unpadded base64url text; only its one canonical spelling is taken."""
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("The signature is no base64url.") from error
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text or len(raw) != SIGNATURE_BYTES:
        raise ValueError("The signature is not written canonically.")
    return raw
