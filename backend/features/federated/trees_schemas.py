"""Runs of trees as callers see them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.paging import Body
from backend.units import WHOLE, UtcDatetime

TreeTarget = Literal["energy_to_full", "plug_availability"]
GroupedBy = Literal["home_site", "fleet", "vehicle_group", "node"]
TreesEngine = Literal["embedded", "flower"]


class TreesRunNew(Body):
    """Boosted trees that participants grow together."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"target": "energy_to_full", "rounds": 4, "trees_per_round": 5, "seed": 7},
                {"target": "plug_availability"},
            ],
        }
    )

    target: TreeTarget
    rounds: Annotated[int, WHOLE] = Field(default=6, ge=1, le=12)
    trees_per_round: Annotated[int, WHOLE] = Field(
        default=5, ge=1, le=10, description="Of each participant"
    )
    seed: Annotated[int, WHOLE] = Field(default=7, ge=0, le=2**31 - 1)
    engine: TreesEngine = Field(
        default="embedded",
        description="`embedded` is this service's own telemetry; `flower` the rows that SuperNodes "
        "of a SuperLink hold",
    )


class TreesFigures(BaseModel):
    """How a model does on rows later than all it was grown on."""

    auc: float | None = Field(description="Of plug availability, over all horizons")
    log_loss: float | None = Field(description="Of plug availability, nats")
    mae_points: float | None = Field(
        description="Of energy to full, in points of state of charge, over all horizons"
    )


class TreesCompared(BaseModel):
    """Models beside each other on the same rows."""

    simple_rule: TreesFigures = Field(
        description="No trees: what like days had, or the state of charge and power of now"
    )
    alone: TreesFigures = Field(description="As many trees on the participant's own rows")
    together: TreesFigures = Field(description="The accepted trees of all participants")
    central: TreesFigures = Field(
        description="As many trees on everybody's rows in one place; null with nodes, whose rows "
        "are nowhere together"
    )
    served: TreesFigures | None = Field(
        default=None,
        description="What this service's own model in service says to the same rows, which it may "
        "have been trained on; null where there is none, or rows are not here",
    )


class TreesParticipant(TreesCompared):
    """A participant and its own rows."""

    participant: str = Field(examples=["site_hq"])
    vehicles: int | None = Field(description="Null where only its node knows")
    rows_train: int
    rows_judge: int
    rows_test: int


class TreesVerdict(BaseModel):
    """What became of one participant's trees."""

    participant: str
    verdict: str = Field(examples=["accepted"])
    reason: str
    gain: float | None = Field(
        description="How far the median member found the loss lowered; relative"
    )


class TreesRound(BaseModel):
    """How a round ended."""

    round_number: int
    accepted: int
    judge_loss: float | None = Field(
        description="Mean of what the participants say, of their own rows, in nats or points"
    )
    reason: str | None = Field(description="Why nothing was judged, where too few answered")
    verdicts: list[TreesVerdict]


class TreesLeftOut(BaseModel):
    """Who could not take part."""

    participant: str
    reason: str


class TreesRunResult(BaseModel):
    """What came of a run."""

    run_id: str = Field(examples=["trr_01KAF0000000000000000000"])
    target: TreeTarget
    grouped_by: GroupedBy = Field(
        description="What a participant is: the vehicles that charged most often at a site, a "
        "fleet, or, where neither is known, a group by the hash of the vehicle's DID; `node` is "
        "whoever holds the rows of a SuperNode"
    )
    engine: TreesEngine
    is_simulated: bool | None = Field(
        description="Whether any site is a demonstration; null if participants are no sites"
    )
    participants: list[TreesParticipant]
    left_out: list[TreesLeftOut]
    vehicles_without_participant: int
    rounds: list[TreesRound]
    over_all: TreesCompared = Field(description="On the test rows of all participants")
    model_id: str
    model_sha256: str = Field(description="Over the canonical texts of all trees and their shares")
    artefact_sha256: str = Field(description="Over the stored files, as it was registered")
    model_bytes: int = Field(description="As one text of LightGBM")
    trees: int
    bytes_moved: int
    trained_at: UtcDatetime
    duration_s: float
