"""Proofs inside JSON-LD documents: which bytes are signed, and how the signature is written.

Sources: W3C-CCG Ed25519Signature2018 and 2020, JsonWebSignature2020, EcdsaSecp256k1Recovery-
Signature2020; W3C Data Integrity 1.0 and its suites eddsa-rdfc-2022, eddsa-jcs-2022,
ecdsa-rdfc-2019 and ecdsa-jcs-2019.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import base58

from backend.adapters.verifier.canonical import NotCanonical, json_canonical
from backend.adapters.verifier.ethereum import recover_address, sign_recoverable
from backend.adapters.verifier.interface import VerificationMethod
from backend.adapters.verifier.keys import (
    KeyKind,
    SigningKey,
    algorithm_of,
    base64url,
    from_base64url,
    kind_of,
    public_from_jwk,
    verify,
)

Digest = Callable[[bytes], bytes]
MAX_SIGNATURE_CHARACTERS = 512  # reading base58 takes the square of its length


@dataclass(frozen=True, slots=True)
class Suite:
    """One proof type.

    Attributes:
        kinds: Keys that may sign with it; none where an account is recovered.
        value: The member that holds the signature.
        canonical: How document and proof options become bytes.
        context: The address of the context that defines its terms beyond the data model's own.
    """

    name: str
    kinds: frozenset[KeyKind]
    value: Literal["proofValue", "jws"]
    canonical: Literal["rdf", "json"] = "rdf"
    context: str | None = None
    is_data_integrity: bool = False


_ED25519 = frozenset({KeyKind.ED25519})
_NIST = frozenset({KeyKind.P256, KeyKind.P384})
_JOSE = frozenset({KeyKind.ED25519, KeyKind.P256, KeyKind.SECP256K1})
ED25519_2020 = "https://w3id.org/security/suites/ed25519-2020/v1"
JWS_2020 = "https://w3id.org/security/suites/jws-2020/v1"
RECOVERY_2020 = "https://w3id.org/security/suites/secp256k1recovery-2020/v2"
RECOVERY = "EcdsaSecp256k1RecoverySignature2020"

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("Ed25519Signature2018", _ED25519, "jws"),
        Suite("Ed25519Signature2020", _ED25519, "proofValue", context=ED25519_2020),
        Suite("JsonWebSignature2020", _JOSE, "jws", context=JWS_2020),
        Suite(RECOVERY, frozenset(), "jws", context=RECOVERY_2020),
        Suite("eddsa-rdfc-2022", _ED25519, "proofValue", is_data_integrity=True),
        Suite("eddsa-jcs-2022", _ED25519, "proofValue", "json", is_data_integrity=True),
        Suite("ecdsa-rdfc-2019", _NIST, "proofValue", is_data_integrity=True),
        Suite("ecdsa-jcs-2019", _NIST, "proofValue", "json", is_data_integrity=True),
    )
}


def suite_of(proof: Mapping[str, Any]) -> Suite | None:
    """The suite a proof names; None if it is not one of ours."""
    name = proof.get("type")
    if name == "DataIntegrityProof":
        suite = SUITES.get(str(proof.get("cryptosuite")))
        return suite if suite and suite.is_data_integrity else None
    suite = SUITES.get(str(name))
    return None if suite is None or suite.is_data_integrity else suite


def signed_bytes(
    suite: Suite, document: Mapping[str, Any], proof: Mapping[str, Any], *, wide: bool = False
) -> bytes:
    """Hash of the proof's options, then hash of the document without its proof.

    Args:
        suite: How to make bytes of them.
        document: The document; of its `proof` only those stay that this proof names as previous.
        proof: The proof; its signature is left out.
        wide: SHA-384 instead of SHA-256, as P-384 keys demand.

    Raises:
        NotCanonical: If either has no canonical form that covers all of it.
        UnknownContext: If a context is not in the bundle.
    """
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    if "previousProof" in proof:
        unsecured["proof"] = previous_proofs(document, proof)
    options = {name: value for name, value in proof.items() if name != suite.value}
    if suite.canonical == "json":
        if "@context" in options:
            unsecured["@context"] = options["@context"]
    else:
        own = [] if suite.is_data_integrity else as_list(options.get("@context", []))
        options["@context"] = [*as_list(unsecured.get("@context", [])), *own]
    digest = hashlib.sha384 if wide else hashlib.sha256
    parts = (_canonical(suite, part, wide=wide) for part in (options, unsecured))
    return b"".join(digest(part).digest() for part in parts)


def previous_proofs(document: Mapping[str, Any], proof: Mapping[str, Any]) -> list[Any]:
    """The proofs that a proof of a chain builds on (Data Integrity §4.5).

    Raises:
        NotCanonical: If one that it names is not there.
    """
    named = as_list(proof["previousProof"])
    known = {str(one.get("id")): one for one in as_list(document["proof"]) if one is not proof}
    if not named or not all(isinstance(one, str) and one in known for one in named):
        raise NotCanonical("a previous proof is missing")
    return [known[one] for one in named]


def _canonical(suite: Suite, document: Mapping[str, Any], *, wide: bool) -> bytes:
    if suite.canonical == "json":
        return json_canonical(document)
    from backend.adapters.verifier.rdf import rdf_canonical  # noqa: PLC0415 - slow to import

    return rdf_canonical(document, wide=wide)


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    """A JSON-LD value as the list it stands for."""
    return value if isinstance(value, list) else [value]


def sign_document(
    suite: Suite, document: Mapping[str, Any], proof: Mapping[str, Any], key: SigningKey
) -> dict[str, Any]:
    """The document with the finished proof.

    Raises:
        ValueError: If the suite does not sign with this kind of key.
    """
    if key.kind not in suite.kinds and suite.name != RECOVERY:
        raise ValueError(f"{suite.name} does not sign with {key.kind}")
    data = signed_bytes(suite, document, proof, wide=key.kind is KeyKind.P384)
    if suite.value == "proofValue":
        value = "z" + base58.b58encode(key.sign(data)).decode()
    else:
        value = _detached(suite, data, key)
    return {**document, "proof": {**proof, suite.value: value}}


def _detached(suite: Suite, data: bytes, key: SigningKey) -> str:
    algorithm = "ES256K-R" if suite.name == RECOVERY else key.algorithm
    header = json.dumps({"alg": algorithm, "crit": ["b64"], "b64": False}, separators=(",", ":"))
    protected = base64url(header.encode())
    message = protected.encode() + b"." + data
    signature = sign_recoverable(key, message) if suite.name == RECOVERY else key.sign(message)
    return f"{protected}..{base64url(signature)}"


def verify_document(
    suite: Suite, document: Mapping[str, Any], proof: Mapping[str, Any], method: VerificationMethod
) -> bool:
    """Whether the method's key made this proof of the document.

    Raises:
        NotCanonical: If document or proof have no canonical form that covers all of them.
        UnknownContext: If a context is not in the bundle.
    """
    value = proof.get(suite.value)
    if not isinstance(value, str):
        return False
    if suite.name == RECOVERY:
        return _verify_recovered(suite, document, proof, value, method)
    if method.public_jwk is None:
        return False
    key = public_from_jwk(method.public_jwk)
    kind = kind_of(key)
    parts = _read_signature(suite, value, algorithm_of(kind))
    if kind not in suite.kinds or parts is None:
        return False
    prefix, signature = parts
    data = signed_bytes(suite, document, proof, wide=kind is KeyKind.P384)
    return verify(key, signature, prefix + data)


def _verify_recovered(
    suite: Suite,
    document: Mapping[str, Any],
    proof: Mapping[str, Any],
    value: str,
    method: VerificationMethod,
) -> bool:
    """Recover the account of the signature and compare it (CAIP-10, EIP-55 letters aside)."""
    parts = _read_signature(suite, value, "ES256K-R")
    if parts is None or method.blockchain_account is None:
        return False
    prefix, signature = parts
    address = recover_address(signature, prefix + signed_bytes(suite, document, proof))
    return address == method.blockchain_account.rsplit(":", 1)[-1].lower()


def _read_signature(suite: Suite, value: str, algorithm: str) -> tuple[bytes, bytes] | None:
    """What stands before the signed data, and the signature; None if it is malformed."""
    if len(value) > MAX_SIGNATURE_CHARACTERS:
        return None
    try:
        if suite.value == "proofValue":
            signature = base58.b58decode(value[1:]) if value[:1] == "z" else b""
            is_canonical = value == "z" + base58.b58encode(signature).decode()
            return (b"", signature) if signature and is_canonical else None
        protected, empty, encoded = value.split(".")
        header = json.loads(from_base64url(protected))
        if empty or header != {"alg": algorithm, "crit": ["b64"], "b64": False}:
            return None
        return protected.encode() + b".", from_base64url(encoded)
    except (ValueError, RecursionError):
        return None
