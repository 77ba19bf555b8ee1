"""What a site adds to the shared model for itself; none of it ever leaves the site.

Two corrections: a short fine-tuning of the network, and on top of it a LightGBM model of what the
network still misses. Each is kept only if it lowers the loss on the site's own holdout, so that a
site with little data of its own stays with what all have learned.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, predict
from backend.federation.participant import loss
from backend.federation.tasks import TrainSettings
from backend.federation.training import fit
from backend.federation.weights import Weights

FINE_TUNING = TrainSettings(local_epochs=1, batch_size=256, learning_rate=0.002)
TREES = 40
FEWEST_FOR_TREES = 1_000
TREE_SETTINGS = {
    "objective": "l2",
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Personal:
    """A site's own model.

    Attributes:
        family: Of the network.
        weights: Of the network, fine-tuned or as shared.
        is_tuned: Whether the weights are the site's own.
        trees: LightGBM text of the correction; empty if none helps.
    """

    family: str
    weights: Weights
    is_tuned: bool
    trees: str

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Energy of each row over the site's scale, never negative, shape (rows,)."""
        answer: NDArray[np.float64] = rows.usual.astype(np.float64)
        answer = answer + predict(self.family, self.weights, rows.x)
        if self.trees:
            answer = answer + _correction(self.trees, rows.x)
        return np.maximum(answer, 0.0)


def personalise(
    family: str, weights: Weights, examples: Examples, *, seed: int, with_trees: bool = True
) -> Personal:
    """Fit the corrections to a site's own training rows and keep those its holdout confirms.

    Args:
        family: Of the shared network.
        weights: Of the shared network.
        examples: The site's own.
        seed: Of shuffling and trees.
        with_trees: Whether to try the LightGBM correction.
    """
    tuned = fine_tuned(family, weights, examples.train, seed=seed)
    is_tuned = loss(family, tuned, examples.holdout) < loss(family, weights, examples.holdout)
    network = tuned if is_tuned else weights
    plain = Personal(family, network, is_tuned, "")
    if not with_trees or len(examples.train) < FEWEST_FOR_TREES:
        return plain
    trees = _trees(family, network, examples.train, seed=seed)
    corrected = Personal(family, network, is_tuned, trees)
    return min((plain, corrected), key=lambda one: _loss(one, examples.holdout))


def fine_tuned(family: str, weights: Weights, rows: Rows, *, seed: int) -> dict[str, FloatArray]:
    """One short pass over own rows."""
    return fit(family, weights, rows, settings=FINE_TUNING, seed=seed)


def _loss(model: Personal, rows: Rows) -> float:
    return float(np.mean((model.predict(rows) - (rows.y + rows.usual)) ** 2))


def _trees(family: str, weights: Weights, rows: Rows, *, seed: int) -> str:
    import lightgbm as lgb  # noqa: PLC0415  # heavy, and only sites with much data need it

    rest = rows.y - predict(family, weights, rows.x)
    data = lgb.Dataset(rows.x, rest, free_raw_data=True)
    return str(lgb.train({**TREE_SETTINGS, "seed": seed}, data, TREES).model_to_string())


def _correction(trees: str, x: FloatArray) -> NDArray[np.float64]:
    import lightgbm as lgb  # noqa: PLC0415  # as above

    return np.asarray(lgb.Booster(model_str=trees).predict(x, num_threads=1), dtype=np.float64)
