"""Bitstrings of status lists, encoded and read.

Source: W3C Bitstring Status List v1.0: at least 131,072 bits, the left-most (most significant) bit
of the first byte is index 0, compressed with gzip, base64url without padding, multibase `u`.
"""

import gzip
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

SIZE = 131_072
MAX_UNPACKED_BYTES = 1_000_000
MAX_ENCODED_CHARACTERS = 400_000
_GZIP = 16 + zlib.MAX_WBITS


class BitstringInvalid(ValueError):
    """A bitstring is malformed, too short or unpacks to too much."""


def bits_with(positions: Iterable[int], *, size: int = SIZE) -> bytes:
    """The bits of a list with these set."""
    bits = bytearray(size // 8)
    for position in positions:
        bits[position // 8] |= 0x80 >> position % 8
    return bytes(bits)


def encoded(positions: Iterable[int], *, size: int = SIZE) -> str:
    """The list with these bits set."""
    packed = gzip.compress(bits_with(positions, size=size), mtime=0)  # the same bits, the same text
    return "u" + urlsafe_b64encode(packed).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bits of an encoded list.

    Raises:
        BitstringInvalid: If it is malformed, shorter than 131,072 bits or unpacks beyond 1 MB.
    """
    if not text.startswith("u") or len(text) > MAX_ENCODED_CHARACTERS:
        raise BitstringInvalid("no multibase base64url text of sensible length")
    try:
        packed = urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))
        unpacking = zlib.decompressobj(_GZIP)
        bits = unpacking.decompress(packed, MAX_UNPACKED_BYTES)
    except (ValueError, zlib.error) as error:
        raise BitstringInvalid("neither base64url nor gzip") from error
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise BitstringInvalid("unpacks to more than a megabyte, or ends early")
    if len(bits) * 8 < SIZE:
        raise BitstringInvalid("shorter than 131,072 bits")
    return bits


def is_set(bits: bytes, position: int) -> bool:
    """The bit at a position.

    Raises:
        BitstringInvalid: If the list does not reach that far.
    """
    if not 0 <= position < len(bits) * 8:
        raise BitstringInvalid("outside the list")
    return bool(bits[position // 8] & 0x80 >> position % 8)
