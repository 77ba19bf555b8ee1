"""LightGBM's text of boosted trees, read by own strict rules and written canonically.

What strangers send never reaches LightGBM's own parser, which trusts its input: it is read here,
bounded in size and number, as numbers only, and each tree has to be one (every node reached once).
What is written says nothing of the data beside the splits and leaves themselves: no ranges of
features, no sums of weights, no settings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_BYTES = 256 * 1024
MAX_LEAVES = 255
ZERO = 1e-35
"""LightGBM's: what is smaller counts as zero where zero is missing."""

_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2
_NUMERIC = tuple(missing << 2 | side for missing in range(3) for side in (0, 2))
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_DECIMAL = re.compile(r"-?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:e[+-]?[0-9]{1,3})?")
# LightGBM parts what is known from what is missing at an infinite threshold.
_THRESHOLD = re.compile(rf"-?inf|{_DECIMAL.pattern}")
_HEADER = ("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx")
_NODE_INTS = ("split_feature", "decision_type", "left_child", "right_child")


class TreesRefused(ValueError):
    """The text is no sound set of trees over these features."""


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """One tree; an inner node is a number from 0, leaf n is -n-1.

    Attributes:
        feature: Of each inner node, shape (nodes,).
        threshold: Rows at or below go left, shape (nodes,).
        decision: LightGBM's flags: 2 sends missing values left, 4 and 8 say what is missing.
        left: Child, shape (nodes,).
        right: Child, shape (nodes,).
        value: Of each leaf, shape (nodes + 1,).
        count: Examples that each leaf says it was made of, shape (nodes + 1,).
    """

    feature: Ints
    threshold: Floats
    decision: Ints
    left: Ints
    right: Ints
    value: Floats
    count: Ints

    def predict(self, rows: Floats) -> Floats:
        """The leaf value of each row; shape (rows, features) in, (rows,) out."""
        at = np.zeros(len(rows), dtype=np.int64) - (len(self.feature) == 0)
        for _ in range(len(self.feature)):
            inner = np.flatnonzero(at >= 0)
            if not len(inner):
                break
            node = at[inner]
            goes_left = self._goes_left(node, rows[inner, self.feature[node]])
            at[inner] = np.where(goes_left, self.left[node], self.right[node])
        return self.value[-at - 1]

    def _goes_left(self, node: Ints, value: Floats) -> NDArray[np.bool_]:
        missing = (self.decision[node] >> 2) & 3
        known = np.where(np.isnan(value) & (missing != _MISSING_NAN), 0.0, value)
        is_missing = (missing == _MISSING_ZERO) & (np.abs(known) <= ZERO)
        is_missing |= (missing == _MISSING_NAN) & np.isnan(known)
        return np.where(is_missing, (self.decision[node] & 2) > 0, known <= self.threshold[node])


def read(text: str, *, features: int, most_trees: int) -> tuple[Tree, ...]:
    """Read trees over so many features.

    Raises:
        TreesRefused: If the text is too long, holds anything but numeric trees, too many of them,
            or a tree that is none.
    """
    if len(text) > MAX_BYTES or not text.isascii():
        raise TreesRefused(f"{len(text)} characters; {MAX_BYTES} of ASCII are allowed")
    head, *rest = text.partition("\nend of trees")[0].split("\nTree=")
    _refuse_header(_fields(head), features)
    if not 1 <= len(rest) <= most_trees:
        raise TreesRefused(f"{len(rest)} trees; 1 to {most_trees} are allowed")
    trees = []
    for place, block in enumerate(rest):
        number, _, body = block.partition("\n")
        if number != str(place):
            raise TreesRefused(f"tree {place} is called otherwise")
        trees.append(_tree(_fields(body), features))
    return tuple(trees)


