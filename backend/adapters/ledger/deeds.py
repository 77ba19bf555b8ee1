"""What the sender can do at a contract: the call, how its event is known, whether it is done."""

from dataclasses import dataclass
from typing import Protocol

from backend.adapters.ledger.abi import call_of, name_of, number_in
from backend.adapters.ledger.contracts import (
    CHARGE_LEDGER,
    HEADER,
    REGISTRY,
    is_anchored,
    sequence_of,
    tells_of,
)
from backend.adapters.ledger.ledger import Ledger, Log, Reverted
from backend.adapters.ledger.signers import Signer
from backend.proofs.blocks import BlockHeader


@dataclass(frozen=True, slots=True)
class Turn:
    """What a call depends on when its turn comes.

    Attributes:
        number: What the contract counts for the deed: roots, versions of a list, or its round.
        before: Deeds of the same lane that are signed before it, and not mined yet.
        signer: Who writes.
    """

    number: int
    before: int
    chain_id: int
    address: str
    signer: Signer


class Deed(Protocol):
    """Something to do at a contract, once."""

    @property
    def subject(self) -> str:
        """What it is about; one live transaction at a time."""
        ...

    @property
    def contract(self) -> str:
        """Where it is done."""
        ...

    @property
    def lane(self) -> str:
        """Deeds of one lane are done in order; a lane that is refused keeps no other waiting."""
        ...

    @property
    def is_rated(self) -> bool:
        """Whether it counts against the writer's rate."""
        ...

    @property
    def expected(self) -> bytes:
        """What its event has to name."""
        ...

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """What the contract counts for it now."""
        ...

    def calldata(self, turn: Turn) -> bytes:
        """The call."""
        ...

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Tell whether the chain holds its effect, whoever brought it there."""
        ...


@dataclass(frozen=True, slots=True)
class Anchoring:
    """Put the root of a batch on the chain.

    Attributes:
        subject: The batch.
    """

    subject: str
    root: bytes
    count: int
    contract = lane = REGISTRY
    is_rated = True

    @property
    def expected(self) -> bytes:
        """The root."""
        return self.root

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """How many roots the registry holds."""
        del who
        return sequence_of(ledger, REGISTRY, address)

    def calldata(self, turn: Turn) -> bytes:
        """The call, which names how many roots are before it; the batch's kind is mixed."""
        call, sequence = "anchor(bytes32,uint32,uint16,uint64)", turn.number + turn.before
        return call_of(call, self.root, self.count, 0, sequence)

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether the registry holds the root."""
        del who
        return is_anchored(ledger, address, self.root)


@dataclass(frozen=True, slots=True)
class Sealing:
    """Put the header of a block on the chain."""

    subject: str
    header: BlockHeader
    contract = lane = CHARGE_LEDGER
    is_rated = True

    @property
    def expected(self) -> bytes:
        """The header's hash."""
        return self.header.hash()

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """The header itself says which block comes before it."""
        del ledger, address, who
        return self.header.number

    def calldata(self, turn: Turn) -> bytes:
        """The call."""
        del turn
        return call_of(f"seal({HEADER})", self.header.encoded())

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether the ledger holds this very header."""
        del who
        stored = ledger.call(address, call_of("blockHash(uint64)", self.header.number))
        return stored == self.expected


def place_of(ledger: Ledger, deed: Deed, address: str) -> Log | None:
    """The event of a deed that is done; None if the contract does not say where it is."""
    if not isinstance(deed, Anchoring):
        return None
    found = ledger.call(address, call_of("anchorOf(bytes32)", deed.root))
    logs = ledger.logs(address, number_in(found, 1))
    return next((one for one in logs if tells_of(one, address, deed.root)), None)


def refusal(ledger: Ledger, deed: Deed, turn: Turn) -> str:
    """Why the contract would refuse a deed now; empty if it would not."""
    try:
        ledger.call(turn.address, deed.calldata(turn), sender=turn.signer.address)
    except Reverted as reverted:
        return name_of(reverted, deed.contract)
    return ""
