"""Rounds of trees: a liar is refused, together beats alone, and LightGBM answers the same."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from backend.federation.checking import Verdict
from backend.federation.tree_rounds import (
    Part,
    SiteRows,
    TreeRound,
    advance,
    as_trees,
    part_loss,
    pooled,
    unfederated,
)
from backend.federation.tree_text import write
from backend.federation.trees import TreeModel, TreeSettings, loss
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


def learned(members: dict[str, SiteRows], settings: TreeSettings = BINARY) -> list[TreeRound]:
    rounds: list[TreeRound] = []
    for number in range(1, ROUNDS + 1):
        model = rounds[-1].model if rounds else TreeModel()
        rounds.append(advance(model, members, settings, number=number))
    return rounds


def test_rounds_lower_the_loss_of_everybody_below_what_each_learns_alone() -> None:
    members = sites()

    rounds = learned(members)

    losses = [one.judge_loss for one in rounds]
    assert losses == sorted(losses, reverse=True)
    together = np.mean([part_loss(rounds[-1].model, one.test, BINARY) for one in members.values()])
    alone = np.mean(
        [
            part_loss(unfederated(one.train, BINARY, rounds=ROUNDS), one.test, BINARY)
            for one in members.values()
        ]
    )
    assert together < alone


def test_who_learned_from_flipped_labels_is_refused_in_every_round() -> None:
    members = sites()
    own = members["site0"].train
    members["site0"] = replace(members["site0"], train=Part(own.rows, 1 - own.targets))

    rounds = learned(members)

    refused = [
        [one.participant for one in each.judged if one.verdict is not Verdict.ACCEPTED]
        for each in rounds
    ]
    assert refused == [["site0"]] * ROUNDS


def test_the_order_of_sites_changes_nothing() -> None:
    members = sites(4)
    turned = dict(reversed(members.items()))

    hashes = {learned(one)[-1].model.content_hash(BINARY) for one in (members, turned)}

    assert len(hashes) == 1


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