def write(trees: Sequence[Tree], *, features: int, objective: str) -> str:
    """Write trees as LightGBM reads them: equal trees, equal text."""
    blocks = [f"Tree={place}\n{_block(one)}\n\n" for place, one in enumerate(trees)]
    names = " ".join(f"Column_{place}" for place in range(features))
    head = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={features - 1}",
        f"objective={objective}",
        f"feature_names={names}",
        f"feature_infos={' '.join(['none'] * features)}",
        f"tree_sizes={' '.join(str(len(one)) for one in blocks)}",
    ]
    return "\n".join(head) + "\n\n" + "".join(blocks) + "end of trees\n"


def _block(tree: Tree) -> str:
    lines = {
        "num_leaves": [len(tree.value)],
        "num_cat": [0],
        "split_feature": tree.feature.tolist(),
        "threshold": [repr(one) for one in tree.threshold.tolist()],
        "decision_type": tree.decision.tolist(),
        "left_child": tree.left.tolist(),
        "right_child": tree.right.tolist(),
        "leaf_value": [repr(one) for one in tree.value.tolist()],
        "leaf_count": tree.count.tolist(),
        "is_linear": [0],
        "shrinkage": [1],
    }
    return "\n".join(f"{name}={' '.join(map(str, one))}" for name, one in lines.items())


def _fields(block: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in block.split("\n") if line]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs):
        raise TreesRefused("a line comes twice")
    return fields


def _refuse_header(fields: Mapping[str, str], features: int) -> None:
    wanted = ("v4", "1", "1", "0", str(features - 1))
    if "tree" not in fields or tuple(fields.get(name) for name in _HEADER) != wanted:
        raise TreesRefused(f"no trees of version 4 over {features} features")


def _tree(fields: Mapping[str, str], features: int) -> Tree:
    leaves = int(_numbers(fields, "num_leaves", 1, _INTEGER)[0])
    if not 1 <= leaves <= MAX_LEAVES:
        raise TreesRefused(f"{leaves} leaves; {MAX_LEAVES} are allowed")
    if fields.get("num_cat") != "0" or fields.get("is_linear", "0") != "0":
        raise TreesRefused("only numeric splits and constant leaves are read")
    feature, decision, left, right = (
        _numbers(fields, name, leaves - 1, _INTEGER).astype(np.int64) for name in _NODE_INTS
    )
    tree = Tree(
        feature=feature,
        threshold=_numbers(fields, "threshold", leaves - 1, _THRESHOLD),
        decision=decision,
        left=left,
        right=right,
        value=_numbers(fields, "leaf_value", leaves, _DECIMAL),
        count=_numbers(fields, "leaf_count", leaves, _INTEGER).astype(np.int64),
    )
    _refuse_tree(tree, features)
    return tree


def _numbers(fields: Mapping[str, str], name: str, count: int, form: re.Pattern[str]) -> Floats:
    words = fields.get(name, "").split()
    if len(words) != count:
        raise TreesRefused(f"{name} has {len(words)} numbers; {count} are asked for")
    if not all(form.fullmatch(word) for word in words):
        raise TreesRefused(f"{name} holds something else than numbers")
    values = np.array([float(word) for word in words], dtype=np.float64)
    if form is not _THRESHOLD and not np.isfinite(values).all():
        raise TreesRefused(f"{name} holds values that are not finite")
    return values


def _refuse_tree(tree: Tree, features: int) -> None:
    if not np.all((tree.feature >= 0) & (tree.feature < features)):
        raise TreesRefused("a split of a feature that is none")
    if not np.all(np.isin(tree.decision, _NUMERIC)):
        raise TreesRefused("a split that is not numeric")
    nodes, leaves = len(tree.feature), len(tree.value)
    reached = sorted(_reached(tree))
    if reached != list(range(-leaves, nodes)):
        raise TreesRefused("nodes that are no tree")


def _reached(tree: Tree) -> Iterator[int]:
    """Every node and leaf that the root leads to, once for each way; too many ways end early."""
    waiting, seen = [0 if len(tree.feature) else -1], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > 2 * MAX_LEAVES or node >= len(tree.feature):
            raise TreesRefused("nodes that are no tree")
        yield node
        if node >= 0:
            waiting += [int(tree.left[node]), int(tree.right[node])]
