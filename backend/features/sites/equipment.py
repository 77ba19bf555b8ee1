"""What lies between the grid and the chargers of a site, as callers send it and as plans read it.

It is one document, replaced as a whole, so that a tree of limits is right or refused at once.
"""

from collections import Counter
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.features.sites.models import Charger, Site
from backend.features.sites.schemas import ChargerDid, LoadKw, NodeName, Percent
from backend.features.sites.wiring import NOMINAL_V, charger_equipment_of
from backend.paging import Body
from backend.units import PowerKw, PriceEurPerKwh, UtcDatetime

TAKEN_NAMES = frozenset({"connection", "line 1", "line 2", "line 3"})
"""What schedules call the limits that are no part of the tree."""

CurrentA = Annotated[float, Field(gt=0, le=20_000, examples=[250.0])]
Efficiency = Annotated[float, Field(ge=0.5, le=1, examples=[0.92])]


class LimitNode(Body):
    """A limit that the chargers below it share: transformer, feeder, group, of any depth."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [form], "properties": {form: {"type": "number"}}}
                for form in ("limit_kw", "limit_a")
            ]
        }
    )

    name: NodeName
    parent: NodeName | None = Field(default=None, description="None is the grid connection")
    limit_kw: LoadKw | None = None
    limit_a: CurrentA | None = Field(
        default=None, description="Of each of three lines, at the nominal voltage"
    )
    charger_dids: list[ChargerDid] = Field(
        default=[], max_length=64, description="Chargers that hang right here, not further below"
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.limit_kw is None) == (self.limit_a is None):
            raise ValueError("give exactly one of limit_kw, limit_a")
        return self

    def power_kw(self, voltage_v: float) -> float:
        """The limit as the power of three balanced lines."""
        if self.limit_kw is not None:
            return self.limit_kw
        return 3 * voltage_v * (self.limit_a or 0.0) / 1000


class ThreePhases(Body):
    """The board that feeds the chargers; nothing else of the site is on it."""

    limit_a: list[CurrentA] = Field(
        min_length=3, max_length=3, description="Of the lines 1, 2 and 3"
    )
    voltage_v: float = Field(
        default=NOMINAL_V, ge=100, le=1_000, description="Between a line and neutral"
    )
    max_unbalance_a: CurrentA | None = Field(
        default=None, description="Highest difference between two lines; free if left out"
    )


class StationaryBattery(Body):
    """A battery that stays at the site."""

    capacity_kwh: float = Field(ge=1, le=100_000, examples=[200.0])
    max_power_kw: PowerKw
    round_trip_efficiency: Efficiency = 0.9
    min_soc_percent: Percent = 10.0
    wear_eur_per_kwh: PriceEurPerKwh = Field(default=0.02, description="Of what it gives")
    may_carry_load: bool = Field(
        default=False,
        description="Whether charging may rely on it above the limit of the connection: only for "
        "a battery that follows its setpoints without fail",
    )


class Carbon(Body):
    """What the grid's energy emits, by local hour."""

    g_per_kwh_by_hour: list[Annotated[float, Field(ge=0, le=2_000)]] = Field(
        min_length=24, max_length=24
    )
    eur_per_tonne: float = Field(
        default=0, ge=0, le=10_000, description="Counts as a cost of every kWh in the plan"
    )


EQUIPMENT_EXAMPLE: dict[str, Any] = {
    "limits": [
        {"name": "transformer 1", "limit_kw": 250},
        {
            "name": "feeder A",
            "parent": "transformer 1",
            "limit_a": 160,
            "charger_dids": ["did:denso:charger:site_hq_chr01"],
        },
    ],
    "phases": {"limit_a": [400, 400, 400], "max_unbalance_a": 60},
    "battery": {"capacity_kwh": 200, "max_power_kw": 100},
    "export_limit_kw": 50,
}


