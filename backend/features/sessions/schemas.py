"""Charging sessions as callers see and send them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from backend.documentation import ahead
from backend.features.credentials.card_numbers import CardKind
from backend.features.credentials.cards_router import Number as CardNumber
from backend.features.credentials.schemas import Document, Nonce
from backend.features.sites.schemas import ChargerDid, Location, SiteId
from backend.features.vehicles.sheets import VehicleEquipment
from backend.features.vehicles.trips import Conditions, Legs, LegView
from backend.paging import Body
from backend.units import (
    PRINTABLE,
    CapacityKwh,
    ConsumptionWhPerKm,
    DistanceKm,
    EnergyKwh,
    PowerKw,
    PriceEurPerKwh,
    SocPercent,
    UtcDatetime,
)

Did = Annotated[
    str,
    Field(
        pattern=r"^did:[a-z0-9]{1,20}:[A-Za-z0-9._:%-]{1,200}$",
        examples=["did:denso:driver:driver001"],
    ),
]
CredentialClaim = Annotated[
    str, Field(pattern=r"^[A-Za-z]{1,40}:[A-Za-z0-9 ._-]{1,100}$", examples=["Employee:TechCorp"])
]
Text = Annotated[str, Field(min_length=1, max_length=120, pattern=PRINTABLE)]
PlanType = Literal["GREEN", "ECONOMY", "FAST", "STANDARD"]
Status = Literal["reserved", "active", "suspended", "completed", "cancelled", "expired"]
Assurance = Literal["simulated", "verified", "card", "guest"]


class V2gConsent(Body):
    """The driver agrees, for this stay alone, that the site borrows energy from the battery.

    It never falls below trip and reserve for it, and leaves with all that was asked for.
    """

    min_soc_percent: SocPercent = Field(default=0, description="Never below, even if more is spare")
    wear_eur_per_kwh: PriceEurPerKwh = Field(
        default=0.05, description="What each kWh given must save the site at least"
    )
    max_power_kw: PowerKw | None = None


class Preferences(Body):
    """What the driver cares about."""

    priority: Literal["cost", "speed", "carbon"] | None = "cost"
    carbon_conscious: bool = False
    comfort_soc_percent: SocPercent | None = Field(
        default=None, description="Charge to this even if the trip needs less"
    )
    v2g: V2gConsent | None = Field(
        default=None, description="Without it nothing is ever taken out of the vehicle"
    )


class DriverIn(Body):
    """Who charges."""

    did: Did
    credentials: list[CredentialClaim] = Field(default=[], max_length=20)
    preferences: Preferences = Preferences()
    allowed_sites: list[SiteId] | None = Field(default=None, max_length=100)


class VehicleIn(Body):
    """What charges; what is left out is taken from the registered data sheet."""

    did: Annotated[Did, Field(examples=["did:denso:vehicle:vehicle001"])]
    battery_capacity_kwh: CapacityKwh | None = None
    nominal_consumption_wh_per_km: ConsumptionWhPerKm | None = None
    max_charge_power_kw: PowerKw | None = None
    current_soc_percent: SocPercent | None = Field(
        default=None, description="Without it the last telemetry counts, else the whole trip"
    )
    equipment: VehicleEquipment | None = Field(
        default=None, description="Phases, taper, energy out of it; registered if left out"
    )


class ChargerIn(Body):
    """Where it charges; registered values beat what is said here."""

    did: ChargerDid
    site_id: SiteId | None = None
    max_power_kw: PowerKw | None = None
    location: Location | None = None
    current_availability: bool | None = None
    current_tariff_eur_per_kwh: PriceEurPerKwh | None = None


TRIP_FORMS = ("distance_km", "target_soc_percent", "energy_kwh", "legs")
TripModel = Literal["plain_formula", "physical", "plain_formula_chain", "physical_chain"]


class TripIn(Body):
    """Where the vehicle goes next: exactly one of distance, target, energy or a chain of legs."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [form]} for form in TRIP_FORMS]}
    )

    distance_km: DistanceKm | SkipJsonSchema[None] = None
    target_soc_percent: SocPercent | SkipJsonSchema[None] = None
    energy_kwh: EnergyKwh | SkipJsonSchema[None] = None
    legs: Legs | SkipJsonSchema[None] = None
    conditions: Conditions | None = Field(
        default=None, description="Makes the energy of a distance physical, never below the formula"
    )
    departure_time: UtcDatetime | None = Field(
        default=None,
        description="With offset; without it the usual stay at the site is used",
        examples=[ahead(6)],
    )

    @model_validator(mode="after")
    def _exactly_one_form(self) -> Self:
        given = [form for form in TRIP_FORMS if form in self.model_fields_set]
        if len(given) != 1 or getattr(self, given[0]) is None:
            raise ValueError(f"give exactly one of {', '.join(TRIP_FORMS)}")
        return self

    @property
    def total_km(self) -> float | None:
        """Distance of the whole trip, where it is stated."""
        return self.distance_km if self.legs is None else sum(one.distance_km for one in self.legs)


