"""How a charger is wired and what it can be set to, as callers send it and as plans read it."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from backend.features.sites.models import Charger
from backend.paging import Body
from backend.units import PowerKw

NOMINAL_V = 230.0
LEAST_AC_A = 6.0
"""IEC 61851: below, the control pilot cannot announce a current and the vehicle stops."""

Connection = Literal["dc", "single_phase", "three_phase"]
DischargeKw = Annotated[float, Field(ge=0, le=2_000, examples=[11.0])]


class ChargerEquipment(Body):
    """How a charger is wired and what it can be set to."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"connection": "three_phase", "first_line": 2}]}
    )

    connection: Connection
    first_line: int = Field(
        default=1, ge=1, le=3, description="Line its first conductor is on: it carries single phase"
    )
    min_current_a: float | None = Field(
        default=None, ge=0, le=1_000, description="Off below; 6 A for AC and 0 for DC if left out"
    )
    levels_kw: list[PowerKw] = Field(
        default=[], max_length=100, description="The powers it can be set to; any if empty"
    )
    max_discharge_power_kw: DischargeKw = Field(
        default=0, description="Out of a vehicle; 0 is one way only"
    )

    def lines(self, vehicle_phases: int | None) -> int:
        """How many lines charge a vehicle here."""
        is_single = self.connection == "single_phase" or vehicle_phases == 1
        return 1 if is_single and self.connection != "dc" else 3

    def min_power_kw(self, vehicle_phases: int | None) -> float:
        """Below this the charger is off."""
        default_a = 0.0 if self.connection == "dc" else LEAST_AC_A
        current_a = default_a if self.min_current_a is None else self.min_current_a
        return current_a * NOMINAL_V * self.lines(vehicle_phases) / 1000

    def highest_kw(self, max_power_kw: float, vehicle_phases: int | None) -> float:
        """What is left of its power on the lines that the vehicle uses."""
        takes_one_of_three = self.connection == "three_phase" and vehicle_phases == 1
        return max_power_kw / 3 if takes_one_of_three else max_power_kw

    def phase(self, vehicle_phases: int | None) -> int:
        """0, 1, 2 for the one line that is loaded, -1 for all three alike."""
        return self.first_line - 1 if self.lines(vehicle_phases) == 1 else -1


def charger_equipment_of(charger: Charger) -> ChargerEquipment | None:
    """The charger's equipment, if it was stated."""
    if charger.equipment is None:
        return None
    return ChargerEquipment.model_validate(charger.equipment)


def charger_fault(equipment: ChargerEquipment, max_power_kw: float) -> str | None:
    """Why a charger cannot be like that; None if it can."""
    levels = equipment.levels_kw
    if any(one >= two for one, two in pairwise(levels)):
        return "levels_kw have to ascend."
    if levels and levels[-1] > max_power_kw + 1e-9:
        return f"levels_kw go beyond its {max_power_kw:.1f} kW."
    least_kw = equipment.min_power_kw(None)
    if least_kw > max_power_kw or (levels and least_kw > levels[-1]):
        return f"Its lowest power of {least_kw:.2f} kW is above its highest."
    if equipment.max_discharge_power_kw > max_power_kw:
        return "max_discharge_power_kw is above its power."
    return None
