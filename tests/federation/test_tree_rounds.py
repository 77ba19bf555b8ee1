"""Rounds of trees: a liar is refused, together beats alone, and LightGBM answers the same."""

from collections.abc import Sequence
from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from backend.federation.checking import Verdict
from backend.federation.committee import committee_size, draw
from backend.federation.tasks import Answer
from backend.federation.tree_models import TreeModel, as_trees
from backend.federation.tree_participant import part_loss, unfederated
from backend.federation.tree_rounds import Ask, TreeRound, TreeRun, advance, among, examine
from backend.federation.tree_rows import Part, SiteRows, pooled
from backend.federation.tree_tasks import GradeTask, GrowTask, TreeAnswer, TreeSettings, TreeTask
from backend.federation.tree_text import write
from backend.federation.trees import bagged, checked, grow, loss, score
from tests.federation.test_trees import BINARY, FEATURES, drawn

ROUNDS = 3


def part(seed: int, count: int) -> Part:
    site = drawn(seed, count)
    return Part(site.rows, site.targets)


def sites(count: int = 5) -> dict[str, SiteRows]:
    return {
        f"site{place}": SiteRows(part(place, 400), part(50 + place, 150), part(90 + place, 300))
        for place in range(count)
    }


def learned(
    members: dict[str, SiteRows], settings: TreeSettings, ask: Ask | None = None
) -> list[TreeRound]:
    rounds: list[TreeRound] = []
    run = TreeRun("test", "plug_availability", settings)
    for number in range(1, ROUNDS + 1):
        model = rounds[-1].model if rounds else TreeModel()
        rounds.append(advance(model, list(members), run, ask or among(members), number=number))
    return rounds


def directly(members: dict[str, SiteRows], settings: TreeSettings) -> TreeModel:
    """The same without tasks and texts: functions called on everybody's rows in one place."""
    model = TreeModel()
    for number in range(1, ROUNDS + 1):
        answers = [
            grow(model, one.train.rows, one.train.targets, settings, participant=name)
            for name, one in members.items()
        ]
        sound, _ = checked(answers, settings)
        size, seed = committee_size(len(members)), settings.seed
        chosen = draw(list(members), size, seed=seed, round_number=number, purpose="committee")
        scores = [
            score(model, sound, one.rows, one.targets, settings, participant=name)
            for name, one in ((name, members[name].judge) for name in chosen)
        ]
        model, _ = bagged(model, answers, scores, settings)
    return model


@pytest.mark.parametrize("objective", ["binary", "regression_l1"])
def test_tasks_and_their_texts_change_no_byte_of_the_model(objective: str) -> None:
    settings = replace(BINARY, objective=objective)  # type: ignore[arg-type]  # one of its words
    members = sites()

    model = learned(members, settings)[-1].model

    wanted, exam = directly(members, settings), drawn(999, 200).rows
    assert model.content_hash(settings) == wanted.content_hash(settings)
    np.testing.assert_array_equal(model.raw(exam), wanted.raw(exam))


def test_rounds_lower_the_loss_of_everybody_below_what_each_learns_alone() -> None:
    members = sites()

    rounds = learned(members, BINARY)

    model, run = rounds[-1].model, TreeRun("test", "plug_availability", BINARY)
    said = examine(
        model, list(members), run, among(members), number=ROUNDS + 1, alone=ROUNDS
    ).values()
    losses = [float(one.received_loss or np.nan) for one in rounds]
    losses.append(float(np.mean([one["judge_loss"] for one in said])))
    assert losses == sorted(losses, reverse=True)
    assert np.mean([one["together"] for one in said]) < np.mean([one["alone"] for one in said])


def test_what_a_site_says_of_the_model_is_so() -> None:
    members = sites(3)
    members["site0"] = replace(members["site0"], simple=np.zeros(300))
    model = learned(members, BINARY)[-1].model

    run = TreeRun("test", "plug_availability", BINARY)
    said = examine(model, list(members), run, among(members), number=4, alone=2)

    own = members["site0"]
    alone = unfederated(own.train, BINARY, rounds=2)
    assert said["site0"] == {
        "judge_loss": part_loss(model, own.judge, BINARY),
        "together": part_loss(model, own.test, BINARY),
        "alone": part_loss(alone, own.test, BINARY),
        "simple_rule": pytest.approx(np.log(2)),
        "rows_train": 400,
        "rows_judge": 150,
        "rows_test": 300,
    }
    assert "simple_rule" not in said["site1"]


