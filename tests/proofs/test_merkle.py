"""Merkle trees: what is in can be shown, what is not cannot."""

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from backend.proofs.merkle import (
    BadTree,
    Kind,
    build,
    is_included,
    leaf_of,
    longest_proof,
    node_over,
    root_from,
)

HASHES = st.binary(min_size=32, max_size=32)
LEAVES = st.lists(HASHES, min_size=1, max_size=40, unique=True)


@given(LEAVES)
def test_every_leaf_is_shown_to_be_in_its_tree(leaves: list[bytes]) -> None:
    tree = build(leaves)

    shown = [
        is_included(leaf, tree.proof(leaf), root=tree.root, count=len(leaves)) for leaf in leaves
    ]

    assert all(shown)
    assert max(len(tree.proof(leaf)) for leaf in leaves) == longest_proof(len(leaves))


@given(LEAVES, HASHES)
def test_a_strange_leaf_is_in_no_tree(leaves: list[bytes], stranger: bytes) -> None:
    tree = build([leaf for leaf in leaves if leaf != stranger] or [keccak(stranger)])

    proofs = [tree.proof(leaf) for leaf in tree.places]

    assert not any(
        is_included(stranger, one, root=tree.root, count=len(tree.places)) for one in proofs
    )


@given(LEAVES, st.randoms())
def test_the_order_of_the_leaves_does_not_matter(leaves: list[bytes], random: object) -> None:
    shuffled = list(leaves)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert build(shuffled) == build(leaves)


def test_three_leaves_by_hand() -> None:
    low, middle, high = (bytes([i]) * 32 for i in (1, 2, 3))

    tree = build([middle, high, low])

    # A complete tree in one list: the lowest two leaves are the last two and share a parent.
    assert tree.nodes[2:] == (high, middle, low)
    assert tree.nodes[1] == keccak(low + middle)
    assert tree.root == node_over(keccak(low + middle), high)


def test_a_leaf_is_hashed_twice_over_words_of_32_bytes() -> None:
    words = keccak(b"tasco.anchor.v1") + (4).to_bytes(32, "big") + b"\x01" * 32 + b"\x02" * 32

    assert leaf_of(Kind.MODEL, b"\x01" * 32, b"\x02" * 32) == keccak(keccak(words))


def test_a_proof_serves_one_kind_only() -> None:
    leaf, other = (leaf_of(kind, b"i" * 32, b"h" * 32) for kind in (Kind.MODEL, Kind.AUDIT_HEAD))
    tree = build([leaf, keccak(b"another")])

    assert is_included(leaf, tree.proof(leaf), root=tree.root, count=2)
    assert not is_included(other, tree.proof(leaf), root=tree.root, count=2)


def test_an_inner_node_is_no_leaf_and_a_long_proof_no_proof() -> None:
    leaves = [keccak(bytes([i])) for i in range(4)]
    tree = build(leaves)
    above = tree.proof(leaves[0])[1:]
    inner = root_from(leaves[0], tree.proof(leaves[0])[:1])

    assert root_from(inner, above) == tree.root  # why leaves are hashed twice
    assert not is_included(leaves[0], tree.proof(leaves[0]), root=tree.root, count=2)
    assert not is_included(tree.root, [], root=tree.root, count=0)


@pytest.mark.parametrize("leaves", [[], [b"short"], [b"x" * 32, b"x" * 32]])
def test_no_tree_from_nothing_from_odd_leaves_or_from_doubles(leaves: list[bytes]) -> None:
    with pytest.raises(BadTree):
        build(leaves)
