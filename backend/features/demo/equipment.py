"""What the demonstration's sites consist of beside chargers under one limit.

The depot shows a tree of limits, three phases and vans that can give energy back; the mall sun
panels and a stationary battery. The other sites stay plain. None of it shapes the simulated past.
"""

from typing import Any

from backend.features.demo.fixtures import DemoCharger, DemoSite, DemoVehicle
from backend.features.sites.equipment import (
    Carbon,
    LimitNode,
    SiteEquipment,
    StationaryBattery,
    ThreePhases,
)
from backend.features.sites.wiring import ChargerEquipment
from backend.features.vehicles.sheets import VehicleEquipment

DEPOT, MALL = "site_depot", "site_mall"
V2G_CREDIT_EUR_PER_KWH = 0.25
TWO_WAY_KW = 11.0
TWO_WAY_CHARGERS = (3, 4)
TWO_WAY_VANS = ("did:denso:vehicle:vehicle021", "did:denso:vehicle:vehicle024")
BATTERY_SOC_PERCENT = 50.0

_DEPOT_LOAD_KW = [*[25.0] * 6, *[60.0] * 14, *[25.0] * 4]
_MALL_LOAD_KW = [*[45.0] * 7, 70.0, 95.0, *[130.0] * 10, 95.0, 60.0, *[45.0] * 3]
_GRID_G_PER_KWH = [*[38.0] * 6, 52.0, 61.0, 66.0, 58.0, *[44.0] * 5, *[63.0] * 5, *[47.0] * 4]


def _charger(site_id: str, number: int) -> str:
    return f"did:denso:charger:{site_id}_chr{number:02d}"


def _limits() -> list[LimitNode]:
    """Transformer, then a feeder for fast charging and two for the yard."""
    feeders = (
        ("fast feeder", 100.0, range(1, 3)),
        ("yard feeder A", 66.0, range(3, 7)),
        ("yard feeder B", 44.0, range(7, 11)),
    )
    return [
        LimitNode(name="transformer 1", limit_kw=180.0),
        *(
            LimitNode(
                name=name,
                parent="transformer 1",
                limit_kw=limit_kw,
                charger_dids=[_charger(DEPOT, number) for number in numbers],
            )
            for name, limit_kw, numbers in feeders
        ),
    ]


_DEPOT = SiteEquipment(
    limits=_limits(), phases=ThreePhases(limit_a=[280.0, 280.0, 280.0], max_unbalance_a=60.0)
)
_MALL = SiteEquipment(
    battery=StationaryBattery(capacity_kwh=200.0, max_power_kw=80.0),
    carbon=Carbon(g_per_kwh_by_hour=_GRID_G_PER_KWH),
    export_limit_kw=100.0,
)


def of_site(site: DemoSite) -> dict[str, Any]:
    """The columns of a site that say what it consists of."""
    columns: dict[str, Any] = {"equipment": None, "pv_peak_kw": 0.0}
    if site.site_id == DEPOT:
        columns |= {"equipment": _DEPOT.model_dump(), "base_load_kw_by_hour": _DEPOT_LOAD_KW}
    if site.site_id == MALL:
        columns |= {
            "equipment": _MALL.model_dump(),
            "base_load_kw_by_hour": _MALL_LOAD_KW,
            "pv_peak_kw": 150.0,
            "export_eur_per_kwh": 0.03,
            "battery_soc_percent": BATTERY_SOC_PERCENT,
        }
    return columns


def of_charger(charger: DemoCharger) -> dict[str, Any] | None:
    """How a charger of the depot is wired; conductors turn from one to the next."""
    if charger.site_id != DEPOT:
        return None
    number = int(charger.did[-2:])
    two_way_kw = TWO_WAY_KW if number in TWO_WAY_CHARGERS else 0.0
    return ChargerEquipment(
        connection="dc" if charger.is_dc else "three_phase",
        first_line=1 + number % 3,
        max_discharge_power_kw=two_way_kw,
    ).model_dump()


def of_vehicle(vehicle: DemoVehicle) -> dict[str, Any] | None:
    """The data sheet of a van; cars are as plain as the printed examples state them."""
    if not vehicle.is_van:
        return None
    return VehicleEquipment(
        onboard_phases=3,
        taper_knee_soc_percent=80.0,
        max_discharge_power_kw=TWO_WAY_KW if vehicle.did in TWO_WAY_VANS else None,
    ).model_dump()
