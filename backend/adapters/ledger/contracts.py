"""The contracts as the sender sees them: roles, gas, rates, events and the code they must have."""

from eth_hash.auto import keccak

from backend.adapters.ledger.abi import WORD, address_of, artifact, call_of, number_in
from backend.adapters.ledger.ledger import Ledger, Log

REGISTRY, CHARGE_LEDGER = "AnchorRegistry", "ChargeLedger"
STATUS, MODELS = "CredentialStatus", "ModelRegistry"
ROLES = {  # what who writes has to be allowed
    REGISTRY: ("ANCHOR_ROLE",),
    CHARGE_LEDGER: ("SEALER_ROLE",),
    STATUS: ("ISSUER_ROLE",),
    MODELS: ("COORDINATOR_ROLE", "VALIDATOR_ROLE"),
}
GAS = {REGISTRY: 200_000, CHARGE_LEDGER: 250_000, STATUS: 150_000, MODELS: 300_000}  # first calls,
GAS_PER_WORD = {STATUS: 30_000}  # about twice what they take; a revocation far from all others
HEADER = "(uint64,bytes32,bytes32,uint64,uint64,uint32,uint64,uint64)"
ANCHORED = keccak(b"Anchored(bytes32,uint16,uint64,uint32,address,uint64)")
SEALED = keccak(f"Sealed(uint64,bytes32,{HEADER},address)".encode())
PUBLISHED = keccak(b"ListPublished(address,bytes32,uint64,bytes32)")
_TOPIC = {ANCHORED: 1, SEALED: 2}  # which topic holds the root, or the header's hash
_CLONE = (bytes.fromhex("363d3d373d3d3d363d73"), bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))


class WrongCode(Exception):
    """What stands at an address is not the contract that it should be."""


def gas_for(contract: str, calldata: bytes) -> int:
    """Gas that a call may use; a revocation of many credentials takes as much for each."""
    return GAS[contract] + GAS_PER_WORD.get(contract, 0) * (len(calldata) // WORD)


def sequence_of(ledger: Ledger, contract: str, address: str) -> int:
    """How many roots, blocks or rounds a contract holds."""
    names = {REGISTRY: "sequence()", CHARGE_LEDGER: "height()", MODELS: "rounds()"}
    return number_in(ledger.call(address, call_of(names[contract])))


def writes_left(ledger: Ledger, address: str, writer: str) -> int:
    """How many writes a writer may make now."""
    return number_in(ledger.call(address, call_of("writesLeft(address)", address_of(writer))))


def missing_role(ledger: Ledger, contract: str, address: str, who: str) -> str | None:
    """A role that an address lacks to write to a contract; None if it has all of them."""
    for role in ROLES[contract]:
        call = call_of("hasRole(bytes32,address)", keccak(role.encode()), address_of(who))
        if number_in(ledger.call(address, call)) != 1:
            return role
    return None


def is_anchored(ledger: Ledger, address: str, root: bytes) -> bool:
    """Tell whether the registry holds a root."""
    return number_in(ledger.call(address, call_of("isAnchored(bytes32)", root))) == 1


def event_digest(event: bytes, *said: bytes) -> bytes:
    """What stands for an event: its name and all it says but for its first topic.

    The first topic is who wrote, or which number the contract gave; neither is known beforehand.
    """
    return keccak(event + b"".join(said))


def tells_of(log: Log, address: str, expected: bytes) -> bool:
    """Tell whether a log is the contract's own event of this very root, header or notice."""
    if log.address != address.lower() or not log.topics:
        return False
    place = _TOPIC.get(log.topics[0])
    if place is not None:
        return len(log.topics) > place and log.topics[place] == expected
    said = log.data[WORD:] if log.topics[0] == PUBLISHED else log.data  # the version is its own
    return event_digest(log.topics[0], *log.topics[2:], said) == expected


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
