"""What the road asks of a kind of vehicle: five classes and where their figures come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ClassName = Literal["compact", "sedan", "suv", "van", "light_truck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleParameters:
    """One vehicle as the trip model sees it.

    Attributes:
        mass_kg: Empty, with its driver.
        drag_area_m2: Drag coefficient times frontal area.
        rolling_coefficient: Rolling resistance on warm tyres (20 °C), per unit of weight.
        drive_efficiency: From the battery to the wheels and back: inverter, motor, gears and cells
            at low power.
        cell_loss_per_kw: Further loss in the cells, as a share per kW drawn.
        recuperation_share: Share of the braking work at the wheels that reaches the motor; the
            rest goes into the friction brakes.
        max_recuperation_kw: Highest braking power at the wheels a warm battery lets through.
        auxiliary_kw: Everything that runs whatever the weather.
        heating_kw_per_k: Electric power of resistive heating per kelvin below
            ``climate.HEATING_BELOW_C``.
        cooling_kw_per_k: Electric power of cooling per kelvin above ``climate.COOLING_ABOVE_C``.
        max_climate_kw: Highest power of heating or cooling.
        warm_up_kwh_per_k: Heat that brings a cold cabin and battery up, once per leg.
        has_heat_pump: Whether heat is pumped, not made by resistance.
        consumption_scale: What fits the drive's energy to a vehicle's stated consumption.
    """

    mass_kg: float
    drag_area_m2: float
    rolling_coefficient: float
    drive_efficiency: float
    cell_loss_per_kw: float
    recuperation_share: float
    max_recuperation_kw: float
    auxiliary_kw: float
    heating_kw_per_k: float
    cooling_kw_per_k: float
    max_climate_kw: float
    warm_up_kwh_per_k: float
    has_heat_pump: bool = False
    consumption_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("drive_efficiency", "recuperation_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], not {getattr(self, name)}")
        for name in ("mass_kg", "consumption_scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and above 0, not {getattr(self, name)}")
        for name in (
            "drag_area_m2",
            "rolling_coefficient",
            "cell_loss_per_kw",
            "max_recuperation_kw",
            "auxiliary_kw",
            "heating_kw_per_k",
            "cooling_kw_per_k",
            "max_climate_kw",
            "warm_up_kwh_per_k",
        ):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and not negative")


CLASSES: Final[Mapping[ClassName, VehicleParameters]] = MappingProxyType(
    {
        "compact": VehicleParameters(
            mass_kg=1700,
            drag_area_m2=0.70,
            rolling_coefficient=0.009,
            drive_efficiency=0.90,
            cell_loss_per_kw=0.0004,
            recuperation_share=0.85,
            max_recuperation_kw=60,
            auxiliary_kw=0.40,
            heating_kw_per_k=0.155,
            cooling_kw_per_k=0.08,
            max_climate_kw=6.0,
            warm_up_kwh_per_k=0.02,
        ),
        "sedan": VehicleParameters(
            mass_kg=1900,
            drag_area_m2=0.56,
            rolling_coefficient=0.009,
            drive_efficiency=0.90,
            cell_loss_per_kw=0.0004,
            recuperation_share=0.85,
            max_recuperation_kw=70,
            auxiliary_kw=0.45,
            heating_kw_per_k=0.155,
            cooling_kw_per_k=0.08,
            max_climate_kw=6.0,
            warm_up_kwh_per_k=0.02,
        ),
        "suv": VehicleParameters(
            mass_kg=2200,
            drag_area_m2=0.80,
            rolling_coefficient=0.009,
            drive_efficiency=0.90,
            cell_loss_per_kw=0.0004,
            recuperation_share=0.85,
            max_recuperation_kw=80,
            auxiliary_kw=0.50,
            heating_kw_per_k=0.17,
            cooling_kw_per_k=0.09,
            max_climate_kw=7.0,
            warm_up_kwh_per_k=0.025,
        ),
        "van": VehicleParameters(
            mass_kg=2600,
            drag_area_m2=1.45,
            rolling_coefficient=0.010,
            drive_efficiency=0.90,
            cell_loss_per_kw=0.0004,
            recuperation_share=0.85,
            max_recuperation_kw=70,
            auxiliary_kw=0.70,
            heating_kw_per_k=0.15,
            cooling_kw_per_k=0.08,
            max_climate_kw=6.0,
            warm_up_kwh_per_k=0.025,
        ),
        "light_truck": VehicleParameters(
            mass_kg=4200,
            drag_area_m2=3.2,
            rolling_coefficient=0.009,
            drive_efficiency=0.89,
            cell_loss_per_kw=0.0002,
            recuperation_share=0.80,
            max_recuperation_kw=100,
            auxiliary_kw=1.0,
            heating_kw_per_k=0.17,
            cooling_kw_per_k=0.11,
            max_climate_kw=7.0,
            warm_up_kwh_per_k=0.03,
        ),
    }
)
"""Where the figures come from.

- Mass, drag area and rolling coefficient: the middle of data sheets and of the battery vehicles in
  NREL's FASTSim library (mass 1.4-3.8 t, drag area 0.51-1.5 m², rolling 0.006-0.011).
- Drive efficiency and recuperation share: fitted once to FASTSim 2.1.5, one pair of numbers for 18
  of its battery vehicles on UDDS, HWFET and US06.
- Loss in the cells: P R / U² at 350 V and 0.05 ohm; half of that for the light truck's battery.
- Auxiliaries of sedan and van: the speeds at which Geotab finds range to be longest at 20 °C
  (19 and 16 mph). Range is longest where density * drag area * speed³ = power * drive efficiency.
- Heating and cooling: one slope each between AAA's range loss at -7 and 35 °C, Geotab's curve from
  -15 to 31 °C, and Geotab's best speeds at 0 °C (37 and 25 mph).
- The light truck, the limits and the warm-up (FASTSim's heat capacities of cabin and battery come
  to 0.05 kWh/K, part of which the climate power above already brings) are estimates of ours.
"""
