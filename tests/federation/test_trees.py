"""Trees learned together: read strictly, grown alike, judged by a committee, bagged."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.checking import Verdict
from backend.federation.tasks import ScoreAnswer
from backend.federation.tree_models import TreeModel, answers_of
from backend.federation.tree_pruning import pruned
from backend.federation.tree_tasks import TreeAnswer, TreeSettings
from backend.federation.tree_text import MAX_BYTES, TreesRefused, read, write
from backend.federation.trees import (
    TreesJudged,
    bagged,
    checked,
    grow,
    loss,
    score,
)

FEATURES = 6
BINARY = TreeSettings("binary", FEATURES)


@dataclass(frozen=True, eq=False)
class Site:
    rows: np.ndarray
    targets: np.ndarray


def drawn(seed: int, count: int, *, liar: bool = False) -> Site:
    """Rows with gaps and zeros, and labels that hang on three of the features."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (count, FEATURES))
    odds = 2 * rows[:, 0] - 1.5 * (rows[:, 1] > 0.3) + rows[:, 2] * (rows[:, 0] > 0)
    targets = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[rng.random(rows.shape) < 0.05] = 0.0
    return Site(rows, 1 - targets if liar else targets)


def members(count: int, liars: int = 0) -> dict[str, Site]:
    return {
        f"site{place:02}": drawn(place, 500 + 40 * place, liar=place < liars)
        for place in range(count)
    }


Rounds = tuple[TreeModel, list[tuple[TreesJudged, ...]]]


def learned(sites: Mapping[str, Site], rounds: int, *, is_judged: bool = True) -> Rounds:
    """A model after some rounds, with the verdicts of each."""
    model, verdicts = TreeModel(), []
    for _ in range(rounds):
        answers = [
            grow(model, one.rows, one.targets, BINARY, participant=name)
            for name, one in sites.items()
        ]
        scores = opinions(model, answers, sites) if is_judged else []
        model, judged = bagged(model, answers, scores, BINARY)
        verdicts.append(judged)
    return model, verdicts


def opinions(
    model: TreeModel, answers: list[TreeAnswer], sites: Mapping[str, Site]
) -> list[ScoreAnswer]:
    sound, _ = checked(answers, BINARY)
    return [
        score(model, sound, one.rows[:200], one.targets[:200], BINARY, participant=name)
        for name, one in sites.items()
    ]


def exam_loss(model: TreeModel) -> float:
    exam = drawn(999, 3_000)
    return loss(model.raw(exam.rows), exam.targets, BINARY)


