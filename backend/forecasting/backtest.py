"""Forecasts as they would have been: rolling origins that see only what was known at each.

A model is trained on what lay before the test, its bands start from six weeks it had not seen, and
then every third hour of the test is an origin. The harness hides values that were not available
yet, and proves on some origins that nothing later made a difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from backend.forecasting import metrics
from backend.forecasting.baselines import like_day_mean, seasonal_naive
from backend.forecasting.calendar import local_calendar
from backend.forecasting.columns import LEVEL_HOURS, LEVELS
from backend.forecasting.comparison import Comparison, compare, pinball
from backend.forecasting.features import MIN_LEVEL_KWH, rows_of
from backend.forecasting.history import FloatArray, IntArray, SiteHistory
from backend.forecasting.models import (
    TrainedModel,
    calibrated,
    fit,
    is_active,
    predict_rows,
    quantiles_of,
    scores_of,
    train,
)
from backend.forecasting.samples import Samples, holdout_samples, training_samples
from backend.forecasting.tables import trailing_mean

HORIZONS_H = (1, 3, 6, 12, 18, 24)
STRIDE_H = 3
CALIBRATION_DAYS = 42
AUDITED_ORIGINS = 3

Progress = Callable[[float, str], None]


class LeakFound(AssertionError):
    """A forecast changed with values that were not known when it was made."""


@dataclass(frozen=True, slots=True)
class Window:
    """The hours a site is tested on.

    Attributes:
        test_from: Beginning of the first hour tested.
        test_to: End of the last; what the history does not have is left out.
        calibrate_from: Where the bands start to be watched, before the test.
        train_from: Nothing earlier is trained on; None for the longest that training takes.
    """

    test_from: datetime
    test_to: datetime
    calibrate_from: datetime
    train_from: datetime | None = None

    @classmethod
    def last_weeks(cls, history: SiteHistory, *, weeks: int = 8) -> "Window":
        """The last weeks of a history, with six weeks before them for the bands."""
        test_from = history.end - timedelta(weeks=weeks)
        return cls(test_from, history.end, test_from - timedelta(days=CALIBRATION_DAYS))


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """How one site was forecast; absolute errors are the median's, R² the mean's.

    Attributes:
        rows: Forecast hours compared.
        wape: Sum of absolute errors over the energy.
        r2: Share of the variance explained.
        mae_skill: Share of the better seasonal naive's error avoided (24 h, 168 h).
        naive_wape: The better naive's WAPE.
        like_day_wape: The WAPE of the mean of the last five like days.
        wape_of_mean: The WAPE of the mean instead of the median.
        pinball: Mean pinball loss over seven quantiles, kWh.
        climatology_pinball: That of the quantiles of training by local hour and day off, in kWh.
        level_climatology_pinball: That of quantiles of energy over the level of the last 28 days.
        utc_climatology_pinball: That of quantiles in kWh by hour in UTC.
        coverage_80: Share of the active hours inside the band.
        width_80_kwh: Mean width of the band in active hours.
        wape_by_lead: WAPE of each lead time in hours.
        sessions_mae: Mean absolute error of the sessions that begin in an hour.
    """

    rows: int
    wape: float
    r2: float
    mae_skill: float
    naive_wape: float
    like_day_wape: float
    wape_of_mean: float
    pinball: float
    climatology_pinball: float
    level_climatology_pinball: float
    utc_climatology_pinball: float
    coverage_80: float
    width_80_kwh: float
    wape_by_lead: Mapping[int, float]
    sessions_mae: float


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """A backtest of several sites.

    Attributes:
        figures: By site.
        samples: The tested rows by site.
        predicted: What was forecast for them, bounds calibrated.
        model: What was trained.
    """

    figures: Mapping[str, SiteFigures]
    samples: Mapping[str, Samples]
    predicted: Mapping[str, Mapping[str, FloatArray]]
    model: TrainedModel


def backtest(
    histories: Sequence[SiteHistory],
    windows: Mapping[str, Window],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Backtest:
    """Train on what lies before each site's test and forecast through it.

    Args:
        histories: The sites.
        windows: The hours to test on, by site; other sites are trained on only.
        seed: Seed of the training.
        progress: Called with the share done and what is being done.

    Raises:
        LeakFound: If a feature depends on what was not known at its origin.
        TooLittleHistory: If nothing is left to train on.
    """
    report = progress or (lambda _share, _step: None)
    before = [training_part(one, windows.get(one.site_id)) for one in histories]
    splits = {
        one.site_id: windows[one.site_id].calibrate_from
        if one.site_id in windows
        else one.end - timedelta(days=CALIBRATION_DAYS)
        for one in before
    }
    model = train(
        [one for one in before if one.hours],
        seed=seed,
        splits=splits,
        progress=lambda share, step: report(0.6 * share, step),
    )
    tested = [one for one in histories if one.site_id in windows]
    samples, predicted = {}, {}
    for place, one in enumerate(tested):
        report(0.6 + 0.4 * place / len(tested), f"Forecasting {one.site_id}")
        samples[one.site_id] = test_rows(one, windows[one.site_id])
        predicted[one.site_id] = _served(model, samples[one.site_id], one.site_id)
    figures = {
        one.site_id: _figures(
            one, windows[one.site_id], samples[one.site_id], predicted[one.site_id]
        )
        for one in tested
    }
    report(1.0, "Measured")
    return Backtest(figures, samples, predicted, model)


def training_part(history: SiteHistory, window: Window | None) -> SiteHistory:
    """What may be trained on: all of an untested site, else what was known when its test began."""
    if window is None:
        return history
    since_h = history.index_of(window.train_from) if window.train_from else 0
    until_h = max(min(history.index_of(window.test_from), history.hours), 0)
    return history.known_at(until_h).cut(since_h=since_h, until_h=until_h)


def test_rows(history: SiteHistory, window: Window) -> Samples:
    """The rows to forecast: every third hour an origin, six lead times, inside the window."""
    until_h = min(history.index_of(window.test_to), history.hours)
    visible = history.cut(since_h=0, until_h=until_h)
    first = history.index_of(window.test_from)
    since = window.test_from - timedelta(hours=max(HORIZONS_H))
    samples = holdout_samples([visible], since=since, stride_h=STRIDE_H, leads_h=HORIZONS_H)
    audit(visible, origins=np.linspace(first, until_h - 1, AUDITED_ORIGINS + 2)[1:-1].astype(int))
    return samples.chosen(samples.rows.target >= first)


def audit(history: SiteHistory, *, origins: IntArray) -> None:
    """Prove that features of some origins depend only on what was known at them.

    Raises:
        LeakFound: If they do not.
    """
    leads = np.array(HORIZONS_H)

    def features(seen: SiteHistory, origin: int) -> FloatArray:
        return rows_of(seen, origin=np.full(leads.shape, origin), lead_h=leads).features

    check_no_leak(features, history, origins=origins)


def check_no_leak(
    forecast: Callable[[SiteHistory, int], FloatArray],
    history: SiteHistory,
    *,
    origins: Sequence[int] | IntArray,
) -> None:
    """Make each forecast twice: from everything, and from what was known; they have to agree.

    Args:
        forecast: Gives numbers from a history and the hour at whose beginning they are made.
        history: Everything that is known today.
        origins: Hours to try.

    Raises:
        LeakFound: If a forecast made of everything differs.
    """
    for origin in origins:
        told = forecast(history, int(origin))
        honest = forecast(history.known_at(int(origin)), int(origin))
        if told.shape != honest.shape or not np.allclose(
            told, honest, rtol=1e-9, atol=1e-9, equal_nan=True
        ):
            raise LeakFound(f"{history.site_id}: hour {origin} sees what was not known yet")


def cold_start_wape(
    histories: Sequence[SiteHistory], windows: Mapping[str, Window], *, site_id: str, seed: int = 0
) -> float:
    """WAPE of the median at a site that was never trained on, its own past known as features."""
    others = [
        training_part(one, windows.get(one.site_id)) for one in histories if one.site_id != site_id
    ]
    texts = fit(training_samples(others, seed=seed), seed=seed, targets=("q50",))
    own = next(one for one in histories if one.site_id == site_id)
    samples = test_rows(own, windows[site_id])
    return metrics.wape(samples.energy_kwh, predict_rows(texts, samples.rows)["q50"])


def judge(
    champion: Mapping[str, str],
    challenger: Mapping[str, str],
    histories: Sequence[SiteHistory],
    *,
    since: datetime,
) -> Comparison:
    """Compare two models on the origins since a moment that neither has seen beyond.

    Args:
        champion: Texts of the model in service.
        challenger: Texts of the one that would replace it.
        histories: The sites.
        since: When the younger of the two was trained.

    Raises:
        ValueError: If there is no hour to compare.
    """
    samples = holdout_samples(histories, since=since, stride_h=STRIDE_H, leads_h=HORIZONS_H)
    if samples.hour.size == 0:
        raise ValueError("no hour has passed that neither model has seen")
    first, second = predict_rows(champion, samples.rows), predict_rows(challenger, samples.rows)
    actual = samples.energy_kwh
    return compare(
        champion_loss=pinball(actual, quantiles_of(first)),
        challenger_loss=pinball(actual, quantiles_of(second)),
        challenger_error=np.abs(actual - second["q50"]),
        like_day_error=np.abs(actual - like_day_mean(samples.rows)),
        level=samples.rows.level_kwh,
        site=samples.site,
        site_ids=samples.site_ids,
        day=samples.hour // 24,
    )


def _served(model: TrainedModel, samples: Samples, site_id: str) -> dict[str, FloatArray]:
    """Predictions with the bounds that would have been served, learning from one another."""
    predicted = predict_rows(model.texts, samples.rows)
    own = scores_of(samples, predicted)[site_id]
    known = model.scores.get(site_id)
    scores = {site_id: known.and_also(own) if known is not None else own}
    return predicted | calibrated(samples, predicted, scores)


def _figures(
    history: SiteHistory, window: Window, samples: Samples, predicted: Mapping[str, FloatArray]
) -> SiteFigures:
    actual, median, mean = samples.energy_kwh, predicted["q50"], predicted["mean"]
    naive = min(
        metrics.mae(actual, seasonal_naive(samples.rows, period_h=period)) for period in (24, 168)
    )
    active, lower, upper = is_active(samples.rows), predicted["p10"], predicted["p90"]
    lead_h = samples.rows.column("lead_h").astype(int)

    def usual_pinball(*, is_utc: bool = False, is_relative: bool = False) -> float:
        usual = _climatology(history, window, samples, is_utc=is_utc, is_relative=is_relative)
        return float(np.mean(pinball(actual, usual)))

    total = max(float(np.mean(actual)), 1e-9)
    return SiteFigures(
        rows=actual.size,
        wape=metrics.wape(actual, median),
        r2=metrics.r2(actual, mean),
        mae_skill=metrics.skill(metrics.mae(actual, median), naive),
        naive_wape=naive / total,
        like_day_wape=metrics.wape(actual, like_day_mean(samples.rows)),
        wape_of_mean=metrics.wape(actual, mean),
        pinball=float(np.mean(pinball(actual, quantiles_of(predicted)))),
        climatology_pinball=usual_pinball(),
        level_climatology_pinball=usual_pinball(is_relative=True),
        utc_climatology_pinball=usual_pinball(is_utc=True),
        coverage_80=metrics.coverage(actual[active], lower[active], upper[active]),
        width_80_kwh=float(np.mean((upper - lower)[active])) if active.any() else 0.0,
        wape_by_lead={
            int(lead): metrics.wape(actual[lead_h == lead], median[lead_h == lead])
            for lead in np.unique(lead_h)
        },
        sessions_mae=metrics.mae(samples.sessions, predicted["sessions"]),
    )


def _climatology(
    history: SiteHistory, window: Window, samples: Samples, *, is_utc: bool, is_relative: bool
) -> FloatArray:
    """Quantiles of what was trained on by hour and day off, shape (rows, 7).

    Args:
        history: The site.
        window: What follows its training is left out.
        samples: The rows asked about.
        is_utc: Take hours of UTC instead of the site's own.
        is_relative: Take energy over the mean of the 28 days before it instead of kWh.
    """
    calendar = local_calendar(
        history.start,
        hours=history.hours,
        timezone=history.timezone,
        country=history.country,
        closures=history.closures,
    )
    every = np.arange(history.hours)
    hour = (history.start.hour + every) % 24 if is_utc else calendar.hour
    cell = hour + 24 * calendar.is_off_day[calendar.day]
    until_h = history.index_of(window.calibrate_from)
    since_h = history.index_of(window.train_from) if window.train_from else 0
    level = np.maximum(trailing_mean(history.energy_kwh, every, LEVEL_HOURS), MIN_LEVEL_KWH)
    energy = history.energy_kwh / level if is_relative else history.energy_kwh
    past = slice(max(since_h, LEVEL_HOURS if is_relative else 0), max(until_h, 0))
    table = np.zeros((48, len(LEVELS)))
    for each in range(48):
        values = energy[past][cell[past] == each]
        values = values[np.isfinite(values)]
        if values.size:
            table[each] = np.quantile(values, LEVELS)
    found: FloatArray = table[cell[samples.rows.target]]
    return found * samples.rows.level_kwh[:, np.newaxis] if is_relative else found
