"""Secrets in shares: some of them give the secret back, fewer say nothing of it.

Source: A. Shamir, "How to share a secret", Communications of the ACM, 1979.
"""

from collections.abc import Callable, Mapping

PRIME = 2**521 - 1
"""A Mersenne prime that every 32-byte secret is below."""

SECRET_BYTES = 32
SHARE_BYTES = 66


class SharesRefused(ValueError):
    """The shares do not give a secret back."""


def split(
    secret: bytes, *, shares: int, threshold: int, draw: Callable[[int], int]
) -> dict[int, int]:
    """Split a secret.

    Args:
        secret: 32 bytes.
        shares: How many are made.
        threshold: How many of them give the secret back.
        draw: Gives coefficient 1, 2, …: uniform below `PRIME`, and nobody else's business.

    Returns:
        Shares by their number, from 1.

    Raises:
        ValueError: If the secret has another length, or there are fewer shares than needed.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= shares:
        raise ValueError("A secret has 32 bytes and at least as many shares as its threshold.")
    coefficients = [int.from_bytes(secret, "big"), *(draw(one) for one in range(1, threshold))]
    return {number: _value(coefficients, number) for number in range(1, shares + 1)}


def _value(coefficients: list[int], x: int) -> int:
    """The polynomial at x, by Horner's rule."""
    value = 0
    for one in reversed(coefficients):
        value = (value * x + one) % PRIME
    return value


def join(shares: Mapping[int, int], *, threshold: int) -> bytes:
    """Give the secret back: the polynomial through the shares, at zero.

    Raises:
        SharesRefused: If they are too few, no shares, or give none that fits 32 bytes.
    """
    if len(shares) < threshold:
        raise SharesRefused(f"{len(shares)} shares; {threshold} are needed")
    if not all(x > 0 and 0 <= share < PRIME for x, share in shares.items()):
        raise SharesRefused("numbers that are no shares")
    chosen = dict(sorted(shares.items())[:threshold])
    secret = sum(share * _weight(x, chosen) for x, share in chosen.items()) % PRIME
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise SharesRefused("the shares do not belong together")
    return secret.to_bytes(SECRET_BYTES, "big")


def _weight(x: int, chosen: Mapping[int, int]) -> int:
    """Lagrange's weight of share x at zero."""
    above = below = 1
    for other in chosen:
        if other != x:
            above = above * other % PRIME
            below = below * (other - x) % PRIME
    return above * pow(below, -1, PRIME) % PRIME
