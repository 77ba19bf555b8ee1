"""Secret random numbers of a participant: uniform and Gaussian, from a cryptographic stream.

Noise that hides examples has to be unknown to who receives the update, so it comes from a key of
the participant's own; with the same key and context the same noise comes again, which lets a
repeated task answer the same bytes instead of spending privacy twice.
"""

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

KEY_BYTES, FEWEST_KEY_BYTES = 32, 16


class SecretStream:
    """A stream of ChaCha20 (RFC 8439) under a key derived from a secret and a context."""

    def __init__(self, secret: bytes, context: bytes) -> None:
        if len(secret) < FEWEST_KEY_BYTES:
            raise ValueError(f"a noise key has at least {FEWEST_KEY_BYTES} bytes")
        key = hashlib.sha256(secret + hashlib.sha256(context).digest()).digest()
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Numbers between 0 and 1, neither included, shape (count,)."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, count: int) -> NDArray[np.float64]:
        """Standard Gaussian numbers, shape (count,)."""
        from scipy.special import ndtri  # noqa: PLC0415  # only who trains privately pays for it

        return np.asarray(ndtri(self.uniform(count)), dtype=np.float64)
