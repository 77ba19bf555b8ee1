"""Masks and the keys that they are made of."""

import json
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]

KEY_BYTES = 32


def stream(seed: bytes, values: int) -> Words:
    """Uniform 64-bit words from a seed: the key stream of ChaCha20."""
    cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(8 * values)), dtype="<u8").astype(np.uint64)


def pair_seed(own: X25519PrivateKey, other: bytes, context: str) -> bytes:
    """The seed of the mask between two participants, the same from either side."""
    return derived(own.exchange(X25519PublicKey.from_public_bytes(other)), context, "pair mask")


def private_key(secret: bytes) -> X25519PrivateKey:
    """An X25519 key from its 32 bytes."""
    return X25519PrivateKey.from_private_bytes(secret)


def derived(secret: bytes, context: str, *purpose: str, length: int = KEY_BYTES) -> bytes:
    """A key of a secret for one purpose in one sum, by HKDF-SHA256."""
    info = json.dumps([context, *purpose]).encode()
    return HKDF(SHA256(), length, salt=None, info=info).derive(secret)