class SessionStart(Body):
    """A driver plugs in and says where they go next and when.

    Instead of a token they may present their credentials right here, for a challenge of purpose
    `session-start:{charger}`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"presentation": ["challenge"], "challenge": ["presentation"]}
        }
    )

    driver: DriverIn
    vehicle: VehicleIn
    charger: ChargerIn
    trip: TripIn
    billing_party: Text | None = None
    cost_center: Text | None = None
    presentation: Document | SkipJsonSchema[None] = Field(
        default=None, description="A presentation by the driver: JWT, JSON text or JSON object"
    )
    challenge: Nonce | SkipJsonSchema[None] = Field(
        default=None, description="The challenge it answers"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        given = {"presentation", "challenge"} & self.model_fields_set
        if given and (self.presentation is None or self.challenge is None):
            raise ValueError("a presentation and its challenge come together")
        return self


class CardStart(Body):
    """A card was held to a charger's reader, or a contract read from the cable."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "rfid",
                    "number": "04:A2:2B:9C:6F:61:80",
                    "charger_did": "did:denso:charger:site_hq_chr01",
                }
            ]
        }
    )

    kind: CardKind
    number: CardNumber
    charger_did: ChargerDid
    vehicle_did: Did | None = Field(
        default=None, description="If the card stands for no vehicle of its own"
    )
    current_soc_percent: SocPercent | None = None
    trip: TripIn | None = Field(default=None, description="Up to 80 % for the usual stay if absent")


class ProvedBy(BaseModel):
    """A credential that was verified for a start; `used` says whether it counted."""

    credential_type: str
    issuer: str
    subject: str | None = Field(default=None, description="Vehicle or charger it describes")
    credential_hash: str | None = None
    valid_until: UtcDatetime | None = None
    used: bool
    reason: str | None = Field(
        default=None,
        description="Why it did not: `another_vehicle`, `another_charger`, `another_site`, "
        "`outside_slot`",
    )
    assurance: Literal["verified"] = "verified"


class OfferView(BaseModel):
    """What the driver may get for charging another way."""

    offer_id: str
    type: Literal["discount", "reward_points", "priority_slot"]
    value: float = Field(description="Per cent, points or kWh, as the type says")
    reason: str
    time_slot: str | None = Field(description="Start and end, ISO 8601 interval")
    state: Literal["offered", "accepted", "declined"]


class Slot(BaseModel):
    """A stretch at one power; power and energy are negative out of the vehicle."""

    start: UtcDatetime
    end: UtcDatetime
    power_kw: float
    energy_kwh: float
    purchase_price_eur_per_kwh: float


class ReasonView(BaseModel):
    """One cause of the plan."""

    code: str
    text: str


class Formula(BaseModel):
    """The plain formula that every plan can be checked against."""

    needed_trip_energy_kwh: float
    current_energy_kwh: float
    extra_energy_needed_kwh: float
    target_soc_percent: float
    effective_charge_power_kw: float
    charging_time_hours: float
    cost_eur: float
    is_feasible: bool


class Overridden(BaseModel):
    """A statement of the request that a registered value replaced."""

    field: str
    stated: Any
    used: Any


class V2gView(BaseModel):
    """Whether the site may borrow energy from the battery, and on which terms."""

    is_allowed: bool
    reason: str
    floor_soc_percent: float | None = Field(default=None, description="Trip, reserve and wish")
    max_power_kw: float | None = None
    wear_eur_per_kwh: float | None = None
    credit_eur_per_kwh: float | None = Field(
        default=None, description="Taken off the bill for each metered kWh given"
    )


