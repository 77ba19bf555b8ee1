"""Sites, chargers, tariffs and prices as callers see and send them."""

from typing import Annotated, Literal
from zoneinfo import available_timezones

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.features.sites.wiring import ChargerEquipment
from backend.forecasting.calendar import known_countries
from backend.paging import Body
from backend.units import PRINTABLE, PowerKw, PriceEurPerKwh, UtcDatetime

SiteKind = Literal["workplace", "depot", "retail", "public"]
ChargerStatus = Literal["available", "occupied", "faulted", "unavailable"]
ZONES = available_timezones()


def _known_zone(name: str) -> str:
    if name not in ZONES:
        raise ValueError("not an IANA time zone such as Europe/Helsinki")
    return name


def _known_country(code: str) -> str:
    if code not in known_countries():
        raise ValueError("not the ISO 3166 code of a country whose holidays are known")
    return code


SiteId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{1,62}$", examples=["site_hq"])]
SitePath = Annotated[str, Path(max_length=64, pattern=PRINTABLE, examples=["site_hq"])]
ChargerDid = Annotated[
    str,
    Field(
        pattern=r"^did:[a-z0-9]{1,20}:[A-Za-z0-9._:%-]{1,200}$",
        examples=["did:denso:charger:site_hq_chr01"],
    ),
]
TimeZone = Annotated[
    str,
    AfterValidator(_known_zone),
    Field(
        max_length=64,
        examples=["Europe/Helsinki"],
        json_schema_extra={"enum": sorted(ZONES)},
    ),
]
Country = Annotated[
    str,
    AfterValidator(_known_country),
    Field(
        description="ISO 3166 code of the country whose public holidays the site keeps",
        examples=["FI"],
        json_schema_extra={"enum": known_countries()},
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=PRINTABLE)]
Percent = Annotated[float, Field(ge=0, le=100)]


FleetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", examples=["fleet_north"])]
LoadKw = Annotated[float, Field(ge=0, le=100_000, examples=[60.0])]
Fairness = Literal["energy", "few_short", "equal_share"]


class Location(Body):
    """Degrees, WGS 84."""

    lat: float = Field(ge=-90, le=90, examples=[60.1699])
    lon: float = Field(ge=-180, le=180, examples=[24.9384])


class Admission(Body):
    """Who may charge at a site, beside those whose credentials name it."""

    guests: bool = Field(default=False, description="Anybody, at the price shown, served last")
    fleets: list[FleetName] | None = Field(
        default=None,
        max_length=200,
        description="Fleets whose drivers may charge; of every trusted fleet if left out",
    )


class SiteNew(Body):
    """A site to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": "site_harbour",
                    "name": "Harbour car park",
                    "kind": "public",
                    "timezone": "Europe/Helsinki",
                    "country": "FI",
                    "grid_limit_kw": 120,
                }
            ]
        }
    )

    site_id: SiteId
    name: Name
    kind: SiteKind
    timezone: TimeZone
    country: Country | None = None
    grid_limit_kw: PowerKw
    location: Location | None = None


class SiteChange(Body):
    """What to change of a site; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"grid_limit_kw": 450}]})

    name: Name | None = None
    kind: SiteKind | None = None
    grid_limit_kw: PowerKw | None = None
    base_load_kw_by_hour: list[LoadKw] | None = Field(
        default=None, min_length=24, max_length=24, description="By hour of the local day"
    )
    pv_peak_kw: LoadKw | None = Field(default=None, description="Rated power of sun panels")
    export_eur_per_kwh: PriceEurPerKwh | None = None
    fairness: Fairness | None = Field(
        default=None, description="Whom it hits when the site is short"
    )
    admission: Admission | None = Field(default=None, description="Who may charge here")


NodeName = Annotated[
    str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9 ._-]+$", examples=["feeder B"])
]


