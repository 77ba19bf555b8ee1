"""Reports as callers see them."""

from pydantic import BaseModel, Field


class SiteAnalytics(BaseModel):
    """What a site did and saved."""

    site_id: str
    total_sessions: int
    total_energy_kwh: float
    total_revenue_eur: float
    avg_session_duration_hours: float
    peak_hour: int | None = Field(description="Site-local hour of the day with most energy")
    peak_demand_kwh: float = Field(description="Energy of that hour of day over all days")
    cost_savings_eur: float = Field(description="Uncontrolled minus actual purchase cost")
    incentive_acceptance_rate: float = Field(description="Accepted share of decided offers")
