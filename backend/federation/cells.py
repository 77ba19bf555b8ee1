"""Cells: small groups whose sums are masked, and whose means are judged like single updates.

The coordinator sees no update, only means of three or more; the committee, the gate and the trimmed
mean work on them. The price: one liar spoils its whole cell, so honest members are left out with
it, and once half of the cells hold a liar nothing helps. With twenty participants in six cells that
is about one liar in ten; see `spoiled_share`. Cells are drawn anew each round, so that nobody sits
with a liar for long; yet a coordinator that compares many rounds' means learns more of a
participant than one mean says.
"""

import hashlib
from collections.abc import Mapping, Sequence

from backend.federation.secure import GroupSum
from backend.federation.tasks import TrainAnswer

SMALLEST = 3
FEWEST_CELLS = 3
"""Of two means neither the gate nor a trimmed mean can tell the liar's."""


class TooFewForCells(ValueError):
    """There are too few participants, or too few of their cells came to a mean."""


def cells_of(
    names: Sequence[str], *, seed: int, round_number: int, size: int = SMALLEST
) -> dict[str, tuple[str, ...]]:
    """Draw cells of at least `size`: who is where follows from the recorded seed.

    Returns:
        Members in order, by the cell's name.

    Raises:
        TooFewForCells: If there are not participants for three cells.
        ValueError: If cells would be smaller than three.
    """
    if size < SMALLEST:
        raise ValueError(f"{SMALLEST} hide one another; {size} do not")
    count = len(set(names)) // size
    if count < FEWEST_CELLS:
        needed = FEWEST_CELLS * size
        raise TooFewForCells(f"{len(set(names))} participants; cells need {needed}")

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{round_number}\ncells\n{name}".encode()).digest()

    drawn = sorted(set(names), key=place)
    return {f"cell {cell + 1:02}": tuple(sorted(drawn[cell::count])) for cell in range(count)}


def means_of(sums: Mapping[str, GroupSum]) -> tuple[list[TrainAnswer], dict[str, str]]:
    """The cells' means, to be judged as updates are, and why each other cell has none.

    Raises:
        TooFewForCells: If fewer than three cells have one.
    """
    means = [one.mean for _, one in sorted(sums.items()) if one.mean is not None]
    failed = {cell: one.reason for cell, one in sorted(sums.items()) if one.mean is None}
    if len(means) < FEWEST_CELLS:
        reasons = "; ".join(f"{cell}: {reason}" for cell, reason in failed.items())
        raise TooFewForCells(
            f"{len(means)} cells have a mean; {FEWEST_CELLS} are needed ({reasons})"
        )
    return means, failed


def spoiled_share(liars_share: float, size: int = SMALLEST) -> float:
    """The expected share of cells that hold a liar; the gate needs it well below a half."""
    return 1.0 - (1.0 - liars_share) ** size
