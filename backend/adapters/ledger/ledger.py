"""What the sender asks of a ledger, and what a ledger may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

EMBEDDED_CHAIN_ID = 131277322940537  # eth-tester's own, the same in every process


class LedgerUnavailable(Exception):
    """The ledger does not answer, or not with sense; nothing is known, so ask again later."""


class Reverted(Exception):
    """The contract refuses the call.

    Attributes:
        data: What it answers: four bytes that name the error, then its arguments.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(f"reverted with 0x{data[:4].hex()}")
        self.data = data


@dataclass(frozen=True, slots=True)
class Chain:
    """Which chain it is: numbers are chosen freely, a genesis block is not."""

    chain_id: int
    genesis_hash: str


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract told of in a transaction.

    Attributes:
        address: The contract, lower case.
        topics: 32 bytes each; the first names the event.
    """

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    tx_hash: str


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """A transaction that is in a block.

    Attributes:
        gas_price_wei: What was paid per gas.
        contract: Address of the contract it made, if it made one.
    """

    tx_hash: str
    block_hash: str
    block_number: int
    is_success: bool
    gas_used: int
    gas_price_wei: int
    logs: tuple[Log, ...]
    contract: str | None = None


class Ledger(Protocol):
    """A chain as its own node tells it; every method may raise `LedgerUnavailable`."""

    @property
    def trust(self) -> str:
        """What a proof on it is worth: `embedded-dev`, `dev-node` or `node`."""
        ...

    @property
    def is_instant(self) -> bool:
        """Whether a transaction is in a block, for good, as soon as it is sent."""
        ...

    def chain(self) -> Chain:
        """Which chain this is."""
        ...

    def code(self, address: str) -> bytes:
        """The code at an address; empty if there is none."""
        ...

    def balance_wei(self, address: str) -> int:
        """What an address can pay."""
        ...

    def mined_nonce(self, address: str) -> int:
        """How many transactions of an address are in blocks."""
        ...

    def next_nonce(self, address: str) -> int:
        """The nonce after all transactions the node knows, those in no block yet included."""
        ...

    def base_fee_wei(self) -> int:
        """Base fee per gas of the newest block (EIP-1559)."""
        ...

    def height(self) -> int:
        """Number of the newest block."""
        ...

    def finalized_height(self) -> int:
        """Number of the newest block that the chain calls final."""
        ...

    def block_hash(self, number: int) -> str | None:
        """Hash of the block with a number."""
        ...

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """What a contract answers now.

        Raises:
            Reverted: If it refuses.
        """
        ...

    def broadcast(self, signed: Sequence[bytes]) -> list[str]:
        """Send signed transactions in order; gives what the node objects to each, else nothing.

        An objection decides nothing: only a receipt says what happened.
        """
        ...

    def receipts(self, tx_hashes: Sequence[str]) -> list[TxReceipt | None]:
        """The receipt of each transaction; None for one that is in no block."""
        ...

    def logs(self, address: str, block_number: int) -> list[Log]:
        """What a contract told of in one block."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
