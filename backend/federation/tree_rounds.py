"""Rounds of trees among sites that each keep their rows, and what their trees are compared with.

Alone and on everybody's rows, the same number of rounds of as many trees are grown without a
committee: what differs is only whose rows they are grown on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.federation.committee import committee_size, draw
from backend.federation.tree_text import Floats, Tree
from backend.federation.trees import (
    TreeModel,
    TreeSettings,
    TreesJudged,
    bagged,
    checked,
    grow,
    loss,
    score,
)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of features, NaN where unknown, and what they are to foretell.

    Attributes:
        rows: Shape (rows, features).
        targets: 0 or 1, or a quantity, shape (rows,).
    """

    rows: Floats
    targets: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SiteRows:
    """The rows of one site, in order of time.

    Attributes:
        train: What it grows trees on.
        judge: What its word in the committee rests upon.
        test: What nobody sees before all rounds are over.
    """

    train: Part
    judge: Part
    test: Part


Sites = Mapping[str, SiteRows]


@dataclass(frozen=True, slots=True, eq=False)
class TreeRound:
    """How a round ended.

    Attributes:
        model: The shared one after it.
        judged: A verdict on each site's trees.
        judge_loss: Mean over the sites, of the model on their `judge` rows.
        bytes_moved: Texts of trees to the server and, of the accepted ones, back to every site.
    """

    model: TreeModel
    judged: tuple[TreesJudged, ...]
    judge_loss: float
    bytes_moved: int


def advance(model: TreeModel, sites: Sites, settings: TreeSettings, *, number: int) -> TreeRound:
    """One round: every site grows trees, a committee judges them, what it accepts is bagged."""
    answers = [
        grow(model, one.train.rows, one.train.targets, settings, participant=name)
        for name, one in sites.items()
    ]
    sound, _ = checked(answers, settings)
    size = committee_size(len(sites))
    members = draw(list(sites), size, seed=settings.seed, round_number=number, purpose="committee")
    scores = [
        score(model, sound, part.rows, part.targets, settings, participant=name)
        for name, part in ((name, sites[name].judge) for name in members)
    ]
    following, judged = bagged(model, answers, scores, settings)
    accepted = {one.participant for one in judged if one.verdict == "accepted"}
    back = sum(len(one.text) for one in answers if one.participant in accepted)
    return TreeRound(
        following,
        judged,
        float(np.mean([part_loss(following, one.judge, settings) for one in sites.values()])),
        sum(len(one.text) for one in answers) + len(sites) * back,
    )


def part_loss(model: TreeModel, part: Part, settings: TreeSettings) -> float:
    """What the objective lowers, on some rows."""
    return loss(model.raw(part.rows), part.targets, settings)


def unfederated(part: Part, settings: TreeSettings, *, rounds: int) -> TreeModel:
    """As many rounds of trees on one set of rows, with nobody to judge them."""
    model = TreeModel()
    for _ in range(rounds):
        answer = grow(model, part.rows, part.targets, settings, participant="alone")
        model, _ = bagged(model, [answer], [], settings)
    return model


def pooled(parts: Sequence[Part]) -> Part:
    """All rows in one set."""
    return Part(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.targets for one in parts]),
    )


def as_trees(model: TreeModel) -> tuple[Tree, ...]:
    """The model as one row of trees whose answers add up: any reader of LightGBM can run it."""
    return tuple(
        replace(tree, value=tree.value * (share / max(1, sum(bag.shares))))
        for bag in model.bags
        for trees, share in zip(bag.sets, bag.shares, strict=True)
        for tree in trees
    )