class SiteEquipment(Body):
    """What lies between the grid and the chargers; the whole document is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [EQUIPMENT_EXAMPLE]})

    limits: list[LimitNode] = Field(default=[], max_length=64)
    phases: ThreePhases | None = None
    battery: StationaryBattery | None = None
    carbon: Carbon | None = None
    export_limit_kw: LoadKw | None = Field(
        default=None, description="As much as the connection draws if left out"
    )

    @property
    def voltage_v(self) -> float:
        """Between a line and neutral."""
        return self.phases.voltage_v if self.phases else NOMINAL_V


class EquipmentView(BaseModel):
    """A site's equipment and what is odd about it."""

    site_id: str
    equipment: SiteEquipment
    battery_soc_percent: float | None = Field(description="As last told; None if never")
    battery_soc_at: UtcDatetime | None
    warnings: list[str]
    updated_at: UtcDatetime


class BatteryState(Body):
    """What the stationary battery holds now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"soc_percent": 55}]})

    soc_percent: Percent


def equipment_of(site: Site) -> SiteEquipment:
    """The site's equipment; nothing but chargers where none was stated."""
    if site.equipment is None:
        return NO_EQUIPMENT
    return SiteEquipment.model_validate(site.equipment)


NO_EQUIPMENT = SiteEquipment()


def members_of(equipment: SiteEquipment) -> dict[str, frozenset[str]]:
    """Chargers below each limit, its own and those of the limits below it."""
    below: dict[str, set[str]] = {node.name: set(node.charger_dids) for node in equipment.limits}
    parents = {node.name: node.parent for node in equipment.limits}
    for node in equipment.limits:
        above = node.parent
        while above is not None:
            below[above] |= set(node.charger_dids)
            above = parents[above]
    return {name: frozenset(dids) for name, dids in below.items()}


def faults_of(equipment: SiteEquipment, charger_dids: set[str]) -> list[str]:
    """Why a tree of limits cannot be; nothing if it can."""
    names = [node.name for node in equipment.limits]
    hung = [did for node in equipment.limits for did in node.charger_dids]
    faults = [f"The limit {one} is there twice." for one in _repeated(names)]
    faults += [f"The name {one} means something else." for one in names if one in TAKEN_NAMES]
    faults += [
        f"The parent {node.parent} of {node.name} is not there."
        for node in equipment.limits
        if node.parent is not None and node.parent not in names
    ]
    faults += [f"{one} is no charger of this site." for one in sorted(set(hung) - charger_dids)]
    faults += [f"{one} hangs in two places." for one in _repeated(hung)]
    return faults or [f"{one} lies below itself." for one in _in_cycles(equipment)]


def _repeated(values: list[str]) -> list[str]:
    return sorted(one for one, times in Counter(values).items() if times > 1)


def _in_cycles(equipment: SiteEquipment) -> list[str]:
    parents = {node.name: node.parent for node in equipment.limits}
    found = []
    for name, parent in parents.items():
        above, steps = parent, 0
        while above is not None and above != name and steps <= len(parents):
            above, steps = parents[above], steps + 1
        if above == name:
            found.append(name)
    return found


def warnings_of(equipment: SiteEquipment, site: Site, chargers: list[Charger]) -> list[str]:
    """What is allowed but may be a mistake."""
    voltage_v = equipment.voltage_v
    limits = {node.name: node.power_kw(voltage_v) for node in equipment.limits}
    said = []
    for node in equipment.limits:
        above = site.grid_limit_kw if node.parent is None else limits[node.parent]
        if limits[node.name] > above:
            name = node.parent or "the grid connection"
            said.append(f"{node.name} may carry more than {name} above it: it never binds alone.")
    below = members_of(equipment)
    hung = frozenset().union(*below.values()) if below else frozenset()
    loose = [one.did for one in chargers if limits and one.did not in hung]
    said += [f"{did} hangs below none of the limits." for did in loose]
    said += _weak_limits(limits, below, chargers)
    wired = [one.did for one in chargers if one.equipment is not None]
    if equipment.phases is not None and len(wired) < len(chargers):
        unwired = len(chargers) - len(wired)
        said.append(f"{unwired} chargers state no wiring and count as balanced three-phase.")
    return said


def _weak_limits(
    limits: dict[str, float], below: dict[str, frozenset[str]], chargers: list[Charger]
) -> list[str]:
    least = {
        one.did: wired.min_power_kw(None)
        for one in chargers
        if (wired := charger_equipment_of(one))
    }
    return [
        f"{name} cannot carry even the lowest power of {did}."
        for name, limit_kw in limits.items()
        for did in sorted(below[name])
        if least.get(did, 0.0) > limit_kw
    ]
