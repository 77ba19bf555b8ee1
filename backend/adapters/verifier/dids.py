"""DIDs that describe themselves: did:key, did:jwk and did:pkh, written and read without a network.

Sources: W3C-CCG did:key v0.7, did:jwk, did:pkh (CAIP-10); W3C Controlled Identifiers (Multikey).
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import base58

from backend.adapters.verifier.ethereum import address_of
from backend.adapters.verifier.interface import Trust, VerificationMethod
from backend.adapters.verifier.keys import (
    KeyKind,
    PublicKey,
    SigningKey,
    UnusableKey,
    base64url,
    from_base64url,
    kind_of,
    point_of,
    public_from_jwk,
    public_from_point,
    public_to_jwk,
)
from backend.adapters.verifier.reasons import Reason

MAX_DID_CHARACTERS = 512
# Possessive: without them a long DID with a bad end would be tried in every way to cut it.
DID = re.compile(r"did:[a-z0-9]{1,32}:(?:[A-Za-z0-9._:-]++|%[0-9A-Fa-f]{2})++\Z")
DID_URL = re.compile(DID.pattern.removesuffix(r"\Z") + r"#[A-Za-z0-9._:-]{1,480}\Z")
OFFLINE = frozenset({"key", "jwk", "pkh"})
_ACCOUNT = re.compile(r"did:pkh:(eip155:[1-9][0-9]{0,9}:0x[0-9a-fA-F]{40})\Z")
_CODECS = {  # multicodec prefixes, as unsigned varints
    KeyKind.ED25519: b"\xed\x01",
    KeyKind.SECP256K1: b"\xe7\x01",
    KeyKind.P256: b"\x80\x24",
    KeyKind.P384: b"\x81\x24",
}


class DidRefused(ValueError):
    """A DID cannot be resolved here; `reason` says why."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


def to_multikey(key: PublicKey) -> str:
    """Multibase (base58btc) of multicodec prefix and point."""
    prefix = _CODECS[kind_of(key)]
    return "z" + base58.b58encode(prefix + point_of(key)).decode()


def from_multikey(text: str) -> PublicKey:
    """Read a Multikey.

    Raises:
        UnusableKey: If it is not base58btc of a known kind of public key.
    """
    _require_short(text)
    try:
        content = base58.b58decode(text[1:]) if text[:1] == "z" else b""
    except ValueError as error:
        raise UnusableKey("not base58btc") from error
    for kind, prefix in _CODECS.items():
        if content.startswith(prefix):
            return public_from_point(kind, content[len(prefix) :])
    raise UnusableKey("not a Multikey of a known kind")


def _require_short(text: str) -> None:
    if len(text) > MAX_DID_CHARACTERS:  # reading base58 takes the square of its length
        raise UnusableKey("too long for a key")


def did_key(key: SigningKey | PublicKey) -> str:
    """The did:key of a key."""
    return f"did:key:{to_multikey(key.public if isinstance(key, SigningKey) else key)}"


def did_jwk(key: SigningKey | PublicKey) -> str:
    """The did:jwk of a key."""
    jwk = public_to_jwk(key.public if isinstance(key, SigningKey) else key)
    return f"did:jwk:{base64url(json.dumps(jwk, separators=(',', ':')).encode())}"


def did_pkh(key: SigningKey, *, chain_id: int = 1) -> str:
    """The did:pkh of a secp256k1 key's Ethereum account.

    Raises:
        UnusableKey: If it is another kind of key.
    """
    if key.kind is not KeyKind.SECP256K1:
        raise UnusableKey("an Ethereum account needs a secp256k1 key")
    return f"did:pkh:eip155:{chain_id}:{address_of(key.public)}"


def key_method(did: str) -> str:
    """Id of the only method of a self-describing DID."""
    method = did_method(did)
    if method == "key":
        return f"{did}#{did.removeprefix('did:key:')}"
    return f"{did}#0" if method == "jwk" else f"{did}#blockchainAccountId"


@lru_cache(maxsize=4096)
def did_method(did: str) -> str:
    """The method's name.

    Raises:
        DidRefused: If it is not a DID.
    """
    if not isinstance(did, str) or len(did) > MAX_DID_CHARACTERS or not DID.match(did):
        raise DidRefused(Reason.MALFORMED_DID)
    return did.split(":", 2)[1]


