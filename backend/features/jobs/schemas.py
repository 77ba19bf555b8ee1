"""Jobs as callers see them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.units import UtcDatetime


class JobView(BaseModel):
    """Long work: one shape for everything."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["job_01KAF0000000000000000000"])
    kind: str = Field(examples=["forecasts.train"])
    state: Literal["queued", "running", "succeeded", "failed"]
    progress: float = Field(ge=0, le=1)
    stage: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: UtcDatetime
    finished_at: UtcDatetime | None
