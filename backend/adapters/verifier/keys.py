"""Keys: make them, read and write them as JWK, sign and verify with them.

Sources: RFC 7517 and 7518 (JWK), RFC 8037 (Ed25519 in JOSE), RFC 8812 (secp256k1 in JOSE),
RFC 7638 (thumbprint).
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class KeyKind(StrEnum):
    """The curves that are known; the value is the `crv` of a JWK."""

    ED25519 = "Ed25519"
    P256 = "P-256"
    P384 = "P-384"
    SECP256K1 = "secp256k1"


class UnusableKey(ValueError):
    """A key is malformed, not on its curve, of an unknown kind, or private where it must not be."""


@dataclass(frozen=True, slots=True)
class _CurveFacts:
    curve: ec.EllipticCurve
    algorithm: str
    digest: hashes.HashAlgorithm
    size: int  # bytes of one coordinate


_CURVES = {
    KeyKind.P256: _CurveFacts(ec.SECP256R1(), "ES256", hashes.SHA256(), 32),
    KeyKind.P384: _CurveFacts(ec.SECP384R1(), "ES384", hashes.SHA384(), 48),
    KeyKind.SECP256K1: _CurveFacts(ec.SECP256K1(), "ES256K", hashes.SHA256(), 32),
}
_KIND_OF_CURVE = {facts.curve.name: kind for kind, facts in _CURVES.items()}
_ED25519_PRIME = 2**255 - 19
_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# Their points have an order of 8 or less: everybody can sign for such a key.
WEAK_ED25519 = frozenset({0, 1, _ED25519_PRIME - 1, _OF_ORDER_8, _ED25519_PRIME - _OF_ORDER_8})
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def base64url(content: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode base64url; only the one canonical spelling of the bytes is accepted.

    Raises:
        ValueError: If it is padded, has foreign characters or stray bits at its end.
    """
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(content).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url")
    return content


def kind_of(key: PublicKey | PrivateKey) -> KeyKind:
    """The kind of a key object."""
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return KeyKind.ED25519
    return _KIND_OF_CURVE[key.curve.name]


def algorithm_of(kind: KeyKind) -> str:
    """The JOSE algorithm a kind of key signs with."""
    return "EdDSA" if kind is KeyKind.ED25519 else _CURVES[kind].algorithm


def public_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Read a public JWK.

    Raises:
        UnusableKey: If it is not a public key of a known kind.
    """
    if "d" in jwk or "k" in jwk:
        raise UnusableKey("a private or symmetric key where a public one belongs")
    try:
        kind = KeyKind(jwk["crv"])
        _require_signing(jwk, kind)
        if jwk["kty"] != ("OKP" if kind is KeyKind.ED25519 else "EC"):
            raise UnusableKey("kty and crv do not fit")
        if kind is KeyKind.ED25519:
            return _ed25519_from(from_base64url(jwk["x"]))
        x, y = (from_base64url(jwk[name]) for name in ("x", "y"))
        if {len(x), len(y)} != {_CURVES[kind].size}:
            raise UnusableKey("a coordinate has the wrong length")
        point = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x), int.from_bytes(y), _CURVES[kind].curve
        )
        return point.public_key()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnusableKey(f"not a public JWK: {error}") from error


def _require_signing(jwk: Mapping[str, Any], kind: KeyKind) -> None:
    """What a key says of its use must not exclude signing (RFC 7517 §4.2 to §4.4)."""
    is_for_signing = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
    if not is_for_signing or jwk.get("alg", algorithm_of(kind)) not in {
        algorithm_of(kind),
        str(kind),  # RFC 9864 calls EdDSA with this curve `Ed25519`
    }:
        raise UnusableKey("a key for something else")


def public_to_jwk(key: PublicKey) -> dict[str, str]:
    """Write a public key as JWK, required members only."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_bytes_raw())}
    kind, numbers = kind_of(key), key.public_numbers()
    size = _CURVES[kind].size
    x, y = (base64url(number.to_bytes(size)) for number in (numbers.x, numbers.y))
    return {"crv": str(kind), "kty": "EC", "x": x, "y": y}