@lru_cache(maxsize=4096)
def resolve_offline(did: str) -> tuple[VerificationMethod, ...]:
    """The one method of a did:key, did:jwk or did:pkh; it may assert and authenticate.

    Raises:
        DidRefused: If it is malformed or of another method.
    """
    method = did_method(did)
    if method not in OFFLINE:
        raise DidRefused(Reason.UNSUPPORTED_DID_METHOD, method)
    try:
        if method == "pkh":
            account = _account(did)
            return (VerificationMethod(key_method(did), did, blockchain_account=account),)
        jwk = public_to_jwk(from_multikey(did[8:]) if method == "key" else _read_did_jwk(did))
        return (VerificationMethod(key_method(did), did, public_jwk=jwk),)
    except UnusableKey as error:
        raise DidRefused(Reason.MALFORMED_DID, str(error)) from error


def _account(did: str) -> str:
    found = _ACCOUNT.match(did)
    if found is None:
        raise DidRefused(Reason.UNSUPPORTED_DID_METHOD, "only eip155 accounts")
    return found[1]


def _read_did_jwk(did: str) -> PublicKey:
    try:
        jwk = json.loads(from_base64url(did.removeprefix("did:jwk:")))
    except (ValueError, RecursionError) as error:
        raise UnusableKey("not a base64url JWK") from error
    if not isinstance(jwk, dict):
        raise UnusableKey("not a JWK object")
    return public_from_jwk(jwk)


def read_method(value: str | Mapping[str, Any]) -> VerificationMethod:
    """Read a verification method: a DID URL that describes itself, or an object of a DID document.

    Raises:
        DidRefused: If it names no usable key.
    """
    if isinstance(value, str):
        return _method_named(value)
    account = value.get("blockchainAccountId")
    identifier, controller = str(value.get("id", "")), str(value.get("controller", ""))
    controller = controller or identifier.split("#", 1)[0]
    if isinstance(account, str):
        return VerificationMethod(identifier, controller, blockchain_account=account)
    try:
        return VerificationMethod(identifier, controller, public_to_jwk(_key_in(value)))
    except UnusableKey as error:
        raise DidRefused(Reason.METHOD_UNKNOWN, str(error)) from error


def _method_named(url: str) -> VerificationMethod:
    did, _, fragment = url.partition("#")
    (method,) = resolve_offline(did)
    if fragment and url != method.id:
        raise DidRefused(Reason.METHOD_UNKNOWN, "the DID has no such method")
    return method


def _key_in(value: Mapping[str, Any]) -> PublicKey:
    jwk, multikey = value.get("publicKeyJwk"), value.get("publicKeyMultibase")
    if isinstance(jwk, Mapping):
        return public_from_jwk(jwk)
    if isinstance(multikey, str):
        return _multibase_key(multikey)
    base58_key = value.get("publicKeyBase58")
    if isinstance(base58_key, str):
        return _raw_ed25519(base58_key)
    raise UnusableKey("no publicKeyJwk, publicKeyMultibase or publicKeyBase58")


def _multibase_key(text: str) -> PublicKey:
    """A Multikey, or the bare Ed25519 bytes that early Ed25519VerificationKey2020 documents had."""
    try:
        return from_multikey(text)
    except UnusableKey:
        return _raw_ed25519(text.removeprefix("z"))


def _raw_ed25519(text: str) -> PublicKey:
    _require_short(text)
    try:
        return public_from_point(KeyKind.ED25519, base58.b58decode(text))
    except ValueError as error:
        raise UnusableKey("not base58 of 32 bytes") from error


def read_trust(value: Mapping[str, Iterable[str | Mapping[str, Any]]]) -> Trust:
    """Read a trust list: issuer to its methods, each a DID URL or an object of a DID document.

    Raises:
        DidRefused: If an entry names no usable key.
    """
    return {issuer: tuple(map(read_method, methods)) for issuer, methods in value.items()}


def to_did_document_method(method: VerificationMethod) -> dict[str, Any]:
    """A verification method as a DID document shows it (JsonWebKey2020)."""
    document: dict[str, Any] = {"id": method.id, "controller": method.controller}
    if method.public_jwk is None:
        kind = "EcdsaSecp256k1RecoveryMethod2020"
        return {**document, "type": kind, "blockchainAccountId": method.blockchain_account}
    return {**document, "type": "JsonWebKey2020", "publicKeyJwk": dict(method.public_jwk)}
