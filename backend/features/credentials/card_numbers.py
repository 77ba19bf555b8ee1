"""Numbers of cards and contracts: one spelling for each, and the check digit of contracts."""

import re
from typing import Literal

CardKind = Literal["rfid", "emaid"]
UID_BYTES = (4, 7, 10)  # ISO 14443-3: single, double and triple size
CODE_LENGTH = 14  # country, provider, instance; the check digit is the fifteenth
_SEPARATORS = re.compile(r"[\s:.-]")
_EMAID = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[A-Z0-9]{9}[A-Z0-9]?", re.ASCII)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class CardNumberInvalid(ValueError):
    """The number is none of its kind; the message says why."""


def normalised(kind: CardKind, number: str) -> str:
    """The one spelling of a number: capitals without separators.

    Raises:
        CardNumberInvalid: If it cannot be a number of this kind.
    """
    plain = _SEPARATORS.sub("", number).upper()
    return _uid(plain) if kind == "rfid" else _emaid(plain)


def _uid(plain: str) -> str:
    is_hexadecimal = re.fullmatch(r"[0-9A-F]+", plain, re.ASCII) is not None
    if not is_hexadecimal or len(plain) not in {2 * size for size in UID_BYTES}:
        raise CardNumberInvalid("an RFID UID has 4, 7 or 10 bytes in hexadecimal")
    return plain


def _emaid(plain: str) -> str:
    """With its check digit, which may be left out."""
    if not _EMAID.fullmatch(plain):
        raise CardNumberInvalid(
            "an EMAID has a country (two letters), a provider (three), nine more and a check digit"
        )
    code, told = plain[:CODE_LENGTH], plain[CODE_LENGTH:]
    digit = check_digit(code)
    if told not in ("", digit):
        raise CardNumberInvalid("the check digit does not fit the EMAID")
    return code + digit


def check_digit(code: str) -> str:
    """The check digit of a contract's first fourteen characters.

    Each character is four small numbers, two modulo 2 and two modulo 3. The pairs are multiplied
    with growing powers of a matrix and summed up, so every single error and every swap shows.

    Source: ISO 15118-1:2019, annex on the check digit of the EMAID.
    """
    halves, thirds = (0, 0), (0, 0)
    by_two, by_three = ((0, 1), (1, 1)), ((0, 1), (1, 2))
    power_two, power_three = by_two, by_three
    for place in (_DIGITS.index(character) for character in code):
        upper, lower = divmod(place, 9)
        halves = _added(halves, _turned(divmod(upper, 2), power_two), 2)
        thirds = _added(thirds, _turned(divmod(lower, 3), power_three), 3)
        power_two = _multiplied(power_two, by_two, 2)
        power_three = _multiplied(power_three, by_three, 3)
    thirds = _turned(thirds, ((0, 2), (2, 1)))  # the inverse of the next power, negated
    upper, lower = 2 * halves[0] + halves[1], 3 * (thirds[0] % 3) + thirds[1] % 3
    return _DIGITS[9 * upper + lower]


Pair = tuple[int, int]
Matrix = tuple[Pair, Pair]


def _turned(pair: Pair, matrix: Matrix) -> Pair:
    (a, b), (c, d) = matrix
    return pair[0] * a + pair[1] * c, pair[0] * b + pair[1] * d


def _added(one: Pair, other: Pair, modulus: int) -> Pair:
    return (one[0] + other[0]) % modulus, (one[1] + other[1]) % modulus


def _multiplied(one: Matrix, other: Matrix, modulus: int) -> Matrix:
    first, second = (_turned(row, other) for row in one)
    return (first[0] % modulus, first[1] % modulus), (second[0] % modulus, second[1] % modulus)
