"""Fleet runs and what a vehicle should do, as callers see them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from backend.features.federated.fleet_terms import MOST_CELLS, MOST_SEALED_VEHICLES
from backend.paging import Body
from backend.units import WHOLE, SocPercent, UtcDatetime

Action = Literal["charge", "discharge", "idle"]
Labels = Literal["rule", "planner"]
Share = Annotated[float, Field(ge=0, le=1)]


class FleetPrivacyIn(Body):
    """How updates of vehicles are hidden: clipped, and noise added to their sum."""

    clip_norm: float = Field(default=1.0, gt=0, le=100, description="Largest norm of an update")
    noise_multiplier: float = Field(
        default=8.0, ge=0.5, le=1_000, description="Of the noise on the sum, over `clip_norm`"
    )
    delta: float = Field(default=1e-5, ge=1e-12, le=1e-3)


class FleetRunNew(Body):
    """A simulated fleet to train."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"vehicles": 20, "steps": 40, "seed": 7, "labels": "rule"}],
        }
    )

    vehicles: Annotated[int, WHOLE] = Field(ge=2, le=5_000, examples=[1_000])
    steps: Annotated[int, WHOLE] = Field(
        ge=10,
        le=1_000,
        examples=[200],
        description=f"Hours; every ten are a round. Vehicles times steps: {MOST_CELLS} at most",
    )
    seed: Annotated[int, WHOLE] = Field(default=7, ge=0, le=2**31 - 1)
    labels: Labels = Field(
        default="rule",
        description="Who says what was right: the rule on SoC and price, or day-ahead V2G plans",
    )
    privacy: FleetPrivacyIn | None = None
    seal_blocks: bool = Field(
        default=False,
        description="Enter the simulated flows into the charge ledger and seal a block every ten "
        f"steps; for {MOST_SEALED_VEHICLES} vehicles at most",
    )


class FleetRoundView(BaseModel):
    """How a round left the fleet; means over vehicles on hours that none was trained on."""

    round_number: int
    accuracy: Share = Field(description="Of the shared model")
    log_loss: float = Field(description="Of the shared model, nats")
    local_accuracy: Share = Field(description="Of models that nobody helped")
    drawn: int = Field(description="Vehicles whose turn it was")
    trained: int = Field(description="Those of them that had seen something")
    # Runs that were stored before have none of these.
    bytes_moved: int | None = Field(default=None, description="Models out and updates back")
    epsilon: float | None = Field(
        default=None, description="Spent by a vehicle so far; null without privacy or bound"
    )


class FleetBaselines(BaseModel):
    """What has to be beaten for the curve to mean something."""

    majority_accuracy: Share = Field(description="Each vehicle always does its commonest action")
    fleet_majority_accuracy: Share = Field(description="All vehicles always do the commonest")
    local_accuracy: Share = Field(description="Each vehicle learned alone")


class FleetCostsView(BaseModel):
    """What the fleet's energy costs on the days of the run, at the simulated prices.

    Counted too: what batteries hold less at the end than at the start, at the mean price, and
    what they did not hold on the road, at the dearest.
    """

    at_once_eur: float = Field(description="Charging whenever plugged in")
    teacher_eur: float = Field(description="Doing as the labels say")
    model_eur: float = Field(description="Doing as the shared model says")
    cost_saved_eur: float = Field(description="By the model, beside charging at once")
    stranded_at_once_kwh: float = Field(description="Driving that the batteries did not hold")
    stranded_model_kwh: float = Field(description="The same where the model drives")


class FleetPrivacyView(BaseModel):
    """What the shared model may give away of one vehicle."""

    privacy_unit: Literal["vehicle"]
    epsilon: float | None = Field(description="Null where the bound is infinite")
    delta: float
    clip_norm: float
    noise_multiplier: float
    accounting: str

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise on the sum: noise_multiplier times clip_norm."""
        return self.noise_multiplier * self.clip_norm


class FleetRunResult(BaseModel):
    """What came of a run; vehicles, prices and flows are simulated."""

    run_id: str = Field(examples=["flt_01KAF0000000000000000000"])
    is_simulated: Literal[True]
    labels: Labels
    rounds: int
    accuracy: Share = Field(description="Of the shared model after the last round")
    convergence_round: int = Field(description="The first within 2 % of the best accuracy")
    curve: list[FleetRoundView]
    baselines: FleetBaselines
    privacy: FleetPrivacyView | None
    model_sha256: str
    model_bytes: int
    bytes_moved: int = Field(description="Models to the vehicles drawn and updates back")
    energy_cost_eur: float = Field(description="Of the teacher's flows, at the simulated price")
    costs: FleetCostsView
    flows_sealed: int | None = Field(description="Flows entered for blocks; null if not asked for")
    duration_s: float


class FleetRunExport(FleetRunResult):
    """A run with what was asked for, as it is exported."""

    terms: dict[str, Any]
    created_at: UtcDatetime


class DecisionAsked(Body):
    """What a vehicle sees."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"soc_percent": 35.0, "price_eur_per_kwh": 0.18, "hour": 2}],
        }
    )

    soc_percent: SocPercent
    price_eur_per_kwh: float = Field(ge=-10, le=10, examples=[0.18])
    hour: float = Field(ge=0, lt=24, description="Local hour of day", examples=[2])


class Decision(BaseModel):
    """What the newest run's model would do."""

    action: Action
    probabilities: dict[Action, Share]
    price_share: Share = Field(description="The price between the lowest and highest of the run")
    run_id: str
    model_sha256: str
    trained_at: UtcDatetime
    is_simulated: Literal[True] = Field(description="The model learned from simulated vehicles")
