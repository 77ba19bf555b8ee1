"""JSON that has one meaning: no duplicate members, no odd numbers, no lone surrogates, not deep."""

import json
import math
from collections.abc import Mapping
from typing import Any

from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused

MAX_BYTES = 32_768  # of one credential
MAX_PRESENTATION_BYTES = 131_072
MAX_DEPTH = 10  # of our own types, proof and status included
MAX_FOREIGN_DEPTH = 24
MAX_VALUES = 4_000
MAX_INTEGER = 2**53 - 1
MAX_DIGITS = 15  # of a float; more do not survive everywhere


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused(Reason.DUPLICATE_MEMBER)
    return members


def _no_float(text: str) -> float:
    raise Refused(Reason.NUMBER_NOT_INTEGER, text[:40])


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refused(Reason.NUMBER_OUT_OF_RANGE, text[:40])
    return number


def _no_constant(text: str) -> float:
    raise Refused(Reason.NUMBER_OUT_OF_RANGE, text)


_INTEGERS = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_constant
)
_NUMBERS = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)


def read_object(content: str | bytes, *, floats: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        content: JSON text.
        floats: Whether numbers with a fraction or exponent are allowed.

    Raises:
        Refused: If it is not exactly one object of the strict kind.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = (_NUMBERS if floats else _INTEGERS).decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_UTF8) from error
    except UnicodeEncodeError as error:
        raise Refused(Reason.INVALID_TEXT) from error
    except RecursionError as error:
        raise Refused(Reason.TOO_DEEP) from error
    except ValueError as error:
        raise Refused(Reason.MALFORMED_JSON) from error
    if not isinstance(value, dict):
        raise Refused(Reason.MALFORMED_JSON, "not an object")
    return value


def measure(value: Mapping[str, Any], *, max_depth: int, max_characters: int) -> None:
    """Refuse a parsed document that is too deep, too wide or too long.

    Raises:
        Refused: With the limit it breaks, or for a number or text that JSON could not carry.
    """
    level: list[Any] = [value]
    characters = values = 0
    for _ in range(max_depth):
        below: list[Any] = []
        for one in level:
            characters += _characters(one)
            if isinstance(one, Mapping):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        values += len(below)
        if values > MAX_VALUES:
            raise Refused(Reason.TOO_MANY_VALUES)
        if characters > max_characters:
            raise Refused(Reason.TOO_LARGE)
        level = below
        if not level:
            return
    if any(isinstance(one, Mapping | list) for one in level):
        raise Refused(Reason.TOO_DEEP)


def _characters(value: Any) -> int:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return _length(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise Refused(Reason.MALFORMED_JSON)
        return sum(map(_length, value))
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(Reason.NUMBER_OUT_OF_RANGE)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise Refused(Reason.NUMBER_OUT_OF_RANGE)
    return 4


def _length(text: str) -> int:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Refused(Reason.INVALID_TEXT) from error
    return len(text)