# Text


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), leaves=st.integers(2, 40), zero_is_missing=st.booleans())
def test_answers_are_those_of_lightgbm(seed: int, leaves: int, zero_is_missing: bool) -> None:  # noqa: FBT001 - hypothesis draws it
    site, exam = drawn(seed, 400), drawn(seed + 1, 100)
    parameters = {
        "objective": "regression_l1",
        "num_leaves": leaves,
        "min_data_in_leaf": 5,
        "zero_as_missing": zero_is_missing,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(site.rows, site.targets, init_score=np.zeros(400))
    booster = lightgbm.train(parameters, data, num_boost_round=3)

    trees = read(booster.model_to_string(), features=FEATURES, most_trees=3)
    text = write(trees, features=FEATURES, objective="regression_l1")

    wanted = booster.predict(exam.rows, raw_score=True)
    np.testing.assert_allclose(answers_of(trees, exam.rows), wanted, rtol=1e-12, atol=1e-12)
    again = lightgbm.Booster(model_str=text).predict(exam.rows, raw_score=True)
    np.testing.assert_allclose(again, wanted, rtol=1e-12, atol=1e-12)
    assert (
        write(
            read(text, features=FEATURES, most_trees=3),
            features=FEATURES,
            objective="regression_l1",
        )
        == text
    )


def test_known_and_missing_can_be_parted_at_infinity() -> None:
    text = changed(line("threshold"), f"threshold={nodes('inf')}")
    rows = drawn(3, 50).rows

    trees = read(text, features=FEATURES, most_trees=5)

    wanted = lightgbm.Booster(
        model_str=write(trees, features=FEATURES, objective="binary sigmoid:1")
    ).predict(rows, raw_score=True)
    np.testing.assert_allclose(answers_of(trees, rows), wanted, rtol=1e-12, atol=1e-12)


def test_pruned_trees_have_no_small_leaf_and_answer_the_mean_of_what_was_merged() -> None:
    site = drawn(5, 900)
    parameters = {"num_leaves": 31, "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(site.rows, site.targets), 1)
    [tree] = read(booster.model_to_string(), features=FEATURES, most_trees=1)

    small = pruned(tree, 50)

    assert tree.count.min() < 50 <= small.count.min()
    assert small.count.sum() == tree.count.sum() == 900
    found, before = small.predict(site.rows), tree.predict(site.rows)
    for leaf in np.unique(found):
        assert before[found == leaf].mean() == pytest.approx(leaf, abs=1e-9)
    assert 1 < len(small.value) < len(tree.value)
    assert len(pruned(tree, 901).value) == 1


def test_what_a_site_sends_is_the_same_each_time_and_tells_no_ranges() -> None:
    site = drawn(1, 600)

    sent = [
        grow(TreeModel(), site.rows, site.targets, BINARY, participant="a").text for _ in range(2)
    ]

    assert sent[0] == sent[1]
    assert "feature_infos=" + " ".join(["none"] * FEATURES) in sent[0]
    assert "parameters" not in sent[0]
    trees = read(sent[0], features=FEATURES, most_trees=5)
    assert min(int(one.count.min()) for one in trees) >= BINARY.min_data_in_leaf


GOOD = grow(TreeModel(), drawn(1, 600).rows, drawn(1, 600).targets, BINARY, participant="a").text


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def line(name: str) -> str:
    return next(one for one in GOOD.split("\n") if one.startswith(f"{name}="))


def with_line(name: str, value: str) -> str:
    return changed(line(name), f"{name}={value}")


def nodes(value: str) -> str:
    """As many numbers as the first tree has inner nodes."""
    return " ".join([value] * len(line("left_child").partition("=")[2].split()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no trees of version 4"),
        ("tree\n" * 10, "comes twice"),
        (pickle.dumps({"a": 1}).decode("latin-1"), "of ASCII are allowed"),
        (GOOD + " " * MAX_BYTES, "of ASCII are allowed"),
        (with_line("max_feature_idx", "9"), "no trees of version 4"),
        (with_line("num_leaves", "100000"), "255 are allowed"),
        (with_line("num_cat", "1"), "only numeric splits"),
        (with_line("is_linear", "1"), "only numeric splits"),
        (with_line("split_feature", nodes("6")), "a feature that is none"),
        (with_line("split_feature", nodes("-1")), "a feature that is none"),
        (with_line("decision_type", nodes("1")), "not numeric"),
        (with_line("left_child", nodes("0")), "nodes that are no tree"),
        (with_line("left_child", nodes("999")), "nodes that are no tree"),
        (with_line("threshold", nodes("nan")), "something else than numbers"),
        (with_line("leaf_value", nodes("1e999") + " 0"), "not finite"),
        (with_line("leaf_value", "1"), "leaf_value has 1 numbers"),
        (changed("Tree=1", "Tree=7"), "called otherwise"),
        (GOOD.replace("end of trees", GOOD[GOOD.index("Tree=0") :]), "1 to 5 are allowed"),
    ],
)
def test_text_that_is_no_sound_trees_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(TreesRefused, match=reason):
        read(text, features=FEATURES, most_trees=5)


@settings(max_examples=60)
@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=127))
def test_any_altered_character_is_refused_or_still_trees(place: int, other: str) -> None:
    text = GOOD[:place] + other + GOOD[place + 1 :]
    rows = drawn(2, 20).rows

    try:
        trees = read(text, features=FEATURES, most_trees=5)
    except TreesRefused:
        return
    assert np.isfinite(answers_of(trees, rows)).all()


# Rounds


def test_sites_learn_more_together_than_alone_and_nearly_as_much_as_from_all_data() -> None:
    sites = members(6)
    together, _ = learned(sites, 6)

    alone = [learned({name: one}, 6)[0] for name, one in sites.items()]
    everything = Site(
        np.concatenate([one.rows for one in sites.values()]),
        np.concatenate([one.targets for one in sites.values()]),
    )
    central, _ = learned({"all": everything}, 6)

    untrained = exam_loss(TreeModel())
    won = {name: untrained - exam_loss(one) for name, one in (("fed", together), ("all", central))}
    assert won["fed"] > 0.95 * won["all"]
    assert exam_loss(together) < min(exam_loss(one) for one in alone)


