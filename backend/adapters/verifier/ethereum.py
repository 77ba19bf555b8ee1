"""Ethereum accounts: the address of a key, signatures that a key can be recovered from."""

import hashlib

from backend.adapters.verifier.keys import PublicKey, SigningKey, from_base64url, point_of

# eth_keys takes half a second to import, so it is imported where an account is met.


def address_of(key: PublicKey) -> str:
    """The account of a secp256k1 key, with the letters of EIP-55."""
    from eth_keys.datatypes import PublicKey as EthereumKey  # noqa: PLC0415

    return str(EthereumKey.from_compressed_bytes(point_of(key)).to_checksum_address())


def sign_recoverable(key: SigningKey, message: bytes) -> bytes:
    """A secp256k1 signature of the SHA-256 of a message: r, s and the recovery bit."""
    from eth_keys.datatypes import PrivateKey  # noqa: PLC0415

    secret = from_base64url(key.private_jwk()["d"])
    signature = PrivateKey(secret).sign_msg_hash(hashlib.sha256(message).digest())
    return bytes(signature.to_bytes())


def recover_address(signature: bytes, message: bytes) -> str | None:
    """The account whose key made such a signature, in lower case; None if it is none."""
    from eth_keys.datatypes import Signature  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415
    from eth_utils.exceptions import ValidationError  # noqa: PLC0415

    digest = hashlib.sha256(message).digest()
    try:
        key = Signature(signature).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError):
        return None
    return str(key.to_address())
