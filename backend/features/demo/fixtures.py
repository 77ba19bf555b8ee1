"""The fixed part of the demo world: five sites, their chargers, twenty drivers, thirty vehicles."""

from dataclasses import dataclass
from typing import Literal

SiteKind = Literal["workplace", "depot", "retail"]
Priority = Literal["cost", "speed", "carbon"]

TIMEZONE = "Europe/Helsinki"
COUNTRY = "FI"
EFFECTIVE_SHARE = 0.85
"""The share of the rated power that charging reaches on average."""
AC_LIMIT_KW = 22.0


@dataclass(frozen=True, slots=True)
class DemoSite:
    """A site of the demo world.

    Attributes:
        site_id: Its identifier.
        name: What people call it.
        kind: What its vehicles come for.
        limit_kw: Power limit of the grid connection.
        latitude: Degrees north.
        longitude: Degrees east.
        purchase_price_eur_per_kwh: Time-of-use purchase price of each local hour, length 24.
        timezone: IANA name.
        country: ISO 3166 code.
    """

    site_id: str
    name: str
    kind: SiteKind
    limit_kw: float
    latitude: float
    longitude: float
    purchase_price_eur_per_kwh: tuple[float, ...]
    timezone: str = TIMEZONE
    country: str = COUNTRY


@dataclass(frozen=True, slots=True)
class DemoCharger:
    """A charger; up to 22 kW it is AC, above DC."""

    did: str
    site_id: str
    max_power_kw: float
    tariff_eur_per_kwh: float
    latitude: float
    longitude: float

    @property
    def is_dc(self) -> bool:
        """Whether it charges with direct current."""
        return self.max_power_kw > AC_LIMIT_KW


@dataclass(frozen=True, slots=True)
class DemoVehicle:
    """A vehicle.

    Attributes:
        did: Its identifier.
        model: Class of vehicle; no brand is meant.
        battery_capacity_kwh: Usable capacity.
        nominal_consumption_wh_per_km: Consumption at 15 °C and above.
        max_ac_power_kw: Power of its on-board charger.
        max_charge_power_kw: Power it takes at a DC charger.
        is_van: Whether it belongs to the fleet of the depot.
    """

    did: str
    model: str
    battery_capacity_kwh: float
    nominal_consumption_wh_per_km: float
    max_ac_power_kw: float
    max_charge_power_kw: float
    is_van: bool = False

    def effective_power_kw(self, charger: DemoCharger) -> float:
        """The power this vehicle reaches at a charger on average."""
        vehicle_kw = self.max_charge_power_kw if charger.is_dc else self.max_ac_power_kw
        return min(charger.max_power_kw, vehicle_kw) * EFFECTIVE_SHARE


@dataclass(frozen=True, slots=True)
class DemoDriver:
    """A driver.

    Attributes:
        did: The identifier.
        credentials: Claims as `Type:Value`.
        priority: What matters most to the driver.
        is_carbon_conscious: Whether green energy matters too.
        allowed_sites: Sites the driver may charge at.
    """

    did: str
    credentials: tuple[str, ...]
    priority: Priority
    is_carbon_conscious: bool
    allowed_sites: tuple[str, ...]


def _by_hour(*spans: tuple[int, float]) -> tuple[float, ...]:
    """Prices of 24 hours from spans (first hour, EUR/kWh), the first of which starts at 0."""
    return tuple(
        next(price for first, price in reversed(spans) if first <= hour) for hour in range(24)
    )


_WORKPLACE_PRICE = _by_hour((0, 0.06), (6, 0.11), (7, 0.16), (9, 0.12), (16, 0.19), (20, 0.10))
_DEPOT_PRICE = _by_hour(
    (0, 0.08), (1, 0.07), (5, 0.09), (7, 0.14), (10, 0.12), (16, 0.18), (21, 0.10)
)
_RETAIL_PRICE = _by_hour((0, 0.07), (6, 0.11), (7, 0.15), (10, 0.12), (16, 0.20), (20, 0.11))

SITES = (
    DemoSite("site_hq", "Headquarters", "workplace", 600.0, 60.1699, 24.9384, _WORKPLACE_PRICE),
    DemoSite("site_depot", "Fleet depot", "depot", 800.0, 60.2934, 25.0378, _DEPOT_PRICE),
    DemoSite("site_mall", "Shopping mall", "retail", 400.0, 60.1611, 24.7384, _RETAIL_PRICE),
    DemoSite("site_office", "Office park", "workplace", 450.0, 60.2190, 24.8120, _WORKPLACE_PRICE),
    DemoSite("site_retail", "Retail park", "retail", 300.0, 60.2610, 25.0830, _RETAIL_PRICE),
)