class Plan(BaseModel):
    """What will happen, what it costs, and why."""

    needed_trip_energy_kwh: float
    current_energy_kwh: float
    extra_energy_needed_kwh: float
    target_soc_percent: float
    effective_charge_power_kw: float
    planned_energy_kwh: float = Field(description="Metered energy into the vehicle")
    planned_discharge_kwh: float = Field(
        default=0, description="Energy it lends the site, back in it before it leaves"
    )
    planned_duration_hours: float
    planned_start_time: UtcDatetime | None
    planned_finish_time: UtcDatetime
    departure_time: UtcDatetime
    is_feasible: bool
    feasibility_warning: str | None
    short_by_kwh: float
    planned_cost_eur: float
    cost_if_charged_now_eur: float
    planned_purchase_cost_eur: float
    purchase_cost_if_charged_now_eur: float
    plan_type: PlanType
    incentive_offers: list[OfferView]
    slots: list[Slot]
    reasons: list[ReasonView]
    formula: Formula
    trip_model: TripModel
    legs: list[LegView] = Field(default=[], description="Of a trip that is a chain")
    method: Literal["optimal", "fallback"]
    version: int
    soc_source: Literal["request", "telemetry", "forecast", "assumed_empty"]
    departure_source: Literal["request", "moved_to_next_day", "usual_stay"]
    v2g: V2gView | None = None
    forecast_source: str | None


class SessionStarted(BaseModel):
    """The session and its plan."""

    session_id: str
    status: Status
    plan: Plan
    message: str
    assurance: Assurance
    warnings: list[str]
    overridden: list[Overridden]
    proved: list[ProvedBy] = Field(default=[], description="The credentials it rests upon")


class SessionView(BaseModel):
    """One charging session."""

    session_id: str
    driver_did: str
    vehicle_did: str
    charger_did: str
    site_id: str
    status: Status
    start_time: UtcDatetime
    end_time: UtcDatetime | None
    departure_time: UtcDatetime
    plan: Plan | None
    energy_delivered_kwh: float
    energy_discharged_kwh: float = Field(description="Metered energy out of the vehicle")
    final_soc_percent: float | None
    final_cost_eur: float | None
    plausibility: str | None
    billing_party: str | None
    cost_center: str | None
    assurance: Literal["simulated", "verified", "card", "guest", "record"]
    proved: list[ProvedBy] = Field(default=[], description="The credentials it rests upon")


class SessionSummary(BaseModel):
    """One charging session in a list."""

    session_id: str
    driver_did: str
    vehicle_did: str
    charger_did: str
    site_id: str
    status: Status
    start_time: UtcDatetime
    end_time: UtcDatetime | None
    departure_time: UtcDatetime
    energy_delivered_kwh: float
    final_cost_eur: float | None
    billing_party: str | None
    cost_center: str | None


class SessionComplete(Body):
    """What the vehicle got; meter readings, where there are any, outrank it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"energy_delivered_kwh": 25.5, "final_soc_percent": 85.0}]}
    )

    energy_delivered_kwh: EnergyKwh | None = None
    final_soc_percent: SocPercent | None = None


class SessionCompleted(BaseModel):
    """The bill."""

    session_id: str
    final_cost_eur: float
    energy_delivered_kwh: float
    duration_hours: float
    message: str
    status: Status
    short_by_kwh: float
    energy_discharged_kwh: float = Field(description="Metered energy out of the vehicle")
    v2g_credit_eur: float = Field(description="Taken off the bill for it")
    reward_points: int
    plausibility: Literal["plausible", "implausible"]
    plausibility_reason: str | None
    overridden: list[Overridden]
    assurance: Assurance


class MeterReading(Body):
    """Energy since the session began."""

    at: UtcDatetime = Field(examples=[ahead(0)])
    energy_delivered_kwh: EnergyKwh
    energy_discharged_kwh: EnergyKwh = Field(
        default=0, description="Out of the vehicle since the session began, counted apart"
    )
    power_kw: float | None = Field(
        default=None, ge=-2_000, le=2_000, description="Negative out of the vehicle"
    )
    soc_percent: SocPercent | None = None


class MeterReadings(Body):
    """Readings of one session, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"values": [{"at": ahead(0), "energy_delivered_kwh": 0.2, "power_kw": 11.0}]}
            ]
        }
    )

    values: list[MeterReading] = Field(min_length=1, max_length=1_000)


class MeterAccepted(BaseModel):
    """What became of the readings."""

    session_id: str
    accepted: int
    repeated: int
    energy_delivered_kwh: float
    implausible: list[str]


class OfferDecided(BaseModel):
    """An offer after the driver's decision."""

    session_id: str
    offer: OfferView
    plan: Plan | None
    message: str


