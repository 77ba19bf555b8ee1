"""What is refused before anybody's opinion is asked, and how far a claim can go."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.federation.checking import Finding, Rules, Verdict, check, norm_of
from backend.federation.tasks import TrainAnswer
from tests.federation.updates import PARENT, filled, update

RULES = Rules()


def findings(*answers: TrainAnswer) -> dict[str, Finding]:
    return {one.participant: one for one in check(answers, PARENT, RULES)}


def honest(count: int = 4) -> list[TrainAnswer]:
    return [update(f"site{number}", 1.0, seed=number) for number in range(count)]


def bad_array(array: Any) -> TrainAnswer:
    return TrainAnswer("bad", {**filled(1.0), "w": array}, 100)


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (bad_array(np.full((26, 1), np.nan, np.float32)), Verdict.REJECTED_NAN, "not finite"),
        (bad_array(np.full((26, 1), -np.inf, np.float32)), Verdict.REJECTED_NAN, "not finite"),
        (bad_array(np.ones((1,), np.float32)), Verdict.REJECTED_SHAPE, "shape"),
        (bad_array(np.ones((26, 1), np.float64)), Verdict.REJECTED_SHAPE, "no float32"),
        (bad_array(np.array([[b"x"]], dtype=object)), Verdict.REJECTED_SHAPE, "no float32"),
        (bad_array([[1.0]] * 26), Verdict.REJECTED_SHAPE, "no float32"),
        (TrainAnswer("bad", {"w": filled(1.0)["w"]}, 9), Verdict.REJECTED_SHAPE, "other arrays"),
        (replace(update("bad", 1.0), num_examples=0), Verdict.REJECTED_COUNT, "num_examples"),
        (replace(update("bad", 1.0), num_examples=-5), Verdict.REJECTED_COUNT, "num_examples"),
        (replace(update("bad", 1.0), num_examples=10**12), Verdict.REJECTED_COUNT, "num_examples"),
        (replace(update("bad", 1.0), num_examples=True), Verdict.REJECTED_COUNT, "num_examples"),
        (update("bad", 1e6), Verdict.REJECTED_NORM, "beyond 262144"),
        (update("bad", 10.0), Verdict.REJECTED_NORM, "the median is"),
    ],
)
def test_what_cannot_be_an_update_is_rejected_with_its_reason(
    answer: TrainAnswer, verdict: Verdict, reason: str
) -> None:
    found = findings(*honest(), answer)

    assert found["bad"].verdict is verdict
    assert reason in found["bad"].reason
    assert not found["bad"].delta
    assert all(found[one.participant].verdict is Verdict.ACCEPTED for one in honest())


def test_a_long_update_is_clipped_to_the_median_length() -> None:
    found = findings(*honest(), update("long", 2.0))

    median = float(np.median([one.norm for one in found.values()]))
    assert found["long"].verdict is Verdict.ACCEPTED
    assert norm_of(found["long"].delta) == pytest.approx(median, rel=1e-5)
    assert found["long"].clip_factor == pytest.approx(median / found["long"].norm)


def test_two_updates_of_one_sender_are_both_left_out() -> None:
    found = findings(*honest(), update("twice", 1.0, seed=8), update("twice", 1.1, seed=9))

    assert found["twice"].verdict is Verdict.REJECTED_DUPLICATE
    assert not found["twice"].delta


def test_updates_as_good_as_the_same_count_once() -> None:
    near = update("site9", 1.0, seed=3)
    near.delta["w"][0] += np.float32(1e-3)

    found = findings(*honest(), near)

    assert found["site9"].verdict is Verdict.REJECTED_COPY
    assert "site3" in found["site9"].reason
    assert found["site3"].verdict is Verdict.ACCEPTED


def test_claimed_examples_count_up_to_the_median() -> None:
    found = findings(*honest(), replace(update("liar", 1.0, seed=7), num_examples=10**8))

    assert found["liar"].num_examples == 100


def test_findings_come_in_the_order_of_names() -> None:
    answers = honest()[::-1]

    assert [one.participant for one in check(answers, PARENT, RULES)] == [
        f"site{number}" for number in range(4)
    ]
    assert check([], PARENT, RULES) == []
