"""What flows between a site and the grid for a given load."""

from dataclasses import dataclass

import numpy as np

from backend.planning.equipment import Array


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """Powers while every vehicle of the step is there, shape (steps,).

    Attributes:
        import_kw: Drawn from the grid.
        export_kw: Given to the grid.
        curtailed_kw: Sun that is not used.
        battery_kw: Into the stationary battery; negative out of it.
    """

    import_kw: Array
    export_kw: Array
    curtailed_kw: Array
    battery_kw: Array

    @property
    def peak_kw(self) -> float:
        """Highest import, which the demand charge is for."""
        return float(np.max(self.import_kw, initial=0.0))


def flows(
    load_kw: Array,
    battery_kw: Array,
    *,
    pv_kw: Array,
    export_value_eur_per_kwh: Array,
    export_limit_kw: float,
) -> Flows:
    """Serve a load with the sun and the grid.

    Surplus sun is curtailed when exporting it would cost or exceed the limit.

    Args:
        load_kw: Vehicles, base load and battery together, shape (steps,).
        battery_kw: Power into the stationary battery, contained in the load, shape (steps,).
        pv_kw: What the sun gives, shape (steps,).
        export_value_eur_per_kwh: What exported energy earns, shape (steps,).
        export_limit_kw: Highest export.
    """
    surplus_kw = np.maximum(pv_kw - load_kw, 0.0)
    excess_kw = np.where(export_value_eur_per_kwh < 0, surplus_kw, surplus_kw - export_limit_kw)
    curtailed_kw = np.clip(excess_kw, 0.0, pv_kw)
    return Flows(
        import_kw=np.maximum(load_kw - pv_kw, 0.0),
        export_kw=surplus_kw - curtailed_kw,
        curtailed_kw=curtailed_kw,
        battery_kw=battery_kw,
    )
