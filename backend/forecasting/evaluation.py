"""The quality of a demand model on hours it has not seen, in plain numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypedDict

import numpy as np

from backend.forecasting import metrics
from backend.forecasting.baselines import like_day_mean, seasonal_naive
from backend.forecasting.history import BoolArray, FloatArray
from backend.forecasting.samples import Samples


class SiteMetrics(TypedDict):
    """Quality at one site, errors in kWh per hour; the naive is the better of 24 h and 168 h."""

    r2: float
    mae: float
    wape: float
    seasonal_naive_r2: float
    seasonal_naive_mae: float
    skill_vs_seasonal_naive: float
    like_day_mae: float
    skill_vs_like_day: float
    like_day_r2: float
    rows: float


class Metrics(TypedDict):
    """Quality pooled over all site hours of the test, and of each site."""

    train_r2: float
    test_r2: float
    mae: float
    rmse: float
    wape: float
    seasonal_naive_r2: float
    seasonal_naive_mae: float
    skill_vs_seasonal_naive: float
    like_day_mae: float
    skill_vs_like_day: float
    like_day_r2: float
    coverage_80: float
    coverage_80_active: float
    occupancy_mae: float
    rows_train: float
    rows_test: float
    split: str
    test_from: str
    test_to: str
    per_site: dict[str, SiteMetrics]


# An hour counts as active when its like-day mean is above; certain nights flatter the coverage.
ACTIVE_KWH = 0.2


def measure(
    *,
    train: tuple[Samples, Mapping[str, FloatArray]],
    test: tuple[Samples, Mapping[str, FloatArray]],
) -> Metrics:
    """Measure predictions against what happened, pooled over all site hours and per site.

    Args:
        train: Rows the model was trained on and its predictions (`mean`, `p10`, `p90` in kWh,
            `occupancy`), shape (rows,) each.
        test: The same for rows it has not seen.

    Returns:
        The metrics of the test rows, beside `train_r2` to show how much was learned by heart.
    """
    samples, predicted = test
    actual, mean_kwh = samples.energy_kwh, predicted["mean"]
    lower, upper = np.minimum(predicted["p10"], mean_kwh), np.maximum(predicted["p90"], mean_kwh)
    active = like_day_mean(samples.rows) > ACTIVE_KWH
    pooled = _of_rows(samples, mean_kwh, np.ones(actual.shape, dtype=np.bool_))
    last_trained = int(train[0].hour.max())
    return Metrics(
        train_r2=metrics.r2(train[0].energy_kwh, train[1]["mean"]),
        test_r2=pooled["r2"],
        mae=pooled["mae"],
        rmse=metrics.rmse(actual, mean_kwh),
        wape=pooled["wape"],
        seasonal_naive_r2=pooled["seasonal_naive_r2"],
        seasonal_naive_mae=pooled["seasonal_naive_mae"],
        skill_vs_seasonal_naive=pooled["skill_vs_seasonal_naive"],
        like_day_mae=pooled["like_day_mae"],
        skill_vs_like_day=pooled["skill_vs_like_day"],
        like_day_r2=pooled["like_day_r2"],
        coverage_80=metrics.coverage(actual, lower, upper),
        coverage_80_active=metrics.coverage(actual[active], lower[active], upper[active]),
        occupancy_mae=metrics.mae(samples.occupancy, predicted["occupancy"]),
        rows_train=float(train[0].hour.size),
        rows_test=pooled["rows"],
        split="ordered in time: the last fifth of the site hours is the test, leads 1 to 24 h",
        test_from=_iso(int(samples.hour.min(initial=last_trained + 1))),
        test_to=_iso(int(samples.hour.max(initial=last_trained)) + 1),
        per_site={
            site_id: _of_rows(samples, mean_kwh, samples.site == site)
            for site, site_id in enumerate(samples.site_ids)
        },
    )


def _of_rows(samples: Samples, mean_kwh: FloatArray, chosen: BoolArray) -> SiteMetrics:
    """Quality over the chosen rows, also of the forecasts that need no training."""
    actual, predicted = samples.energy_kwh[chosen], mean_kwh[chosen]
    error = metrics.mae(actual, predicted)
    naives = [seasonal_naive(samples.rows, period_h=period_h)[chosen] for period_h in (24, 168)]
    naive = min(metrics.mae(actual, each) for each in naives)
    like_day_kwh = like_day_mean(samples.rows)[chosen]
    like_day = metrics.mae(actual, like_day_kwh)
    return SiteMetrics(
        r2=metrics.r2(actual, predicted),
        mae=error,
        wape=metrics.wape(actual, predicted),
        seasonal_naive_r2=max(metrics.r2(actual, each) for each in naives),
        seasonal_naive_mae=naive,
        skill_vs_seasonal_naive=metrics.skill(error, naive),
        like_day_mae=like_day,
        skill_vs_like_day=metrics.skill(error, like_day),
        like_day_r2=metrics.r2(actual, like_day_kwh),
        rows=float(actual.size),
    )


def _iso(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, tz=UTC).isoformat()