def test_the_gate_keeps_label_flippers_out_and_without_it_they_ruin_the_model() -> None:
    clean, _ = learned(members(10), 4)

    gated, verdicts = learned(members(10, liars=3), 4)
    open_door, _ = learned(members(10, liars=3), 4, is_judged=False)

    liars = {"site00", "site01", "site02"}
    rejected = [
        one.participant
        for judged in verdicts
        for one in judged
        if one.verdict is Verdict.REJECTED_QUALITY
    ]
    assert sum(name in liars for name in rejected) >= 9  # of twelve
    assert sum(name not in liars for name in rejected) <= 2
    untrained = exam_loss(TreeModel())
    won = [untrained - exam_loss(one) for one in (clean, gated, open_door)]
    assert won[1] > 0.97 * won[0]
    assert won[2] < 0.7 * won[0]


def test_one_set_of_answers_has_one_hash_in_any_order() -> None:
    sites = members(5)
    answers = [
        grow(TreeModel(), one.rows, one.targets, BINARY, participant=name)
        for name, one in sites.items()
    ]
    scores = opinions(TreeModel(), answers, sites)

    models = [bagged(TreeModel(), answers[::way], scores[::way], BINARY)[0] for way in (1, -1)]

    hashes = {one.content_hash(BINARY) for one in models}
    assert len(hashes) == 1
    assert hashes != {bagged(TreeModel(), answers[1:], scores, BINARY)[0].content_hash(BINARY)}


def test_faked_counts_weigh_no_more_than_twice_the_median() -> None:
    sites = members(5)
    answers = [
        grow(TreeModel(), one.rows, one.targets, BINARY, participant=name)
        for name, one in sites.items()
    ]
    answers[0] = replace(answers[0], num_examples=10**9)

    model, _ = bagged(TreeModel(), answers, [], BINARY)

    shares = model.bags[0].shares
    assert max(shares) / sum(shares) < 0.4


def test_what_is_wrong_with_trees_is_said_and_the_round_goes_on() -> None:
    sites = members(5)
    answers = [
        grow(TreeModel(), one.rows, one.targets, BINARY, participant=name)
        for name, one in sites.items()
    ]
    small = replace(BINARY, min_data_in_leaf=5)
    spoiled = [
        replace(answers[0], text="no trees"),
        grow(
            TreeModel(),
            sites["site01"].rows[:80],
            sites["site01"].targets[:80],
            small,
            participant="site01",
        ),
        replace(answers[2], num_examples=0),
        *answers[3:],
    ]

    model, judged = bagged(TreeModel(), spoiled, [], BINARY)

    verdicts = {one.participant: (one.verdict, one.reason) for one in judged}
    assert verdicts["site00"][0] is Verdict.REJECTED_SHAPE
    assert verdicts["site01"] == (Verdict.REJECTED_SHAPE, "a leaf of fewer than 50 examples")
    assert verdicts["site02"][0] is Verdict.REJECTED_COUNT
    assert {name for name, one in verdicts.items() if one[0] is Verdict.ACCEPTED} == {
        "site03",
        "site04",
    }
    assert len(model.bags[0].sets) == 2


def test_leaves_beyond_any_honest_step_and_copies_under_one_name_are_refused() -> None:
    answer = TreeAnswer(
        "a", with_line("leaf_value", " ".join(["99.0"] * len(line("leaf_value").split()))), 600
    )
    good = TreeAnswer("b", GOOD, 600)

    _, refused = checked([answer, good, good], BINARY)

    assert [one.participant for one in refused] == ["a", "b", "b"]
    assert "8 at most" in refused[0].reason
    assert refused[1].verdict is Verdict.REJECTED_DUPLICATE


def test_a_quantity_can_be_learned_too() -> None:
    terms = TreeSettings("regression_l1", FEATURES, scale=10.0)
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 1, (900, FEATURES))
    targets = 4 * rows[:, 0] + rng.normal(0, 0.5, 900)
    model = TreeModel()

    for _ in range(5):
        answers = [
            grow(model, rows[part], targets[part], terms, participant=str(part.start))
            for part in (slice(0, 300), slice(300, 600))
        ]
        model, _ = bagged(model, answers, [], terms)

    exam = slice(600, 900)
    assert loss(model.raw(rows[exam]), targets[exam], terms) < 0.5 * loss(
        np.zeros(300), targets[exam], terms
    )
