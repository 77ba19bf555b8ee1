"""Who is drawn, and what a committee's numbers make of an update."""

import math

import numpy as np
import pytest

from backend.federation.checking import Rules
from backend.federation.committee import Opinion, committee_size, draw, judge
from backend.federation.tasks import ScoreAnswer

RULES = Rules()
NAMES = [f"site{number}" for number in range(10)]


def opinions(
    gains: dict[str, float], *, members: int = 7, **liars: dict[str, float]
) -> dict[str, Opinion]:
    """Members that all find the same, and liars that find otherwise."""
    votes = [ScoreAnswer(f"member{number}", gains) for number in range(members)]
    votes += [ScoreAnswer(name, said) for name, said in liars.items()]
    return judge(list(gains), votes, RULES)


def rejected(found: dict[str, Opinion]) -> set[str]:
    return {name for name, one in found.items() if one.is_rejected}


HONEST = {"a": 0.020, "b": 0.022, "c": 0.024, "d": 0.021, "e": 0.023}


def test_a_draw_follows_from_seed_round_and_purpose() -> None:
    drawn = draw(NAMES, 4, seed=1, round_number=2, purpose="train")

    assert drawn == draw(NAMES[::-1], 4, seed=1, round_number=2, purpose="train")
    assert drawn == tuple(sorted(drawn))
    assert len({draw(NAMES, 4, seed=1, round_number=n, purpose="train") for n in range(20)}) > 15
    assert any(
        draw(NAMES, 4, seed=1, round_number=n, purpose="train")
        != draw(NAMES, 4, seed=1, round_number=n, purpose="committee")
        for n in range(3)
    )


def test_everybody_is_drawn_about_equally_often() -> None:
    counts = dict.fromkeys(NAMES, 0)
    for number in range(1_000):
        for name in draw(NAMES, 3, seed=5, round_number=number, purpose="train"):
            counts[name] += 1

    assert sum(counts.values()) == 3_000
    assert max(abs(count - 300) for count in counts.values()) < 60  # four standard deviations


def test_a_committee_is_everybody_up_to_twenty_one() -> None:
    assert [committee_size(count) for count in (3, 20, 21, 500)] == [3, 20, 21, 21]


def test_an_update_far_below_the_others_is_rejected() -> None:
    found = opinions({**HONEST, "bad": -0.05})

    assert rejected(found) == {"bad"}
    assert "below the median" in found["bad"].reason


def test_an_update_far_above_the_others_is_welcome() -> None:
    assert rejected(opinions({**HONEST, "good": 0.2})) == set()


def test_differences_too_small_to_matter_reject_nobody() -> None:
    assert rejected(opinions({"a": 0.0, "b": 0.0001, "c": 0.0, "d": -0.008})) == set()


def test_what_harms_beyond_the_threshold_is_rejected_even_if_all_do() -> None:
    found = opinions({"a": -0.16, "b": -0.17, "c": -0.14})

    assert rejected(found) == {"a", "b"}
    assert "raises the median holdout loss by 16.0%" in found["a"].reason


def test_a_minority_of_liars_does_not_turn_the_verdict() -> None:
    lies = {**dict.fromkeys(HONEST, -1.0), "bad": 1.0}

    found = opinions({**HONEST, "bad": -0.05}, members=4, x=lies, y=lies, z=lies)

    assert rejected(found) == {"bad"}


def test_members_have_no_say_about_their_own_update_and_one_vote_each() -> None:
    votes = [ScoreAnswer("a", {"a": 1.0, "b": 0.1})] * 5 + [ScoreAnswer("b", {"a": -0.2, "b": 1})]

    found = judge(["a", "b"], votes, RULES)

    assert (found["a"].gain, found["a"].members) == (-0.2, 1)
    assert (found["b"].gain, found["b"].members) == (0.1, 1)


def test_who_says_two_different_things_has_no_say() -> None:
    votes = [ScoreAnswer("m", {"a": 0.5}), ScoreAnswer("m", {"a": -0.5})]

    both = [
        judge(["a"], [*said, ScoreAnswer("n", {"a": 0.1})], RULES) for said in (votes, votes[::-1])
    ]

    assert both[0] == both[1]
    assert (both[0]["a"].gain, both[0]["a"].members) == (0.1, 1)


def test_where_all_help_much_who_helps_half_as_much_is_welcome() -> None:
    found = opinions({"a": 0.30, "b": 0.31, "c": 0.32, "half": 0.17, "third": 0.10})

    assert rejected(found) == {"third"}


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_no_opinion(said: float) -> None:
    found = opinions(HONEST, odd=dict.fromkeys(HONEST, said))

    assert {one.members for one in found.values()} == {7}


def test_numbers_beyond_the_bounds_count_as_the_bounds() -> None:
    found = judge(["a"], [ScoreAnswer("m", {"a": -1e300})], RULES)

    assert found["a"].gain == -1.0


def test_without_a_committee_all_pass() -> None:
    found = judge(["a"], [], RULES)

    assert found == {"a": Opinion(0.0, 0.0, 0, is_rejected=False, reason="")}
    assert judge([], [ScoreAnswer("m", {"x": 1.0})], RULES) == {}


def test_who_is_hard_to_please_judges_no_other_way_than_who_is_not() -> None:
    rng = np.random.default_rng(1)
    votes = [
        ScoreAnswer(
            f"m{n}", {name: gain + shift for name, gain in {**HONEST, "bad": -0.05}.items()}
        )
        for n, shift in enumerate(rng.uniform(-0.05, 0.05, 9))
    ]

    found = judge([*HONEST, "bad"], votes, RULES)

    assert rejected(found) == {"bad"}
    assert found["bad"].score < -RULES.gate


def test_what_both_halves_of_the_committee_find_harmful_is_harmful() -> None:
    found = opinions({**HONEST, "unlike": -0.02, "harm": -0.08}, members=8)

    assert rejected(found) == {"unlike", "harm"}
    assert {name for name, one in found.items() if one.is_harmful} == {"harm"}


@pytest.mark.parametrize("seed", range(20))
def test_no_minority_of_liars_makes_an_honest_update_harmful(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"site{number}" for number in range(9)]
    liars = set(rng.choice(names, 4, replace=False))
    votes = [
        ScoreAnswer(
            name, dict.fromkeys(names, -1.0) if name in liars else dict.fromkeys(names, 0.01)
        )
        for name in names
    ]

    found = judge(names, votes, RULES)

    assert not any(found[name].is_harmful for name in names if name not in liars)


def test_three_members_are_too_few_to_call_an_update_harmful() -> None:
    assert not opinions({"a": -0.5, "b": 0.1, "c": 0.1}, members=3)["a"].is_harmful
    assert opinions({"a": -0.5, "b": 0.1, "c": 0.1}, members=4)["a"].is_harmful