class QuoteRequest(Body):
    """The question before plugging in: at one charger, or at any of a site."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": "site_hq",
                    "driver": {"did": "did:denso:driver:driver001"},
                    "vehicle": {
                        "did": "did:denso:vehicle:vehicle001",
                        "battery_capacity_kwh": 75,
                        "nominal_consumption_wh_per_km": 180,
                        "max_charge_power_kw": 150,
                        "current_soc_percent": 20,
                    },
                    "trip": {"distance_km": 150, "departure_time": ahead(5)},
                }
            ]
        }
    )

    driver: DriverIn
    vehicle: VehicleIn
    charger: ChargerIn | None = None
    site_id: SiteId | None = Field(default=None, description="Ranks the site's free chargers")
    trip: TripIn


class QuotedCharger(BaseModel):
    """What charging at one charger would come to."""

    charger_did: str
    max_power_kw: float
    is_feasible: bool
    short_by_kwh: float
    ready_at: UtcDatetime
    departure_time: UtcDatetime
    planned_energy_kwh: float
    planned_cost_eur: float
    cost_if_charged_now_eur: float
    planned_purchase_cost_eur: float
    effective_charge_power_kw: float
    reasons: list[ReasonView]


class Quote(BaseModel):
    """Nothing was stored; the best choice comes first."""

    site_id: str
    options: list[QuotedCharger]
    needed_trip_energy_kwh: float
    extra_energy_needed_kwh: float
    trip_model: TripModel
    legs: list[LegView]
    message: str
    warnings: list[str]
    assurance: Assurance


class SessionChange(Body):
    """What to change of a running session; what is left out stays."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"trip": {"distance_km": 60, "departure_time": ahead(3)}}]}
    )

    trip: TripIn | None = None
    priority: Literal["cost", "speed", "carbon"] | None = None


class SessionChanged(BaseModel):
    """The session with its new plan."""

    session_id: str
    plan: Plan
    message: str
    warnings: list[str]


BindingLimit = Literal["charger", "site", "group", "peak", "phases", "taper"]


class ExplainedSlot(BaseModel):
    """Why a stretch of the stay is used, or not."""

    start: UtcDatetime
    end: UtcDatetime
    power_kw: float
    charges: bool
    binding_limit: BindingLimit | None = Field(description="What keeps the power from being higher")
    marginal_price_eur_per_kwh: float | None = Field(
        description="Purchase price and preference, with the room a kWh takes from others; null "
        "for a plan without prices, and where the room is somebody's missing energy"
    )
    text: str


class Explanation(BaseModel):
    """Why the plan is as it is."""

    session_id: str
    sentence: str
    slots: list[ExplainedSlot]
    reasons: list[ReasonView]
    marginal_price_eur_per_kwh: float | None = Field(
        description="What one kWh more would cost; null if somebody would go short of it"
    )
    one_hour_longer_saves_eur: float = Field(
        description="What the site would pay less, were it to leave an hour later"
    )
    one_hour_longer_brings_kwh: float = Field(
        description="Missing energy that an hour longer would bring"
    )
    cost_if_charged_now_eur: float
    planned_cost_eur: float
    formula: Formula
    trip_model: TripModel
    legs: list[LegView]


class ReservationNew(Body):
    """A charger to keep: a named one, or the site's weakest that is free."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": "site_hq",
                    "driver_did": "did:denso:driver:driver001",
                    "from": ahead(2),
                    "to": ahead(5),
                    "distance_km": 80,
                }
            ]
        }
    )

    site_id: SiteId | None = None
    charger_did: ChargerDid | None = None
    driver_did: Did
    vehicle_did: Did | None = None
    starts_at: UtcDatetime = Field(alias="from")
    ends_at: UtcDatetime = Field(alias="to")
    distance_km: DistanceKm | None = None


class ReservationView(BaseModel):
    """A charger kept for a driver."""

    reservation_id: str
    site_id: str
    charger_did: str
    driver_did: str
    vehicle_did: str | None
    distance_km: float | None
    starts_at: UtcDatetime = Field(serialization_alias="from")
    ends_at: UtcDatetime = Field(serialization_alias="to")
    status: Literal["reserved", "used", "released", "no_show"]


class Window(BaseModel):
    """When a charger is taken."""

    start: UtcDatetime
    end: UtcDatetime
    by: Literal["reservation", "session"]


class ChargerAvailability(BaseModel):
    """When one charger is free."""

    charger_did: str
    max_power_kw: float
    status: str
    is_free: bool = Field(description="Free for the whole span")
    taken: list[Window]


class Availability(BaseModel):
    """When a site's chargers are free."""

    site_id: str
    since: UtcDatetime = Field(serialization_alias="from")
    until: UtcDatetime = Field(serialization_alias="to")
    chargers: list[ChargerAvailability]
