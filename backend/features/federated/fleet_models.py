"""Runs of a simulated fleet that learned when to charge and discharge."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class FleetRun(Base):
    """A run that ended: what was asked, what came of it, and its model by hash."""

    __tablename__ = "fleet_runs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    terms: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    model_sha256: Mapped[str] = mapped_column(ForeignKey("federated_weights.sha256"))
    # The prices that the model knows as 0 and 1.
    low_eur_per_kwh: Mapped[float]
    high_eur_per_kwh: Mapped[float]
    started_by: Mapped[str] = mapped_column(String(512))
    created_at: Mapped[datetime]
