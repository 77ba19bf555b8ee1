"""Headers of sealed blocks of charge and discharge records, hashed as `ChargeLedger.sol` does."""

from dataclasses import dataclass

from eth_hash.auto import keccak

from backend.proofs.merkle import WORD

FIRST_PREVIOUS = bytes(WORD)


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a sealed block says.

    Attributes:
        number: 1 for the first block.
        previous_hash: 32 bytes, zero for the first block.
        root: Merkle root over the block's records.
        from_at: Start of the earliest record, s since 1970.
        to_at: End of the latest record, s since 1970.
        count: How many records.
        wh_in: Energy into vehicles.
        wh_out: Energy out of vehicles.
    """

    number: int
    previous_hash: bytes
    root: bytes
    from_at: int
    to_at: int
    count: int
    wh_in: int
    wh_out: int

    def encoded(self) -> bytes:
        """`abi.encode(header)`: eight words."""
        amounts = (self.from_at, self.to_at, self.count, self.wh_in, self.wh_out)
        number, *rest = (one.to_bytes(WORD, "big") for one in (self.number, *amounts))
        return number + self.previous_hash + self.root + b"".join(rest)

    def hash(self) -> bytes:
        """`keccak(abi.encode(header))`."""
        return keccak(self.encoded())
