"""What vehicle, driver and charger of a stay allow beyond a highest power."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.features.sites.wiring import ChargerEquipment
from backend.features.vehicles.sheets import VehicleEquipment
from backend.planning.charging_losses import NO_LOSSES, OnboardCharger

ALL_LINES = -1
NO_VEHICLE = VehicleEquipment()


@dataclass(frozen=True, slots=True)
class V2gTerms:
    """What a driver lends of the battery, and for how much.

    Attributes:
        max_power_kw: Highest power out of the vehicle, as vehicle and driver allow.
        floor_kwh: What the battery is never discharged below: trip, reserve and the driver's wish.
        wished_kwh: The driver's wish alone.
        wear_eur_per_kwh: What the driver counts as wear for each kWh given.
        credit_eur_per_kwh: What the bill is lowered by for each metered kWh given.
    """

    max_power_kw: float
    floor_kwh: float
    wished_kwh: float
    wear_eur_per_kwh: float
    credit_eur_per_kwh: float


@dataclass(frozen=True, slots=True)
class StayTerms:
    """What is settled when a stay begins, and again with another trip; kept with the session.

    Attributes:
        held_kwh: What the battery held at the start; None if nobody knows.
        reserve_kwh: Part of the energy target that the battery lacks to its reserve.
        comfort_kwh: Part of the energy target beyond trip and reserve.
        vehicle: The data sheet as it was.
        v2g: What the driver lends; None without consent, or where something is in the way.
    """

    held_kwh: float | None = None
    reserve_kwh: float = 0.0
    comfort_kwh: float = 0.0
    vehicle: VehicleEquipment = NO_VEHICLE
    v2g: V2gTerms | None = None

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> "StayTerms":
        """The terms as they were stored; none for sessions that came from records."""
        if stored is None:
            return NO_TERMS
        v2g = stored["v2g"]
        return cls(
            held_kwh=stored["held_kwh"],
            reserve_kwh=stored["reserve_kwh"],
            comfort_kwh=stored["comfort_kwh"],
            vehicle=VehicleEquipment.model_validate(stored["vehicle"]),
            v2g=None if v2g is None else V2gTerms(**v2g),
        )

    def stored(self) -> dict[str, Any]:
        """The terms as a document."""
        return {
            "held_kwh": self.held_kwh,
            "reserve_kwh": self.reserve_kwh,
            "comfort_kwh": self.comfort_kwh,
            "vehicle": self.vehicle.model_dump(),
            "v2g": None if self.v2g is None else asdict(self.v2g),
        }

    def battery_kwh(
        self, metered_kwh: float, discharged_kwh: float = 0.0, *, power_kw: float
    ) -> float:
        """What metered energy in and out comes to in the battery.

        Losses are linear in energy and time, so the mean power of a stretch says all.
        """
        given_kwh = discharged_kwh / self.vehicle.discharge_efficiency
        return metered_kwh * self.vehicle.losses.kept_share(power_kw) - given_kwh

    def metered_kwh(
        self, battery_kwh: float, discharged_kwh: float = 0.0, *, power_kw: float
    ) -> float:
        """What the meter counts in for a change of the battery and what was given meanwhile."""
        given_kwh = discharged_kwh / self.vehicle.discharge_efficiency
        return (battery_kwh + given_kwh) / self.vehicle.losses.kept_share(power_kw)


NO_TERMS = StayTerms()


@dataclass(frozen=True, slots=True)
class Abilities:
    """A vehicle at its charger as the planner takes it, from now on.

    Attributes:
        charger_did: Where it hangs in the tree of limits.
        capacity_kwh: Of its battery.
        held_kwh: What the battery holds now; None if nobody knows.
        reserve_kwh: Part of what remains that the battery lacks to its reserve.
        comfort_kwh: Part of what remains beyond trip and reserve.
        min_power_kw: Below this the charger is off; 0 if any power will do.
        levels_kw: What the charger can be set to; any power if empty.
        phase: 0, 1, 2 for the line that is loaded, -1 for all three alike.
        losses: What charging loses between meter and battery.
        knee_kwh: Energy still to charge before the highest power falls; None if it does not.
        slope_kw_per_kwh: How fast it falls from there.
        discharge_kw: Highest power out of the vehicle; 0 if it gives nothing.
    """

    charger_did: str = ""
    capacity_kwh: float = 0.0
    held_kwh: float | None = None
    reserve_kwh: float = 0.0
    comfort_kwh: float = 0.0
    min_power_kw: float = 0.0
    levels_kw: tuple[float, ...] = ()
    phase: int = ALL_LINES
    losses: OnboardCharger = NO_LOSSES
    knee_kwh: float | None = None
    slope_kw_per_kwh: float = 0.0
    discharge_kw: float = 0.0
    floor_kwh: float = 0.0
    wear_eur_per_kwh: float = 0.0
    discharge_efficiency: float = 1.0


def abilities_of(
    terms: StayTerms,
    charger: ChargerEquipment | None,
    *,
    charger_did: str,
    capacity_kwh: float,
    power_kw: float,
    target_kwh: float,
    remaining_kwh: float,
) -> Abilities:
    """What a stay allows now that `target_kwh - remaining_kwh` have been charged.

    Args:
        terms: What was settled when it began.
        charger: The charger as it is now, if its equipment is known.
        charger_did: The charger.
        capacity_kwh: Of the battery.
        power_kw: Highest power that is planned with.
        target_kwh: Energy wanted when the stay began.
        remaining_kwh: Energy still wanted.
    """
    vehicle, v2g = terms.vehicle, terms.v2g
    charged_kwh = target_kwh - remaining_kwh
    held_kwh = None if terms.held_kwh is None else terms.held_kwh + charged_kwh
    knee_kwh, slope = _taper(vehicle, held_kwh, capacity_kwh=capacity_kwh, power_kw=power_kw)
    least_kw = charger.min_power_kw(vehicle.onboard_phases) if charger else 0.0
    out_kw = charger.max_discharge_power_kw if charger else 0.0
    gives = v2g is not None and held_kwh is not None
    return Abilities(
        charger_did=charger_did,
        capacity_kwh=capacity_kwh,
        held_kwh=held_kwh,
        # What was lent beyond what was charged counts as reserve: it comes back before all else.
        reserve_kwh=max(0.0, terms.reserve_kwh - charged_kwh),
        comfort_kwh=min(terms.comfort_kwh, remaining_kwh),
        min_power_kw=min(power_kw, max(least_kw, vehicle.min_power_kw or 0.0)),
        levels_kw=tuple(charger.levels_kw) if charger else (),
        phase=charger.phase(vehicle.onboard_phases) if charger else ALL_LINES,
        losses=vehicle.losses,
        knee_kwh=knee_kwh,
        slope_kw_per_kwh=slope,
        discharge_kw=min(out_kw, v2g.max_power_kw) if v2g and gives else 0.0,
        floor_kwh=v2g.floor_kwh if v2g else 0.0,
        wear_eur_per_kwh=v2g.wear_eur_per_kwh if v2g else 0.0,
        discharge_efficiency=vehicle.discharge_efficiency,
    )


def _taper(
    vehicle: VehicleEquipment, held_kwh: float | None, *, capacity_kwh: float, power_kw: float
) -> tuple[float | None, float]:
    """Energy before the knee and the fall from there, linear to what is left at full."""
    knee_percent = vehicle.taper_knee_soc_percent
    if knee_percent is None or held_kwh is None:
        return None, 0.0
    knee_kwh = capacity_kwh * knee_percent / 100
    fall_kw = power_kw * (1 - vehicle.full_power_share)
    return knee_kwh - held_kwh, fall_kw / (capacity_kwh - knee_kwh)
