"""Trees without small leaves: what few examples made is merged into what is beside it."""

from dataclasses import dataclass

import numpy as np

from backend.federation.tree_text import Tree


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a tree: a leaf, or a node of the old tree with two parts."""

    value: float
    count: int
    node: int = -1
    left: "_Part | None" = None
    right: "_Part | None" = None


def pruned(tree: Tree, least: int) -> Tree:
    """The tree with every leaf of `least` examples or more, or one leaf.

    Where a leaf is too small, all leaves below its parent become one, which answers their mean
    weighted by examples.
    """
    part = _part(tree, 0 if len(tree.feature) else -1, least)
    nodes: list[tuple[int, int, int]] = []
    leaves: list[tuple[float, int]] = []
    _number(part, nodes, leaves)
    old = np.array([node for node, _, _ in nodes], dtype=np.int64)
    return Tree(
        feature=tree.feature[old],
        threshold=tree.threshold[old],
        decision=tree.decision[old],
        left=np.array([left for _, left, _ in nodes], dtype=np.int64),
        right=np.array([right for _, _, right in nodes], dtype=np.int64),
        value=np.array([value for value, _ in leaves]),
        count=np.array([count for _, count in leaves], dtype=np.int64),
    )


def _part(tree: Tree, at: int, least: int) -> _Part:
    if at < 0:
        return _Part(float(tree.value[-at - 1]), int(tree.count[-at - 1]))
    left, right = (_part(tree, int(one[at]), least) for one in (tree.left, tree.right))
    count = left.count + right.count
    value = (left.value * left.count + right.value * right.count) / max(count, 1)
    if any(one.node < 0 and one.count < least for one in (left, right)):
        return _Part(value, count)
    return _Part(value, count, at, left, right)


def _number(part: _Part, nodes: list[tuple[int, int, int]], leaves: list[tuple[float, int]]) -> int:
    """Give nodes and leaves their numbers, from the root on; gives the part's own."""
    if part.left is None or part.right is None:
        leaves.append((part.value, part.count))
        return -len(leaves)
    place = len(nodes)
    nodes.append((part.node, 0, 0))
    left = _number(part.left, nodes, leaves)
    nodes[place] = (part.node, left, _number(part.right, nodes, leaves))
    return place