def test_who_learned_from_flipped_labels_is_refused_in_every_round() -> None:
    members = sites()
    own = members["site0"].train
    members["site0"] = replace(members["site0"], train=Part(own.rows, 1 - own.targets))

    rounds = learned(members, BINARY)

    refused = [
        [one.participant for one in each.judged if one.verdict is not Verdict.ACCEPTED]
        for each in rounds
    ]
    assert refused == [["site0"]] * ROUNDS


def test_the_order_of_sites_changes_nothing() -> None:
    members = sites(4)
    turned = dict(reversed(members.items()))

    hashes = {learned(one, BINARY)[-1].model.content_hash(BINARY) for one in (members, turned)}

    assert len(hashes) == 1


def silent(members: dict[str, SiteRows], kind: type[TreeTask], names: Sequence[str]) -> Ask:
    """An engine in which some do not answer one kind of task."""
    everybody = among(members)

    def ask(tasks: Sequence[TreeTask]) -> Sequence[Answer]:
        return everybody(
            [one for one in tasks if not (isinstance(one, kind) and one.participant in names)]
        )

    return ask


def test_who_grows_no_trees_is_not_in_the_committee_and_the_round_goes_on() -> None:
    members = sites()

    rounds = learned(members, BINARY, silent(members, TreeTask, ["site4"]))

    others = {name: one for name, one in members.items() if name != "site4"}
    wanted = directly(others, BINARY)
    assert rounds[-1].model.content_hash(BINARY) == wanted.content_hash(BINARY)


def test_with_fewer_than_three_sets_of_trees_the_model_stays() -> None:
    members = sites()

    rounds = learned(members, BINARY, silent(members, GrowTask, ["site0", "site1", "site2"]))

    assert [one.reason for one in rounds] == ["2 of 5 sent trees; 3 are needed"] * ROUNDS
    assert rounds[-1].model.bags == ()


def test_without_half_of_the_committee_nothing_is_accepted() -> None:
    members = sites()

    rounds = learned(members, BINARY, silent(members, GradeTask, ["site0", "site1", "site2"]))

    assert {one.reason for one in rounds} == {"2 of 5 in the committee said anything"}
    assert rounds[-1].model.bags == ()


def test_trees_that_are_none_are_named_and_shown_to_nobody() -> None:
    members, everybody = sites(), among(sites())
    shown: list[GradeTask] = []

    def ask(tasks: Sequence[TreeTask]) -> list[Answer]:
        shown.extend(one for one in tasks if isinstance(one, GradeTask))
        return [
            replace(one, text="no trees")
            if isinstance(one, TreeAnswer) and one.participant == "site0"
            else one
            for one in everybody(tasks)
        ]

    rounds = learned(members, BINARY, ask)

    assert all("site0" not in one.candidates for one in shown)
    verdicts = [{one.participant: one.verdict for one in each.judged} for each in rounds]
    assert all(one["site0"] is Verdict.REJECTED_SHAPE for one in verdicts)
    assert all(one["site1"] is Verdict.ACCEPTED for one in verdicts)


@pytest.mark.parametrize("objective", ["binary", "regression_l1"])
def test_lightgbm_answers_what_the_model_does(objective: str) -> None:
    settings = replace(BINARY, objective=objective)  # type: ignore[arg-type]  # one of its words
    model = learned(sites(3), settings)[-1].model
    exam = drawn(999, 200).rows

    text = write(as_trees(model), features=FEATURES, objective="regression")

    booster = lightgbm.Booster(model_str=text)
    wanted = model.raw(exam)
    assert booster.num_trees() == sum(len(one) for bag in model.bags for one in bag.sets)
    np.testing.assert_allclose(booster.predict(exam, raw_score=True), wanted, rtol=1e-9, atol=1e-12)


def test_rows_in_one_place_are_all_rows() -> None:
    parts = [part(1, 30), part(2, 20)]

    whole = pooled(parts)

    model = unfederated(part(3, 300), BINARY, rounds=1)
    each = [loss(model.raw(one.rows), one.targets, BINARY) for one in parts]
    assert part_loss(model, whole, BINARY) == pytest.approx((30 * each[0] + 20 * each[1]) / 50)
