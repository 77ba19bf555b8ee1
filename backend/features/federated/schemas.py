"""Experiments, rounds, updates and participants as callers see them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.features.federated.terms import IMBALANCE_EUR_PER_KWH
from backend.federation.tasks import Stage
from backend.paging import Body
from backend.units import PRINTABLE, WHOLE, UtcDatetime

NAME = r"^[A-Za-z0-9_.-]+$"
SHA256 = r"^[0-9a-f]{64}$"
Engine = Literal["embedded", "edge", "flower"]
Mode = Literal["validated", "secure", "cells"]
Strategy = Literal["validated", "fedavg", "fedprox", "median", "trimmed_mean", "krum"]
RoundState = Literal["opened", "collecting", "validating", "aggregating", "closed", "failed"]
Sha256 = Annotated[str, Field(pattern=SHA256, examples=["0" * 64])]


class PrivacyTerms(Body):
    """Example-level DP-SGD at each site: hides a single hour of its history, not the site."""

    clip_norm: Annotated[float, Field(gt=0, le=100, description="Bound of a gradient")] = 1.0
    noise_multiplier: Annotated[
        float, Field(ge=0.1, le=100, description="Standard deviation over clip_norm")
    ] = 1.0
    max_epsilon: Annotated[
        float, Field(gt=0, le=100, description="Budget; a site beyond it is not asked any more")
    ] = 3.0


class RoundsNew(Body):
    """How to train; everything may be left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"num_rounds": 5, "min_fit_clients": 3, "min_available_clients": 5}]
        }
    )

    num_rounds: Annotated[int, Field(ge=1, le=200), WHOLE] = 10
    min_fit_clients: Annotated[
        int, Field(ge=1, le=10_000, description="Updates that a round needs"), WHOLE
    ] = 3
    min_available_clients: Annotated[
        int, Field(ge=1, le=10_000, description="Participants that have to be there"), WHOLE
    ] = 5
    quality_threshold: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="Floor beside the relative gate: an update that raises the committee's "
            "median loss by more than this share is rejected",
        ),
    ] = 0.15
    strategy: Strategy = "validated"
    mode: Mode = "validated"
    privacy: PrivacyTerms | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), WHOLE] = 7
    experiment_id: Annotated[
        str | None,
        Field(min_length=1, max_length=40, pattern=NAME, description="A new name of your choice"),
    ] = None
    engine: Annotated[
        Engine | None,
        Field(description="Who trains: sites of this service, gateways over HTTP, SuperNodes"),
    ] = None
    family: Literal["mlp", "linear"] = "mlp"
    fraction_fit: Annotated[
        float, Field(gt=0, le=1, description="Share of the participants drawn each round")
    ] = 1.0
    local_epochs: Annotated[int, Field(ge=1, le=50), WHOLE] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.005
    deadline_s: Annotated[
        float, Field(ge=0.1, le=86_400, description="Who has not sent by then dropped out")
    ] = 60.0
    imbalance_eur_per_kwh: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="What a kWh that was forecast wrongly is taken to cost; `cost_saved` "
            "figures rest upon it and nothing else does",
        ),
    ] = IMBALANCE_EUR_PER_KWH


class UpdateView(BaseModel):
    """One update of a round."""

    model_config = ConfigDict(from_attributes=True)

    participant: str
    sha256: str
    size_bytes: int
    num_examples: int = Field(description="As claimed; how much of it counts is capped")
    metrics: dict[str, Any] = Field(description="What the participant says of itself")
    is_signed: bool
    norm: float | None
    clip_factor: float | None
    score: float | None = Field(description="Median gain that the committee saw")
    verdict: str | None = Field(description="Null until the round is aggregated")
    reason: str | None
    received_at: UtcDatetime


class ValidationView(BaseModel):
    """What a member of the committee said."""

    model_config = ConfigDict(from_attributes=True)

    participant: str
    gains: dict[str, float] = Field(description="Relative fall of its loss by update hash")
    received_at: UtcDatetime


