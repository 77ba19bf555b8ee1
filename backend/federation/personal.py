"""What a site adds to the shared model for itself; none of it ever leaves the site.

Three corrections: how far the network is to be believed, a short fine-tuning of it, and on top a
LightGBM model of what the network still misses. The last two are kept only if they lower the loss
on the site's own holdout, so that a site with little data of its own stays with what all have
learned, and a site unlike all others with its own usual days.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Examples, Rows
from backend.federation.networks import FloatArray, predict
from backend.federation.tasks import TrainSettings
from backend.federation.training import fit
from backend.federation.weights import Weights

FINE_TUNING = TrainSettings(local_epochs=1, batch_size=256, learning_rate=0.002)
TREES = 40
PRIOR_ROWS = 50
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
        trust: What the network's answers are multiplied by, between 0 and 1.
        trees: LightGBM text of the correction; empty if none helps.
    """

    family: str
    weights: Weights
    is_tuned: bool
    trust: float
    trees: str

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Energy of each row over the site's scale, never negative, shape (rows,)."""
        answer: NDArray[np.float64] = rows.usual.astype(np.float64)
        answer = answer + self.trust * predict(self.family, self.weights, rows.x)
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
    trust = trust_in(family, weights, examples)
    plain = min(
        (Personal(family, one, one is tuned, trust, "") for one in (weights, tuned)),
        key=lambda model: _loss(model, examples.holdout),
    )
    if not with_trees or len(examples.train) < FEWEST_FOR_TREES:
        return plain
    corrected = replace(plain, trees=_trees(plain, examples.train, seed=seed))
    return min((plain, corrected), key=lambda model: _loss(model, examples.holdout))


def trust_in(family: str, weights: Weights, examples: Examples) -> float:
    """How far a site should believe the shared network, between 0 and 1.

    Least squares over the site's own rows, drawn towards 1 as if `PRIOR_ROWS` more had confirmed
    the network.
    """
    product = square = 0.0
    for rows in (examples.train, examples.holdout):
        answers = predict(family, weights, rows.x).astype(np.float64)
        product += float(answers @ rows.y)
        square += float(answers @ answers)
    prior = PRIOR_ROWS * square / max(len(examples.train) + len(examples.holdout), 1)
    return min(max((product + prior) / (square + prior), 0.0), 1.0) if square > 0 else 1.0


def fine_tuned(family: str, weights: Weights, rows: Rows, *, seed: int) -> dict[str, FloatArray]:
    """One short pass over own rows."""
    return fit(family, weights, rows, settings=FINE_TUNING, seed=seed)


def _loss(model: Personal, rows: Rows) -> float:
    return float(np.mean((model.predict(rows) - (rows.y + rows.usual)) ** 2))


def _trees(model: Personal, rows: Rows, *, seed: int) -> str:
    import lightgbm as lgb  # noqa: PLC0415  # heavy, and only sites with much data need it

    rest = rows.y - model.trust * predict(model.family, model.weights, rows.x)
    data = lgb.Dataset(rows.x, rest, free_raw_data=True)
    return str(lgb.train({**TREE_SETTINGS, "seed": seed}, data, TREES).model_to_string())


def _correction(trees: str, x: FloatArray) -> NDArray[np.float64]:
    import lightgbm as lgb  # noqa: PLC0415  # as above

    return np.asarray(lgb.Booster(model_str=trees).predict(x, num_threads=1), dtype=np.float64)