# Power in kW and sales tariff in EUR/kWh, charger 01 first.
_CHARGERS: dict[str, tuple[tuple[float, float], ...]] = {
    "site_hq": (
        (150.0, 0.35),
        (50.0, 0.32),
        (11.0, 0.22),
        (11.0, 0.22),
        (22.0, 0.24),
        (22.0, 0.24),
        (11.0, 0.22),
        (11.0, 0.22),
    ),
    "site_depot": ((75.0, 0.28), (50.0, 0.26), *((22.0, 0.18),) * 6, *((11.0, 0.17),) * 2),
    "site_mall": ((150.0, 0.49), (100.0, 0.45), (75.0, 0.43), (50.0, 0.41), (22.0, 0.30)),
    "site_office": ((50.0, 0.33), (22.0, 0.25), (22.0, 0.25), *((11.0, 0.23),) * 3),
    "site_retail": ((100.0, 0.46), (75.0, 0.44), (50.0, 0.42), (22.0, 0.31)),
}

CHARGERS = tuple(
    DemoCharger(
        did=f"did:denso:charger:{site.site_id}_chr{number:02d}",
        site_id=site.site_id,
        max_power_kw=power_kw,
        tariff_eur_per_kwh=tariff,
        latitude=round(site.latitude + 0.00005 * (number - 1), 5),
        longitude=round(site.longitude + 0.00008 * (number - 1), 5),
    )
    for site in SITES
    for number, (power_kw, tariff) in enumerate(_CHARGERS[site.site_id], start=1)
)

# Capacity kWh, consumption Wh/km, on-board charger kW, DC kW.
_CAR_MODELS = (
    ("long-range saloon", 75.0, 180.0, 11.0, 150.0),
    ("compact hatchback", 45.0, 155.0, 7.4, 85.0),
    ("family estate", 64.0, 170.0, 11.0, 77.0),
    ("city car", 28.0, 140.0, 7.4, 50.0),
    ("compact crossover", 58.0, 165.0, 11.0, 120.0),
    ("large crossover", 100.0, 215.0, 22.0, 150.0),
    ("mid-size saloon", 60.0, 158.0, 11.0, 135.0),
)
_VAN_MODELS = (
    ("delivery van", 68.0, 260.0, 11.0, 115.0),
    ("large delivery van", 89.0, 310.0, 22.0, 115.0),
    ("small delivery van", 50.0, 210.0, 11.0, 80.0),
)

CARS = 20
VANS = 10

VEHICLES = tuple(
    DemoVehicle(f"did:denso:vehicle:vehicle{number:03d}", *model, is_van=number > CARS)
    for number, model in (
        *((1 + i, _CAR_MODELS[i % len(_CAR_MODELS)]) for i in range(CARS)),
        *((1 + CARS + i, _VAN_MODELS[i % len(_VAN_MODELS)]) for i in range(VANS)),
    )
)

HQ_STAFF = range(9)
OFFICE_STAFF = range(9, 15)
FLEET_DRIVERS = range(15, 20)
"""Who drives the vans and the pool cars; all three are positions in `DRIVERS` and `VEHICLES`."""
POOL_CARS = range(15, 20)

_RETAIL_SITES = ("site_mall", "site_retail")
_PRIORITIES: tuple[tuple[Priority, bool], ...] = (
    ("cost", True),
    ("cost", False),
    ("speed", False),
    ("carbon", True),
    ("cost", False),
)


def _driver(position: int) -> DemoDriver:
    if position in FLEET_DRIVERS:
        credentials, sites = ("FleetDriver:CityLogistics",), tuple(site.site_id for site in SITES)
    elif position in HQ_STAFF:
        credentials, sites = ("Employee:TechCorp",), ("site_hq", *_RETAIL_SITES)
    else:
        credentials, sites = ("Employee:NordicOffice",), ("site_office", *_RETAIL_SITES)
    if position == 0:
        sites = ("site_hq",)  # the driver of the printed examples
    priority, is_carbon_conscious = _PRIORITIES[position % len(_PRIORITIES)]
    return DemoDriver(
        did=f"did:denso:driver:driver{position + 1:03d}",
        credentials=credentials,
        priority=priority,
        is_carbon_conscious=is_carbon_conscious,
        allowed_sites=sites,
    )


DRIVERS = tuple(_driver(position) for position in range(20))
