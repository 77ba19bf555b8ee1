"""Rows that trees are grown on, judged by and tested on, and the file that a site keeps them in."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.federation.tree_text import Floats

PARTS = ("train", "judge", "test")


class RowsRefused(ValueError):
    """A file that holds no rows of a site."""


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
        simple: What a simple rule answers to the test rows, shape (rows,), if there is one.
    """

    train: Part
    judge: Part
    test: Part
    simple: Floats | None = None


Sites = Mapping[str, SiteRows]


def pooled(parts: Sequence[Part]) -> Part:
    """All rows in one set."""
    return Part(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.targets for one in parts]),
    )


def to_npz(rows: Mapping[str, SiteRows]) -> bytes:
    """A site's rows by target as a compressed npz without pickle."""
    arrays = {}
    for target, own in rows.items():
        for name in PARTS:
            part = getattr(own, name)
            arrays[f"{target}.{name}.rows"] = part.rows
            arrays[f"{target}.{name}.targets"] = part.targets
        if own.simple is not None:
            arrays[f"{target}.simple"] = own.simple
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.asarray(one, "<f8") for name, one in arrays.items()})  # type: ignore[arg-type]
    return file.getvalue()


def from_npz(data: bytes) -> dict[str, SiteRows]:
    """The rows of a file that `to_npz` made, by target; it is the site's own, and still no pickle.

    Raises:
        RowsRefused: If a part is missing, or rows and targets do not fit.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
        targets = sorted({name.partition(".")[0] for name in arrays})
        return {target: _site_rows(arrays, target) for target in targets}
    except RowsRefused:
        raise
    except Exception as bad:  # what NumPy and zipfile raise for other files is a dozen kinds
        raise RowsRefused("no npz of rows, targets and parts") from bad


def _site_rows(arrays: Mapping[str, Floats], target: str) -> SiteRows:
    train, judge, test = (
        Part(arrays[f"{target}.{name}.rows"], arrays[f"{target}.{name}.targets"]) for name in PARTS
    )
    simple = arrays.get(f"{target}.simple")
    features = {one.rows.shape[1:] for one in (train, judge, test)}
    lengths = [(one.targets, one.rows) for one in (train, judge, test)]
    if simple is not None:
        lengths.append((simple, test.rows))
    fits = all(one.shape == rows.shape[:1] and len(one) for one, rows in lengths)
    if not fits or len(features) != 1 or train.rows.ndim != 2:  # noqa: PLR2004 - rows, features
        raise RowsRefused(f"rows and targets of {target} do not fit")
    return SiteRows(train, judge, test, simple)
