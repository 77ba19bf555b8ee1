"""What charging loses between the meter and the battery, by power."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from backend.planning.curve import Array, EfficiencyCurve

SIX_AMPERES_KW: Final = 1.38

LEAST_KEPT: Final = 0.05
"""So little of the power reaches the battery at worst, however small a charger is."""


@dataclass(frozen=True, slots=True)
class OnboardCharger:
    """Losses of one vehicle's charging: a share of the power and a constant draw beside it.

    Attributes:
        conversion_loss: Share of the power lost in rectifier, cables and cells.
        standby_kw: What the vehicle's electronics draw as long as it charges.
    """

    conversion_loss: float
    standby_kw: float

    def __post_init__(self) -> None:
        if not (0 <= self.conversion_loss < 1 and 0 <= self.standby_kw < math.inf):
            raise ValueError("conversion_loss must lie in [0, 1), standby_kw must not be negative")

    def kept_share(self, power_kw: float) -> float:
        """Share of the metered energy that reaches the battery, by this charger's curve."""
        least_kw = max(power_kw, SIX_AMPERES_KW)
        return max(LEAST_KEPT, 1 - self.conversion_loss - self.standby_kw / least_kw)


USUAL_CHARGER: Final = OnboardCharger(conversion_loss=0.05, standby_kw=0.235)
"""One pair for VW ID.3, Tesla Model 3 and Fiat 500e at 11, 5.5, 3.6, 3.5 and 2.3 kW."""

NO_LOSSES: Final = OnboardCharger(conversion_loss=0.0, standby_kw=0.0)
"""What is metered reaches the battery: for vehicles of which nothing is known."""

MOTOR_CHARGER: Final = OnboardCharger(conversion_loss=0.0587, standby_kw=0.4217)
"""A charger that rectifies through the motor's windings, poor at low power: Renault Zoe."""


def loss_share(power_kw: float, charger: OnboardCharger = USUAL_CHARGER) -> float:
    """Share of the metered energy that does not reach the battery.

    Source: ADAC, "Ladeverluste", 2022: 11 kW 6.3 to 9.7 %, socket at 2.3 kW 12.7 to 24.2 %; the
    electronics of a charging vehicle draw 0.1 to 0.3 kW. Fitted up to 11 kW only.

    Args:
        power_kw: Charging power at the meter.
        charger: What the vehicle has.

    Returns:
        A share in [0, 1]; 1 where the power is no more than what the electronics draw.

    Raises:
        ValueError: If the power is not above 0.
    """
    if not power_kw > 0:
        raise ValueError(f"power_kw must be above 0, not {power_kw}")
    return min(1.0, charger.conversion_loss + charger.standby_kw / power_kw)


def efficiency_curve(
    highest_kw: Array, charger: OnboardCharger = USUAL_CHARGER, *, lowest_kw: float = SIX_AMPERES_KW
) -> EfficiencyCurve:
    """The efficiencies of vehicles with this charger for the planner.

    Exact from the lowest power on, because what reaches the battery is linear in the power; a
    twentieth of it always does, so that every charger has a curve.

    Args:
        highest_kw: Highest power of each vehicle, shape (vehicles,).
        charger: What they all have.
        lowest_kw: The least a charger gives; no vehicle charges with less.
    """
    least_kw = np.minimum(lowest_kw, highest_kw / 2)
    power_kw = np.column_stack((least_kw, highest_kw))
    kept = 1 - charger.conversion_loss - charger.standby_kw / power_kw
    return EfficiencyCurve(power_kw, np.maximum(kept, LEAST_KEPT))


def battery_kwh(
    metered_kwh: float, power_kw: float, charger: OnboardCharger = USUAL_CHARGER
) -> float:
    """Energy that reaches the battery out of what the meter counts."""
    return metered_kwh * (1 - loss_share(power_kw, charger))


def metered_kwh(
    battery_kwh: float, power_kw: float, charger: OnboardCharger = USUAL_CHARGER
) -> float:
    """Energy the meter counts for what reaches the battery; infinite at a hopeless power."""
    kept = 1 - loss_share(power_kw, charger)
    if battery_kwh <= 0:
        return 0.0
    return battery_kwh / kept if kept > 0 else math.inf