class RoundView(BaseModel):
    """A round in a list."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["frd_01KAF0000000000000000000"])
    experiment_id: str
    number: int
    state: RoundState
    parent_sha256: str
    model_sha256: str | None
    selected: list[str]
    committee: list[str]
    quorum: int
    opened_at: UtcDatetime
    deadline_at: UtcDatetime | None
    closed_at: UtcDatetime | None
    phases: dict[str, float] = Field(description="Seconds in each state")
    metrics: dict[str, Any] | None
    reason: str | None


class RoundDetail(RoundView):
    """A round with all that was sent and what became of it."""

    updates: list[UpdateView]
    validations: list[ValidationView]
    refused: dict[str, int] = Field(description="What was refused at the door, by reason")
    dropouts: list[str] = Field(description="Selected, and nothing came")


class CurvePoint(BaseModel):
    """One round of an experiment."""

    round: int
    state: RoundState
    duration_s: float | None
    participation: float | None = Field(description="Updates over selected participants")
    accepted: int | None
    loss: float | None = Field(description="Median holdout loss of the model the round began with")
    r2: float | None = Field(description="Median holdout R² of that model")
    wape: float | None = Field(description="Its median error, as a share of the energy charged")
    usual_wape: float | None = Field(description="The same of usual days, without any model")
    cost_saved_eur_per_mwh: float | None = Field(
        description="What that model's better forecast is worth at the median site, at the assumed "
        "price of imbalance; negative where usual days do better, null where nobody says"
    )
    trained_loss: float | None = Field(description="The loss after local training")
    trained_r2: float | None
    bytes_moved: int | None
    cpu_s: float | None = Field(description="Of the conducting process")
    rss_mb: float | None = Field(description="Memory of that process at the round's end")
    epsilon: float | None = Field(description="Largest of a site so far")
    noise_scale: float | None = Field(description="noise_multiplier times clip_norm")
    gas_used: int | None = Field(
        description="Paid so far for its verdicts on the chain; null before any is in a block"
    )
    model_sha256: str | None


class ExperimentView(BaseModel):
    """A run of rounds and its figures."""

    id: str
    state: Literal["running", "closed", "failed"]
    engine: Engine
    keys_held_by: Literal["service", "participants"] = Field(
        description="Embedded participants are threads of this service, which holds their keys"
    )
    terms: dict[str, Any]
    initial_sha256: str
    model_sha256: str | None
    model_id: str | None
    job_id: str | None
    reason: str | None
    created_at: UtcDatetime
    finished_at: UtcDatetime | None
    privacy_unit: str | None = Field(description="What an epsilon hides; null without privacy")
    summary: dict[str, Any] | None
    gas_used: int | None = Field(
        description="Paid so far for the verdicts of its rounds and of its model on the chain; "
        "null before any is in a block"
    )
    rounds: list[CurvePoint]


class ParticipantNew(Body):
    """A site that wants to take part."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": "site_hq",
                    "did": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
                }
            ]
        }
    )

    site_id: Annotated[str, Field(min_length=1, max_length=64, pattern=NAME)]
    did: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            pattern=PRINTABLE,
            description="Whose key signs its updates; the caller's own if left out. Another than "
            "the caller's only in the demo.",
        ),
    ] = None
    engine: Annotated[
        Literal["edge", "flower"],
        Field(description="`flower`: its SuperNode takes part, whose key the operator registers"),
    ] = "edge"


class ParticipantView(BaseModel):
    """A participant; by its site, without its key."""

    model_config = ConfigDict(from_attributes=True)

    site_id: str
    engine: Engine
    assurance: str
    state: Literal["active", "suspended", "left"]
    strikes: int = Field(description="Repeated failures before different committees")
    enrolled_at: UtcDatetime


class ParticipantsView(BaseModel):
    """Who can take part."""

    participants: list[ParticipantView]


class TaskView(BaseModel):
    """What a participant is asked to do now."""

    kind: Literal["train", "score", "judge", "mask"]
    round_id: str
    experiment_id: str
    round_number: int
    participant: str
    family: Literal["mlp", "linear"]
    parent_sha256: str
    weights: str = Field(description="npz, base64")
    settings: dict[str, Any] | None = Field(description="How to train")
    candidates: dict[str, str] = Field(description="Updates to score: npz, base64, by hash")
    stage: Stage | None = Field(description="Of a masked sum: which letter is asked for")
    group: str | None = Field(description="Whose sum it is: `all sites`, or a cell's name")
    clip_norm: float | None = Field(description="Longest update that may go into the sum")
    letters: dict[str, str] = Field(description="What the others said so far: base64, by kind")
    deadline_at: UtcDatetime | None
    asked_at: UtcDatetime = Field(description="The service's time, by which statements expire")


class ScoresNew(Body):
    """A committee member's scores."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gains": {"0" * 64: 0.02}}]})

    gains: Annotated[
        dict[Annotated[str, Field(pattern=SHA256)], Annotated[float, Field(ge=-1, le=1)]],
        Field(
            min_length=1,
            max_length=1_000,
            # Without this the schema would let other keys through, with any value.
            json_schema_extra={"additionalProperties": False},
        ),
    ]


class JudgementNew(Body):
    """How an experiment's last model does on a site's own holdout."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"loss": 0.021, "r2": 0.64}]})

    loss: Annotated[float, Field(ge=0, le=1e9)]
    r2: Annotated[float, Field(ge=-1e9, le=1)]
    wape: Annotated[
        float | None, Field(ge=0, le=1e9, description="Absolute errors per energy charged")
    ] = None
    usual_wape: Annotated[
        float | None, Field(ge=0, le=1e9, description="The same of usual days, without the model")
    ] = None


class Received(BaseModel):
    """The service has it, and will have it after a crash."""

    round_id: str
    participant: str
    sha256: str


class NewcomerView(BaseModel):
    """A new site with little history, alone and with the federation."""

    site_id: str
    history_h: int = Field(description="Hours of its own that it learned from")
    test_h: int = Field(description="Later hours that both are judged on")
    model_sha256: str
    alone_r2: float
    federated_r2: float
    personalised_r2: float
    like_day_r2: float
    is_simulated: bool