def public_from_point(kind: KeyKind, content: bytes) -> PublicKey:
    """Read raw Ed25519 bytes or a compressed point (SEC 1).

    Raises:
        UnusableKey: If the length is wrong or the point is not on the curve.
    """
    try:
        if kind is KeyKind.ED25519:
            return _ed25519_from(content)
        if len(content) != _CURVES[kind].size + 1:
            raise UnusableKey("not a compressed point")
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[kind].curve, content)
    except ValueError as error:
        raise UnusableKey(str(error)) from error


def _ed25519_from(content: bytes) -> ed25519.Ed25519PublicKey:
    """Read an Ed25519 key in its one spelling (RFC 8032 §5.1.3), unless it is a weak one."""
    height = int.from_bytes(content, "little") & (2**255 - 1)
    if height >= _ED25519_PRIME or height in WEAK_ED25519:
        raise UnusableKey("a key that anybody can sign for, or an odd spelling of one")
    return ed25519.Ed25519PublicKey.from_public_bytes(content)


def point_of(key: PublicKey) -> bytes:
    """Raw Ed25519 bytes or the compressed point."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes_raw()
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 SHA-256 thumbprint, base64url."""
    members = ("crv", "kty", "x") if jwk["kty"] == "OKP" else ("crv", "kty", "x", "y")
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
    return base64url(hashlib.sha256(canonical.encode()).digest())


def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether this key made a JOSE signature (r and s side by side for EC keys) of a message."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
            return True
        facts = _CURVES[kind_of(key)]
        if len(signature) != 2 * facts.size:
            return False
        r, s = (int.from_bytes(half) for half in (signature[: facts.size], signature[facts.size :]))
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(facts.digest))
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True)
class SigningKey:
    """A private key. Its representation shows nothing of it."""

    private: PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.kind})"

    @cached_property
    def kind(self) -> KeyKind:
        """Its curve."""
        return kind_of(self.private)

    @property
    def algorithm(self) -> str:
        """Its JOSE algorithm."""
        return algorithm_of(self.kind)

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return self.private.public_key()

    @cached_property
    def public_jwk(self) -> dict[str, str]:
        """The public half as JWK."""
        return public_to_jwk(self.public)

    def private_jwk(self) -> dict[str, str]:
        """Both halves as JWK: a secret."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            secret = self.private.private_bytes_raw()
        else:
            secret = self.private.private_numbers().private_value.to_bytes(_CURVES[self.kind].size)
        return {**self.public_jwk, "d": base64url(secret)}

    def sign(self, message: bytes) -> bytes:
        """A JOSE signature: 64 bytes for Ed25519, r and s side by side for EC keys."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        facts = _CURVES[self.kind]
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(facts.digest)))
        if self.kind is KeyKind.SECP256K1:
            s = min(s, _SECP256K1_ORDER - s)  # the one of both spellings that wallets accept
        return r.to_bytes(facts.size) + s.to_bytes(facts.size)


def generate_key(kind: KeyKind = KeyKind.ED25519) -> SigningKey:
    """A new random key."""
    if kind is KeyKind.ED25519:
        return SigningKey(ed25519.Ed25519PrivateKey.generate())
    return SigningKey(ec.generate_private_key(_CURVES[kind].curve))


def key_from_seed(seed: bytes, kind: KeyKind = KeyKind.ED25519) -> SigningKey:
    """The same key for the same seed: for demonstration data and tests, never for real holders."""
    secret = hashlib.sha256(b"tasco demonstration key" + seed).digest()
    if kind is KeyKind.ED25519:
        return SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    return SigningKey(ec.derive_private_key(int.from_bytes(secret[:31]) + 1, _CURVES[kind].curve))


def key_from_jwk(jwk: Mapping[str, Any]) -> SigningKey:
    """Read a private JWK.

    Raises:
        UnusableKey: If it is not a private key of a known kind, or its halves do not fit.
    """
    try:
        kind, secret = KeyKind(jwk["crv"]), from_base64url(jwk["d"])
        if kind is KeyKind.ED25519:
            key = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
        else:
            key = SigningKey(ec.derive_private_key(int.from_bytes(secret), _CURVES[kind].curve))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnusableKey("not a private JWK") from error
    if any(jwk.get(name) != value for name, value in key.public_jwk.items()):
        raise UnusableKey("the two halves of the key do not fit")
    return key
