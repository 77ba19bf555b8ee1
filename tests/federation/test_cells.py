"""Cells: who sits with whom, what the gate does to a liar's cell, and where it ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.cells import (
    TooFewForCells,
    cells_of,
    means_of,
    spoiled_share,
)
from backend.federation.networks import initial_weights, shapes
from backend.federation.participant import loss, score
from backend.federation.secure import SecureSums
from backend.federation.strategies import VALIDATED
from backend.federation.tasks import ScoreTask, Stage
from backend.federation.weights import content_hash
from tests.federation.masked import FAMILY, Crowd, site, sites, train_tasks

PARENT = initial_weights(FAMILY, seed=1)


def crowd_sums(crowd: Crowd, cells: dict[str, tuple[str, ...]]) -> SecureSums:
    groups = {cell: train_tasks(names) for cell, names in cells.items()}
    sums = SecureSums(groups, shapes(FAMILY))
    while sums.stage is not None:
        sums.step(crowd.ask)
    return sums


@settings(max_examples=40)
@given(count=st.integers(9, 60), size=st.integers(3, 3), seed=st.integers(0, 10**9))
def test_everybody_sits_in_one_cell_of_three_or_more(count: int, size: int, seed: int) -> None:
    names = [f"site{number}" for number in range(count)]

    cells = cells_of(names, seed=seed, round_number=1, size=size)

    assert sorted(name for one in cells.values() for name in one) == sorted(names)
    assert {len(one) for one in cells.values()} <= {size, size + 1, size + 2}


def test_cells_follow_from_the_seed_and_change_with_the_round() -> None:
    names = [f"site{number}" for number in range(12)]

    first, again = (cells_of(names[::way], seed=3, round_number=1) for way in (1, -1))

    assert first == again != cells_of(names, seed=3, round_number=2)


def test_eight_participants_make_no_three_cells() -> None:
    with pytest.raises(TooFewForCells, match="8 participants; cells need 9"):
        cells_of([str(number) for number in range(8)], seed=1, round_number=1)


def test_a_liars_cell_is_rejected_and_the_others_make_the_model() -> None:
    names = sorted(sites(12))
    cells = cells_of(names, seed=4, round_number=1)
    spoiled = "cell 02"
    liars = set(cells[spoiled][:2])
    crowd = Crowd({n: site(int(n[4:]), sign=-3.0 if n in liars else 1.0) for n in names})

    means, failed = means_of(crowd_sums(crowd, cells).sums())
    wanted = candidates_of(means, PARENT)
    scores = [
        score(
            ScoreTask("exp", 1, name, FAMILY, PARENT, content_hash(PARENT), wanted),
            crowd.examples[name],
        )
        for name in names
    ]
    made = aggregate(VALIDATED, PARENT, means, scores)

    assert failed == {}
    assert made.accepted == tuple(one for one in sorted(cells) if one != spoiled)
    holdout = site(99).holdout
    assert loss(FAMILY, made.weights, holdout) < 0.9 * loss(FAMILY, PARENT, holdout)


def test_a_cell_that_loses_one_of_three_is_left_out_with_its_reason() -> None:
    names = sorted(sites(12))
    cells = cells_of(names, seed=4, round_number=1)
    gone: dict[str, Stage] = {cells["cell 01"][0]: "mask"}

    means, failed = means_of(crowd_sums(Crowd(sites(12), silent=gone), cells).sums())

    assert [one.participant for one in means] == ["cell 02", "cell 03", "cell 04"]
    assert failed == {"cell 01": "2 sent a masked vector; 3 are needed"}


def test_fewer_than_three_means_are_no_round() -> None:
    names = sorted(sites(9))
    cells = cells_of(names, seed=4, round_number=1)
    gone: dict[str, Stage] = {cells["cell 03"][1]: "share"}

    with pytest.raises(TooFewForCells, match="2 cells have a mean; 3 are needed"):
        means_of(crowd_sums(Crowd(sites(9), silent=gone), cells).sums())


def test_the_share_of_spoiled_cells_is_what_drawing_shows() -> None:
    names = [f"site{number}" for number in range(300)]
    liars = set(names[:30])

    drawn = [
        any(name in liars for name in cell)
        for number in range(40)
        for cell in cells_of(names, seed=1, round_number=number).values()
    ]

    # 4,000 cells: a deviation of 0.7 %.
    assert np.mean(drawn) == pytest.approx(spoiled_share(0.1), abs=0.03)
