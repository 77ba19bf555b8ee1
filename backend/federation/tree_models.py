"""Shared models of trees: bags of everybody's accepted trees, hashed and carried as text."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.federation.tree_tasks import TreeSettings
from backend.federation.tree_text import Floats, Tree, TreesRefused, read, write

MAX_MODEL_CHARACTERS = 32 * 2**20
MAX_SHARE = 2**40


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """The accepted trees of one round.

    Attributes:
        sets: Trees of each site.
        shares: The weight of each set in the mean, in 2^-20.
    """

    sets: tuple[tuple[Tree, ...], ...]
    shares: tuple[int, ...]

    def predict(self, rows: Floats) -> Floats:
        """The mean answer, shape (rows,)."""
        total = np.zeros(len(rows))
        for share, trees in zip(self.shares, self.sets, strict=True):
            total += share * answers_of(trees, rows)
        return total / max(1, sum(self.shares))


@dataclass(frozen=True, slots=True, eq=False)
class TreeModel:
    """A shared model: the bags of its rounds add up, from zero."""

    bags: tuple[Bag, ...] = ()

    def raw(self, rows: Floats) -> Floats:
        """Log-odds or estimates of rows, shape (rows, features) to (rows,)."""
        total = np.zeros(len(rows))
        for bag in self.bags:
            total += bag.predict(rows)
        return total

    def content_hash(self, settings: TreeSettings) -> str:
        """SHA-256 over canonical texts and shares, in the order of the texts' own hashes."""
        said = [
            sorted(
                [hash_of_text(text_of(trees, settings)), share]
                for trees, share in zip(bag.sets, bag.shares, strict=True)
            )
            for bag in self.bags
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def answers_of(trees: Sequence[Tree], rows: Floats) -> Floats:
    """The summed answers of one set of trees, shape (rows,)."""
    return np.asarray(np.sum([one.predict(rows) for one in trees], axis=0))


def as_trees(model: TreeModel) -> tuple[Tree, ...]:
    """The model as one row of trees whose answers add up: any reader of LightGBM can run it."""
    return tuple(
        replace(tree, value=tree.value * (share / max(1, sum(bag.shares))))
        for bag in model.bags
        for trees, share in zip(bag.sets, bag.shares, strict=True)
        for tree in trees
    )


def text_of(trees: Sequence[Tree], settings: TreeSettings) -> str:
    """The canonical text of trees that were grown for an objective."""
    objective = "binary sigmoid:1" if settings.objective == "binary" else settings.objective
    return write(trees, features=settings.features, objective=objective)


def hash_of_text(text: str) -> str:
    """SHA-256 of a text of trees, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def model_text(model: TreeModel, settings: TreeSettings) -> str:
    """The bags with their shares as JSON, each participant's trees as one canonical text."""
    bags = [
        [
            {"share": share, "trees": text_of(trees, settings)}
            for trees, share in zip(bag.sets, bag.shares, strict=True)
        ]
        for bag in model.bags
    ]
    return json.dumps(bags)


def read_model(text: str, settings: TreeSettings) -> TreeModel:
    """The model of such a text; it answers, and hashes, as the one that was written.

    Raises:
        TreesRefused: If the text is too long, or is no model over these features.
    """
    if len(text) > MAX_MODEL_CHARACTERS:
        raise TreesRefused(f"{len(text)} characters; {MAX_MODEL_CHARACTERS} are allowed")
    try:
        bags = [[(one["share"], one["trees"]) for one in bag] for bag in json.loads(text)]
    except (ValueError, TypeError, KeyError, RecursionError) as bad:
        raise TreesRefused("no bags of trees") from bad
    return TreeModel(tuple(_bag(one, settings) for one in bags))


def _bag(said: Sequence[tuple[object, object]], settings: TreeSettings) -> Bag:
    sets, shares = [], []
    for share, text in said:
        if type(share) is not int or not 0 < share <= MAX_SHARE or not isinstance(text, str):
            raise TreesRefused("no share of trees")
        sets.append(read(text, features=settings.features, most_trees=settings.trees))
        shares.append(share)
    return Bag(tuple(sets), tuple(shares))
