"""What a charging problem refuses of its arrays."""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]


def refuse_arrays(
    arrays: Mapping[str, Array], shapes: Mapping[str, Shape], *, may_be_negative: Collection[str]
) -> None:
    """Refuse arrays of another shape, not finite, or negative where that cannot be.

    Raises:
        ValueError: With the name of the array and what is wrong.
    """
    for name, shape in shapes.items():
        array = arrays[name]
        _refuse_shape(name, array, shape)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} has a value that is not finite")
        if name not in may_be_negative and np.any(array < 0):
            raise ValueError(f"{name} has a negative value")


def refuse_settings(
    vehicles: int,
    steps: int,
    *,
    efficiency: Array | None,
    min_power_kw: Array | None,
    levels_kw: Array | None,
    previous_kw: Array | None,
) -> None:
    """Refuse what chargers and their last plan cannot be.

    Raises:
        ValueError: With the name of the array and what is wrong.
    """
    _refuse_shape("efficiency", efficiency, (vehicles,))
    _refuse_shape("min_power_kw", min_power_kw, (vehicles,))
    levels = 0 if levels_kw is None else levels_kw.shape[-1]
    _refuse_shape("levels_kw", levels_kw, (vehicles, levels))
    _refuse_shape("previous_kw", previous_kw, (vehicles, steps))
    if efficiency is not None and not np.all((efficiency > 0) & (efficiency <= 1)):
        raise ValueError("efficiency is not above 0 and at most 1")
    if min_power_kw is not None and not np.all(min_power_kw >= 0):
        raise ValueError("min_power_kw has a negative value")
    if levels_kw is not None and not np.all(
        (levels_kw > 0) & (np.diff(levels_kw, axis=1, prepend=0.0) >= 0)
    ):
        raise ValueError("levels_kw are not positive and ascending")


def _refuse_shape(name: str, array: Array | None, shape: Shape) -> None:
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
