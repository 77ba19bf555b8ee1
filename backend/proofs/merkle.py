"""Merkle trees as OpenZeppelin's contracts and JavaScript library build and verify them.

Source: OpenZeppelin, `@openzeppelin/merkle-tree` (StandardMerkleTree) and `MerkleProof.sol`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from eth_hash.auto import keccak

DOMAIN = keccak(b"tasco.anchor.v1")
WORD = 32


class Kind(IntEnum):
    """What an anchored item is; part of its leaf, so that no proof serves another kind."""

    SESSION_RECEIPT = 1
    CREDENTIAL_ISSUED = 2
    CREDENTIAL_REVOKED = 3
    MODEL = 4
    FEDERATED_ROUND = 5
    TRUST_SNAPSHOT = 6
    AUDIT_HEAD = 7
    LEDGER_RECORD = 8


class BadTree(ValueError):
    """No tree can be built from these leaves."""


def leaf_of(kind: Kind, item_id: bytes, item_hash: bytes) -> bytes:
    """The leaf of an item: `keccak(keccak(abi.encode(DOMAIN, kind, item_id, item_hash)))`.

    Hashing twice keeps a leaf from ever being read as an inner node.

    Args:
        kind: What the item is, encoded as `uint16`.
        item_id: 32 bytes that stand for the item.
        item_hash: 32 bytes, the salted hash of its record.

    Raises:
        ValueError: If an argument does not have 32 bytes.
    """
    if len(item_id) != WORD or len(item_hash) != WORD:
        raise ValueError("An item's id and hash have 32 bytes each.")
    return keccak(keccak(DOMAIN + int(kind).to_bytes(WORD, "big") + item_id + item_hash))


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """A complete binary tree in one list: the root first, the leaves last, sorted descending.

    Attributes:
        nodes: Hashes, 2n - 1 for n leaves; node i has the children 2i + 1 and 2i + 2.
        places: Where in `nodes` each leaf stands.
    """

    nodes: tuple[bytes, ...]
    places: dict[bytes, int]

    @property
    def root(self) -> bytes:
        """The hash over all leaves."""
        return self.nodes[0]

    def proof(self, leaf: bytes) -> list[bytes]:
        """Siblings from the leaf up to the root.

        Raises:
            KeyError: If the leaf is not in the tree.
        """
        place, siblings = self.places[leaf], []
        while place > 0:
            siblings.append(self.nodes[place + 1 if place % 2 else place - 1])
            place = (place - 1) // 2
        return siblings


def build(leaves: Sequence[bytes]) -> MerkleTree:
    """Build the tree over leaves, in whatever order they come.

    Raises:
        BadTree: If there is no leaf, one has not 32 bytes, or one comes twice.
    """
    if not leaves:
        raise BadTree("A tree needs at least one leaf.")
    if any(len(leaf) != WORD for leaf in leaves):
        raise BadTree("A leaf has 32 bytes.")
    ordered = sorted(leaves, reverse=True)
    places = {leaf: len(leaves) - 1 + i for i, leaf in enumerate(ordered)}
    if len(places) != len(leaves):
        raise BadTree("A leaf comes twice.")
    nodes = [b""] * (len(leaves) - 1) + ordered
    for place in range(len(leaves) - 2, -1, -1):
        nodes[place] = node_over(nodes[2 * place + 1], nodes[2 * place + 2])
    return MerkleTree(tuple(nodes), places)


def node_over(one: bytes, other: bytes) -> bytes:
    """The inner node over two children, whichever is left."""
    return keccak(one + other if one < other else other + one)


def root_from(leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a leaf and its siblings lead to."""
    node = leaf
    for sibling in proof:
        node = node_over(node, sibling)
    return node


def longest_proof(count: int) -> int:
    """How many siblings a proof in a tree of so many leaves has at most."""
    return (count - 1).bit_length()


def is_included(leaf: bytes, proof: Sequence[bytes], *, root: bytes, count: int) -> bool:
    """Tell whether a proof of fitting length leads from the leaf to the root."""
    is_fitting = count >= 1 and len(proof) <= longest_proof(count)
    return is_fitting and all(len(one) == WORD for one in proof) and root_from(leaf, proof) == root
