"""What guests send and see."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.features.sessions.schemas import Status, TripIn
from backend.features.sites.schemas import ChargerDid
from backend.paging import Body
from backend.units import CapacityKwh, ConsumptionWhPerKm, PowerKw, SocPercent, UtcDatetime

SECRET = "hJ4v0bq3Zp8xT1mYw6sNc9LkRfEaUd2QoGiXyVtBn5M"  # noqa: S105 - an example of the form
Secret = Annotated[
    str, Field(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$", examples=[SECRET])
]


class GuestVehicle(Body):
    """What charges, as far as a guest knows."""

    battery_capacity_kwh: CapacityKwh = 60.0
    nominal_consumption_wh_per_km: ConsumptionWhPerKm = 180.0
    max_charge_power_kw: PowerKw = 100.0
    current_soc_percent: SocPercent | None = None


class GuestQuoteRequest(Body):
    """Where a guest wants to charge, and what for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "charger_did": "did:denso:charger:site_mall_chr01",
                    "vehicle": {"battery_capacity_kwh": 60, "current_soc_percent": 40},
                    "trip": {"energy_kwh": 20, "departure_time": ahead(3)},
                }
            ]
        }
    )

    charger_did: ChargerDid
    vehicle: GuestVehicle = GuestVehicle()
    trip: TripIn


class GuestPrice(BaseModel):
    """The tariff, VAT contained."""

    currency: str
    eur_per_kwh: float
    eur_per_session: float
    idle_eur_per_hour: float
    vat_percent: float


class GuestQuoted(BaseModel):
    """The price, before anything starts."""

    quote: str = Field(description="Starts this, once: POST /guests/sessions")
    expires_at: UtcDatetime
    site_id: str
    charger_did: str
    price: GuestPrice
    planned_cost_eur: float
    planned_energy_kwh: float
    ready_at: UtcDatetime
    departure_time: UtcDatetime
    is_feasible: bool
    short_by_kwh: float


class GuestStart(Body):
    """The quote to start."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"quote": SECRET}]})

    quote: Secret


class GuestStarted(BaseModel):
    """The session and the one-time link to it."""

    session_id: str
    link: str = Field(description="Good once; the secret stands behind #")
    link_expires_at: UtcDatetime
    price: GuestPrice
    planned_cost_eur: float
    planned_energy_kwh: float
    ready_at: UtcDatetime
    is_feasible: bool
    message: str
    assurance: str = "guest"


class GuestOpen(Body):
    """What stands behind # in the link."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"secret": SECRET}]})

    secret: Secret


class GuestSessionView(BaseModel):
    """A guest's session and what is to be paid."""

    session_id: str
    charger_did: str
    site_name: str
    status: Status
    start_time: UtcDatetime
    end_time: UtcDatetime | None
    departure_time: UtcDatetime
    ready_at: UtcDatetime | None
    energy_delivered_kwh: float
    price: GuestPrice
    due_eur: float = Field(description="So far; the bill once `is_final`")
    vat_eur: float | None = Field(description="Contained in it")
    is_final: bool
    payment_reference: str = Field(description="To be named when paying the operator of the site")


class GuestPassView(BaseModel):
    """The pass of one session, for the header `Guest-Pass`."""

    guest_pass: str
    expires_at: UtcDatetime
    session: GuestSessionView
