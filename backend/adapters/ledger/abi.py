"""Calls and answers of contracts as bytes, and what they compile to.

But for lists all values have fixed sizes: the ABI encoding is one 32-byte word after the other.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from backend.adapters.ledger.ledger import Reverted

ARTIFACTS = Path(__file__).resolve().parents[3] / "contracts" / "artifacts"
WORD = 32


@lru_cache
def artifact(name: str) -> dict[str, Any]:
    """ABI, bytecode and immutables of a compiled contract."""
    found: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def selector(signature: str) -> bytes:
    """The first four bytes of a call or an error."""
    return keccak(signature.encode())[:4]


def call_of(signature: str, *values: int | bytes) -> bytes:
    """A call: the selector, then a word for each number, and bytes as they are."""
    return selector(signature) + words(*values)


def words(*values: int | bytes) -> bytes:
    """A word for each number, and bytes as they are."""
    return b"".join(one if isinstance(one, bytes) else one.to_bytes(WORD, "big") for one in values)


def list_of(numbers: Sequence[int]) -> bytes:
    """A list of numbers where it is the only argument: where it begins, how long it is, itself."""
    return words(WORD, len(numbers), *numbers)


def byte_strings(strings: Sequence[bytes]) -> bytes:
    """A list of byte strings: how many, where each begins, and each with its length, padded."""
    bodies = [words(len(one)) + one + bytes(-len(one) % WORD) for one in strings]
    begins, place = [], WORD * len(bodies)
    for body in bodies:
        begins.append(place)
        place += len(body)
    return words(len(bodies), *begins, *bodies)


def number_in(answer: bytes, place: int = 0) -> int:
    """The number in a word of an answer."""
    return int.from_bytes(answer[WORD * place : WORD * (place + 1)], "big")


def address_of(address: str) -> int:
    """An address as the number in its word."""
    return int(address, 16)


def name_of(reverted: Reverted, contract: str) -> str:
    """The name of a contract's error; the answer itself if it has none."""
    for entry in artifact(contract)["abi"]:
        if entry["type"] == "error":
            kinds = ",".join(one["type"] for one in entry["inputs"])
            if selector(f"{entry['name']}({kinds})") == reverted.data[:4]:
                return str(entry["name"])
    return str(reverted)
