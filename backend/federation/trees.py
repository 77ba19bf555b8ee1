"""Boosted trees learned together, round by round.

Sites grow a few trees on what the shared model leaves over, a committee judges them, and the mean
answer of the accepted ones goes into the model. Trees poison as badly as networks do and cannot be
averaged weight by weight: the gate decides about whole sets of them. A leaf of few examples nearly
shows them, so leaves hold fifty at least. The model begins at zero: targets are log-odds' labels,
or what a good guess leaves over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.federation.checking import MAX_EXAMPLES, Rules, Verdict
from backend.federation.committee import judge
from backend.federation.fixed_point import shares_of
from backend.federation.tasks import ScoreAnswer
from backend.federation.tree_models import Bag, TreeModel, answers_of, text_of
from backend.federation.tree_pruning import pruned
from backend.federation.tree_tasks import TreeAnswer, TreeSettings
from backend.federation.tree_text import Floats, Tree, TreesRefused, read

USUAL = Rules()
MANY = 2**62
LARGEST_STEP = 8.0
"""Of the summed leaves of a set of trees: log-odds, or spreads of the target."""


@dataclass(frozen=True, slots=True)
class TreesJudged:
    """What became of one site's trees."""

    participant: str
    verdict: Verdict
    reason: str
    gain: float | None


def grow(
    model: TreeModel, rows: Floats, targets: Floats, settings: TreeSettings, *, participant: str
) -> TreeAnswer:
    """Grow trees on one's own examples, from where the shared model ends.

    The same examples grow the same trees, byte by byte.

    Args:
        model: The shared one.
        rows: Features, NaN where unknown, shape (rows, features).
        targets: 0 or 1, or a quantity, shape (rows,).
        settings: How.
        participant: Oneself.
    """
    trees: tuple[Tree, ...] = ()
    for factor in (1, 2, 4):
        # LightGBM estimates counts by second derivatives, so leaves come out smaller than asked.
        trees = _grown(model, rows, targets, settings, factor * settings.min_data_in_leaf)
        if _smallest(trees) >= settings.min_data_in_leaf:
            break
    trees = tuple(pruned(one, settings.min_data_in_leaf) for one in trees)
    return TreeAnswer(participant, text_of(trees, settings), len(targets))


def _grown(
    model: TreeModel, rows: Floats, targets: Floats, settings: TreeSettings, least: int
) -> tuple[Tree, ...]:
    import lightgbm  # noqa: PLC0415 - a second to import

    parameters = {
        "objective": settings.objective,
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": least,
        "boost_from_average": False,  # everybody's begin at the shared model
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": settings.seed,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(rows, targets, init_score=model.raw(rows))
    text = lightgbm.train(parameters, data, num_boost_round=settings.trees).model_to_string()
    return read(text, features=settings.features, most_trees=settings.trees)


def _smallest(trees: Sequence[Tree]) -> int:
    """Examples in the smallest leaf of trees that split at all."""
    return min((int(one.count.min()) for one in trees if len(one.value) > 1), default=MANY)


def checked(
    answers: Sequence[TreeAnswer], settings: TreeSettings
) -> tuple[dict[str, tuple[Tree, ...]], list[TreesJudged]]:
    """Sound sets of trees by their sender, and verdicts on those that are not."""
    sound: dict[str, tuple[Tree, ...]] = {}
    refused: list[TreesJudged] = []
    names = [one.participant for one in answers]
    for answer in sorted(answers, key=lambda one: one.participant):
        name = answer.participant
        try:
            if names.count(name) > 1:
                refused.append(_refused(name, Verdict.REJECTED_DUPLICATE, "sent twice"))
                continue
            if not 0 < answer.num_examples <= MAX_EXAMPLES:
                refused.append(_refused(name, Verdict.REJECTED_COUNT, "an impossible count"))
                continue
            trees = read(answer.text, features=settings.features, most_trees=settings.trees)
            _refuse_leaves(trees, settings)
            sound[name] = trees
        except TreesRefused as bad:
            refused.append(_refused(name, Verdict.REJECTED_SHAPE, str(bad)))
    return sound, refused


def _refused(name: str, verdict: Verdict, reason: str) -> TreesJudged:
    return TreesJudged(name, verdict, reason, None)


def _refuse_leaves(trees: Sequence[Tree], settings: TreeSettings) -> None:
    if max(len(one.value) for one in trees) > settings.leaves:
        raise TreesRefused(f"a tree has more than {settings.leaves} leaves")
    if _smallest(trees) < settings.min_data_in_leaf:
        raise TreesRefused(f"a leaf of fewer than {settings.min_data_in_leaf} examples")
    step = sum(float(np.abs(one.value).max()) for one in trees)
    most = LARGEST_STEP * settings.scale
    if step > most:
        raise TreesRefused(f"leaves of {step:.3g} together; {most:g} at most")


def score(
    model: TreeModel,
    candidates: Mapping[str, tuple[Tree, ...]],
    rows: Floats,
    targets: Floats,
    settings: TreeSettings,
    *,
    participant: str,
) -> ScoreAnswer:
    """Say how much each set of trees lowers the loss on one's own holdout."""
    before = model.raw(rows)
    known = loss(before, targets, settings)
    gains = {
        name: 1.0 - loss(before + answers_of(trees, rows), targets, settings) / known
        for name, trees in sorted(candidates.items())
        if known > 0
    }
    return ScoreAnswer(participant, {name: max(one, -1.0) for name, one in gains.items()})


def loss(raw: Floats, targets: Floats, settings: TreeSettings) -> float:
    """Mean log loss in nats, absolute or squared error: what the objective lowers."""
    if settings.objective == "binary":
        return float(np.mean(np.logaddexp(0.0, raw) - targets * raw))
    error = raw - targets
    size = np.abs(error) if settings.objective == "regression_l1" else error**2
    return float(np.mean(size))


def bagged(
    model: TreeModel,
    answers: Sequence[TreeAnswer],
    scores: Sequence[ScoreAnswer],
    settings: TreeSettings,
    *,
    rules: Rules = USUAL,
) -> tuple[TreeModel, tuple[TreesJudged, ...]]:
    """The next model and a verdict on every site's trees, the same for any order of the answers.

    Args:
        model: The parent; it stays if nothing is accepted.
        answers: What sites sent.
        scores: The committee's opinions; without any, all sound trees are accepted.
        settings: How trees are grown.
        rules: The gate of `validated`.
    """
    sound, judged = checked(answers, settings)
    opinions = judge(list(sound), scores, rules)
    for name, opinion in opinions.items():
        verdict = Verdict.REJECTED_QUALITY if opinion.is_rejected else Verdict.ACCEPTED
        gain = opinion.gain if opinion.members else None
        judged.append(TreesJudged(name, verdict, opinion.reason, gain))
    judged.sort(key=lambda one: one.participant)
    kept = [one.participant for one in judged if one.verdict is Verdict.ACCEPTED]
    if not kept:
        return model, tuple(judged)
    counts = {one.participant: one.num_examples for one in answers}
    cap = max(1, int(rules.count_ratio * float(np.median([counts[name] for name in kept]))))
    shares = shares_of([min(counts[name], cap) for name in kept])
    bag = Bag(tuple(sound[name] for name in kept), tuple(int(one) for one in shares))
    return TreeModel((*model.bags, bag)), tuple(judged)