class LimitNew(Body):
    """A limit of a site's power, or of what is below one limit of its tree, for a time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"limit_kw": 60, "from": ahead(1), "to": ahead(4), "reason": "Grid operator"}
            ]
        }
    )

    limit_kw: LoadKw
    starts_at: UtcDatetime | None = Field(default=None, alias="from", description="Now if left out")
    ends_at: UtcDatetime | None = Field(default=None, alias="to", description="Open if left out")
    node: NodeName | None = Field(
        default=None, description="Name in the tree of limits; the whole site if left out"
    )
    reason: Name


class LimitView(BaseModel):
    """A timed limit."""

    limit_id: str
    site_id: str
    limit_kw: float
    starts_at: UtcDatetime = Field(serialization_alias="from")
    ends_at: UtcDatetime | None = Field(serialization_alias="to")
    node: str | None = Field(description="Name in the tree of limits; the whole site if null")
    reason: str


class SiteLimits(BaseModel):
    """Timed limits of a site; the least that holds at a moment counts."""

    site_id: str
    limits: list[LimitView]


class SiteView(BaseModel):
    """A charging site."""

    site_id: str
    name: str
    kind: str
    timezone: str
    country: str | None
    currency: str
    grid_limit_kw: float
    base_load_kw_by_hour: list[float] | None
    pv_peak_kw: float
    export_eur_per_kwh: float
    fairness: Fairness
    admission: Admission
    location: Location | None
    chargers: int
    chargers_available: int
    updated_at: UtcDatetime


class ChargerNew(Body):
    """A charger to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "did": "did:denso:charger:site_hq_chr42",
                    "site_id": "site_hq",
                    "max_power_kw": 22,
                }
            ]
        }
    )

    did: ChargerDid
    site_id: SiteId
    max_power_kw: PowerKw
    location: Location | None = None
    equipment: ChargerEquipment | None = Field(
        default=None, description="Without it, any power and balanced three-phase"
    )


class ChargerChange(Body):
    """What to change of a charger; what is left out stays. `occupied` follows from sessions."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_power_kw": 50}]})

    max_power_kw: PowerKw | None = None
    status: Literal["available", "faulted", "unavailable"] | None = None
    location: Location | None = None
    equipment: ChargerEquipment | None = None


class ChargerView(BaseModel):
    """A charger and its state."""

    did: str
    site_id: str
    max_power_kw: float
    status: str
    is_available: bool
    tariff_eur_per_kwh: float
    location: Location | None
    equipment: ChargerEquipment | None
    updated_at: UtcDatetime


class SalesTariffNew(Body):
    """What drivers pay from a moment on, VAT included; for one charger, or for the whole site."""

    kind: Literal["sales"]
    charger_did: ChargerDid | None = None
    valid_from: UtcDatetime | None = None
    eur_per_kwh: PriceEurPerKwh
    eur_per_session: float = Field(default=0, ge=0, le=1_000)
    idle_eur_per_hour: float = Field(default=0, ge=0, le=1_000)
    vat_percent: Percent = 25.5
    v2g_credit_eur_per_kwh: PriceEurPerKwh | None = Field(
        default=None,
        description="Taken off the bill for each metered kWh out of a vehicle, VAT included; "
        "without it vehicles are not asked for energy",
    )


class PurchasePriceNew(Body):
    """What the site pays for energy from a moment on, by hour of its local day."""

    kind: Literal["purchase"]
    valid_from: UtcDatetime | None = None
    eur_per_kwh_by_hour: list[PriceEurPerKwh] = Field(min_length=24, max_length=24)
    demand_charge_eur_per_kw: float = Field(default=0, ge=0, le=10_000)


TariffNew = Annotated[SalesTariffNew | PurchasePriceNew, Field(discriminator="kind")]
TARIFF_EXAMPLES = {
    "sales": {
        "summary": "What drivers pay",
        "value": {"kind": "sales", "eur_per_kwh": 0.32, "idle_eur_per_hour": 3.0},
    },
    "purchase": {
        "summary": "What the site pays: cheap nights, dear evenings",
        "value": {
            "kind": "purchase",
            "valid_from": ahead(1),
            "eur_per_kwh_by_hour": [0.06] * 7 + [0.14] * 9 + [0.24] * 4 + [0.1] * 4,
        },
    },
}


class SalesTariffView(BaseModel):
    """One version of what drivers pay."""

    kind: Literal["sales"] = "sales"
    id: str
    charger_did: str | None
    version: int
    valid_from: UtcDatetime
    eur_per_kwh: float
    eur_per_session: float
    idle_eur_per_hour: float
    vat_percent: float
    v2g_credit_eur_per_kwh: float | None


class PurchasePriceView(BaseModel):
    """One version of what the site pays."""

    kind: Literal["purchase"] = "purchase"
    id: str
    version: int
    valid_from: UtcDatetime
    eur_per_kwh_by_hour: list[float]
    demand_charge_eur_per_kw: float


class Tariffs(BaseModel):
    """Every version of tariffs and prices of a site, newest first."""

    site_id: str
    sales: list[SalesTariffView]
    purchase: list[PurchasePriceView]
