"""The contracts as the sender sees them: calls, answers, events and the code they must have.

All arguments have fixed sizes, so the ABI encoding is one 32-byte word after the other.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from backend.adapters.ledger.ledger import Ledger, Log, Reverted
from backend.proofs.blocks import BlockHeader

ARTIFACTS = Path(__file__).resolve().parents[3] / "contracts" / "artifacts"
WORD = 32
REGISTRY, CHARGE_LEDGER = "AnchorRegistry", "ChargeLedger"
ROLES = {REGISTRY: keccak(b"ANCHOR_ROLE"), CHARGE_LEDGER: keccak(b"SEALER_ROLE")}
GAS = {REGISTRY: 200_000, CHARGE_LEDGER: 250_000}  # about twice what a first call takes
HEADER = "(uint64,bytes32,bytes32,uint64,uint64,uint32,uint64,uint64)"
EVENTS = {
    REGISTRY: keccak(b"Anchored(bytes32,uint16,uint64,uint32,address,uint64)"),
    CHARGE_LEDGER: keccak(f"Sealed(uint64,bytes32,{HEADER},address)".encode()),
}
_TOPIC = {REGISTRY: 1, CHARGE_LEDGER: 2}  # which topic holds the root, or the header's hash
_CLONE = (bytes.fromhex("363d3d373d3d3d363d73"), bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))


class WrongCode(Exception):
    """What stands at an address is not the contract that it should be."""


@dataclass(frozen=True, slots=True)
class Anchoring:
    """Put the root of a batch on the chain.

    Attributes:
        subject: The batch.
    """

    subject: str
    root: bytes
    count: int
    contract = REGISTRY

    @property
    def expected(self) -> bytes:
        """What the event has to name."""
        return self.root

    def calldata(self, sequence: int) -> bytes:
        """The call, if the registry holds so many roots before it; the batch's kind is mixed."""
        return call_of("anchor(bytes32,uint32,uint16,uint64)", self.root, self.count, 0, sequence)


@dataclass(frozen=True, slots=True)
class Sealing:
    """Put the header of a block on the chain."""

    subject: str
    header: BlockHeader
    contract = CHARGE_LEDGER

    @property
    def expected(self) -> bytes:
        """What the event has to name."""
        return self.header.hash()

    def calldata(self, sequence: int) -> bytes:
        """The call; the header itself says which block comes before it."""
        del sequence
        return call_of(f"seal({HEADER})", self.header.encoded())


Deed = Anchoring | Sealing


def sequence_of(ledger: Ledger, contract: str, address: str) -> int:
    """How many roots or blocks a contract holds."""
    name = "sequence()" if contract == REGISTRY else "height()"
    return _number(ledger.call(address, call_of(name)))


def writes_left(ledger: Ledger, address: str, writer: str) -> int:
    """How many writes a writer may make now."""
    return _number(ledger.call(address, call_of("writesLeft(address)", _word_of(writer))))


def has_role(ledger: Ledger, contract: str, address: str, who: str) -> bool:
    """Tell whether an address may write to a contract."""
    call = call_of("hasRole(bytes32,address)", ROLES[contract], _word_of(who))
    return _number(ledger.call(address, call)) == 1


def is_anchored(ledger: Ledger, address: str, root: bytes) -> bool:
    """Tell whether the registry holds a root."""
    return _number(ledger.call(address, call_of("isAnchored(bytes32)", root))) == 1


def is_done(ledger: Ledger, deed: Deed, address: str) -> bool:
    """Tell whether the chain holds a deed's effect, whoever brought it there."""
    if isinstance(deed, Anchoring):
        return is_anchored(ledger, address, deed.root)
    stored = ledger.call(address, call_of("blockHash(uint64)", deed.header.number))
    return stored == deed.expected


def place_of(ledger: Ledger, deed: Deed, address: str) -> Log | None:
    """The event of a deed that is done; None if the contract does not say where it is."""
    if not isinstance(deed, Anchoring):
        return None
    found = ledger.call(address, call_of("anchorOf(bytes32)", deed.root))
    logs = ledger.logs(address, int.from_bytes(found[WORD : 2 * WORD], "big"))
    return next((one for one in logs if tells_of(one, deed.contract, address, deed.root)), None)


def refusal(ledger: Ledger, deed: Deed, address: str, *, sequence: int, sender: str) -> str:
    """Why the contract would refuse a deed now; empty if it would not."""
    try:
        ledger.call(address, deed.calldata(sequence), sender=sender)
    except Reverted as reverted:
        return _named(reverted, deed.contract)
    return ""


def tells_of(log: Log, contract: str, address: str, expected: bytes) -> bool:
    """Tell whether a log is the contract's own event of this very root or header."""
    place = _TOPIC[contract]
    is_event = len(log.topics) > place and log.topics[0] == EVENTS[contract]
    return is_event and log.address == address.lower() and log.topics[place] == expected


@lru_cache
def artifact(name: str) -> dict[str, Any]:
    """ABI, bytecode and immutables of a compiled contract."""
    found: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def require_code(ledger: Ledger, contract: str, address: str) -> bytes:
    """The code at a contract's address: a clone of the very contract that we know.

    Raises:
        WrongCode: If there is no code, or other code.
    """
    code = ledger.code(address)
    if not code:
        raise WrongCode(f"There is no code at {address}; what is sent there is lost.")
    head, tail = _CLONE
    if not (code.startswith(head) and code.endswith(tail) and len(code) == WORD + 13):
        raise WrongCode(f"At {address} stands no clone of {contract}.")
    implementation = "0x" + code[len(head) : -len(tail)].hex()
    if _masked(ledger.code(implementation), contract) != _masked(_runtime(contract), contract):
        raise WrongCode(f"{address} runs other code than {contract}.")
    return code


def _runtime(contract: str) -> bytes:
    return bytes.fromhex(artifact(contract)["deployedBytecode"].removeprefix("0x"))


def _masked(code: bytes, contract: str) -> bytes:
    """Code without the values that its constructor filled in."""
    masked = bytearray(code)
    for place in artifact(contract)["immutables"]:
        start, end = place["start"], place["start"] + place["length"]
        masked[start:end] = bytes(max(0, min(end, len(masked)) - start))
    return bytes(masked)


def _named(reverted: Reverted, contract: str) -> str:
    """The name of a contract's error."""
    for entry in artifact(contract)["abi"]:
        if entry["type"] == "error":
            kinds = ",".join(one["type"] for one in entry["inputs"])
            if selector(f"{entry['name']}({kinds})") == reverted.data[:4]:
                return str(entry["name"])
    return str(reverted)


def selector(signature: str) -> bytes:
    """The first four bytes of a call or an error."""
    return keccak(signature.encode())[:4]


def call_of(signature: str, *values: int | bytes) -> bytes:
    """A call: the selector, then a word for each number, and bytes as they are."""
    words = (one if isinstance(one, bytes) else one.to_bytes(WORD, "big") for one in values)
    return selector(signature) + b"".join(words)


def _word_of(address: str) -> int:
    return int(address, 16)


def _number(answer: bytes) -> int:
    return int.from_bytes(answer[:WORD], "big")
