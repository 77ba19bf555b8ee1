"""Forecasts and models as callers see them."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from backend.documentation import ahead
from backend.paging import Body
from backend.units import PRINTABLE, UtcDatetime


class TrainingResult(BaseModel):
    """A trained model and how well it does on hours it had not seen."""

    status: Literal["success"]
    message: str
    model_id: str
    metrics: dict[str, Any] = Field(
        description="train_r2, test_r2, mae, rmse, wape, skill against the seasonal naive, …"
    )


class ForecastSlot(BaseModel):
    """Demand of one hour, or of one quarter of an hour."""

    time_slot: UtcDatetime = Field(description="Beginning of the slot")
    predicted_total_kwh: float = Field(description="Mean")
    predicted_active_sessions: float = Field(description="Mean number of vehicles plugged in")
    confidence_lower: float = Field(description="10 % of slots stay below")
    confidence_upper: float = Field(description="10 % of slots go above")
    predicted_median_kwh: float | None = Field(
        default=None, description="Half of the hours stay below; of hours only"
    )
    predicted_sessions_started: float | None = Field(
        default=None, description="Sessions that begin; of hours only"
    )


class KnownInAdvance(BaseModel):
    """A regressor of the hours ahead that the model was shown."""

    name: str = Field(examples=["temperature_c"])
    source: str = Field(description="Who says so", examples=["weather service"])
    is_simulated: bool


class SiteForecastView(BaseModel):
    """Demand of a site, slot by slot."""

    site_id: str
    issued_at: UtcDatetime
    source: Literal["lightgbm", "like_day", "site_class"] = Field(
        description="The champion, the mean of like days, or sites of the same kind"
    )
    model_id: str | None
    fallback_reason: str | None = Field(description="Why the champion does not answer")
    resolution: Literal["1h", "15min"]
    history_until: UtcDatetime | None = Field(description="End of the last observed hour")
    is_stale: bool = Field(
        description="No longer observed: the forecast begins where the history ends"
    )
    has_wide_band: bool = Field(description="Widened, because the site has changed lately")
    known_in_advance: list[KnownInAdvance] = Field(
        description="Regressors of these hours; empty where the model does not answer"
    )
    forecasts: list[ForecastSlot]


class ExplainedSlot(BaseModel):
    """What one hour's mean is made of."""

    time_slot: UtcDatetime
    level_kwh: float = Field(description="The site's mean of the last four weeks, per hour")
    base_factor: float = Field(description="What an average hour makes of the level")
    factors: dict[str, float] = Field(
        description="The strongest features; level, base and all factors multiply to the mean"
    )
    other_factors: float = Field(description="All other features together")


class ExplanationView(BaseModel):
    """Contributions of features to the champion's means."""

    site_id: str
    model_id: str | None
    reason: str | None = Field(description="Why there is nothing to explain")
    slots: list[ExplainedSlot]


class LeadBandAccuracy(BaseModel):
    """How issued forecasts of some lead times did; null where there is nothing to tell from."""

    model_config = ConfigDict(from_attributes=True)

    from_lead_h: int
    to_lead_h: int
    hours: int
    mae_kwh: float | None
    wape: float | None
    skill_vs_seasonal_naive: float | None
    coverage_80: float | None


class AccuracyView(BaseModel):
    """The last 30 days' forecasts of a site beside what happened."""

    site_id: str
    since: UtcDatetime
    by_lead: list[LeadBandAccuracy] = Field(description="The last entry holds every lead time")
    backtest: dict[str, float] | None = Field(
        description="How the model in service did on hours it had not seen"
    )


class AlarmView(BaseModel):
    """A change that was found."""

    model_config = ConfigDict(from_attributes=True)

    day: date
    signal: Literal["residual", "misses"]
    is_sure: bool = Field(description="ADWIN; else a warning by Page-Hinkley")
    noticed_at: UtcDatetime


class SiteDrift(BaseModel):
    """What is known about changes of a site."""

    site_id: str
    work_days: int = Field(description="Whole work days observed; 90 are the reference")
    population_stability: float | None = Field(
        description="PSI of two weeks against the 90 days before, for information; 0.25 is much"
    )
    has_wide_band: bool
    alarms: list[AlarmView]


class DriftView(BaseModel):
    """Changes of every site, and what speaks for training anew."""

    retrain_reasons: list[str]
    sites: list[SiteDrift]


def _from_iso(value: object) -> object:
    """Read a day such as 2026-12-24; numbers and times are refused."""
    if isinstance(value, str) and len(value) == len("2026-12-24"):
        return date.fromisoformat(value)
    return value


class Closure(Body):
    """A local day on which a site is closed."""

    day: Annotated[date, BeforeValidator(_from_iso)]
    reason: Annotated[str, Field(min_length=1, max_length=120, pattern=PRINTABLE)] = "closed"


class ClosuresNew(Body):
    """All days on which a site is closed; they replace those known before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"closures": [{"day": "2026-12-24", "reason": "Company holidays"}]}]
        }
    )

    closures: Annotated[list[Closure], Field(max_length=1_000)]


class ClosureView(BaseModel):
    """A local day on which a site is closed."""

    model_config = ConfigDict(from_attributes=True)

    day: date
    reason: str


class ClosuresView(BaseModel):
    """Days on which a site is closed."""

    site_id: str
    closures: list[ClosureView]


class RegressorValue(Body):
    """A value of one hour."""

    valid_at: UtcDatetime
    value: Annotated[float, Field(ge=-1_000, le=100_000)]


class RegressorsNew(Body):
    """What is known ahead of time: a weather forecast or day-ahead prices."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "temperature_c",
                    "source": "weather service",
                    "values": [{"valid_at": ahead(1), "value": 4.5}],
                }
            ]
        }
    )

    name: Literal["temperature_c", "price_eur_per_kwh"]
    source: Annotated[str, Field(min_length=1, max_length=60, pattern=PRINTABLE)]
    is_simulated: bool = False
    values: Annotated[list[RegressorValue], Field(min_length=1, max_length=10_000)]


class RegressorsStored(BaseModel):
    """How many hours are known now."""

    site_id: str
    name: str
    stored: int


class ModelView(BaseModel):
    """A model version."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    status: Literal["champion", "challenger", "retired"]
    sha256: str = Field(description="Over the files")
    content_hash: str | None = Field(
        description="Over texts, features, scores, data and library versions"
    )
    feature_schema_hash: str | None
    data_fingerprint: str | None
    library_versions: dict[str, str] | None
    conformal: dict[str, list[float]] | None = Field(
        description="Level of each site's 80 % band by six hours of the day, work days first"
    )
    decision: dict[str, Any] | None = Field(description="Why it is in service, or is not")
    metrics: dict[str, Any]
    trained_at: UtcDatetime
    retired_at: UtcDatetime | None
