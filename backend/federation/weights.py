"""Weights of a shared model: named float32 arrays, hashed by content, carried as npz.

The hash is of names, shapes and values, not of a file: whoever has the arrays can check it.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backend.federation.arrays import plain_array

Weights: TypeAlias = Mapping[str, NDArray[np.float32]]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

MAX_BYTES = 4 * 2**20
UNREADABLE = (
    *(ValueError, OSError, EOFError, KeyError),
    *(zipfile.BadZipFile, zlib.error),
    RuntimeError,  # a member with a password
)
"""What zipfile raises for bytes that are no archive it can read, and `plain_array`."""
BOUNDED = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What zipfile unpacks no further than it is asked to: of bzip2 it takes in whole what 500 bytes
say, a gigabyte, whatever size the directory claims."""


class WeightsRefused(ValueError):
    """Bytes or arrays that cannot be weights of the model they are for."""


def shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """The shape of every array."""
    return {name: weights[name].shape for name in sorted(weights)}


def content_hash(weights: Weights) -> str:
    """SHA-256 over the arrays in the order of their names, as 64 hexadecimal digits.

    Each array counts as a line `name shape` and its little-endian float32 values in C order.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        shape = "x".join(map(str, weights[name].shape))
        digest.update(f"{name} {shape}\n".encode())
        digest.update(np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def to_npz(weights: Weights) -> bytes:
    """Write weights as an uncompressed npz without pickle: equal weights, equal bytes."""
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(weights[name], dtype="<f4") for name in sorted(weights)})  # type: ignore[arg-type]
    return file.getvalue()


def from_npz(
    data: bytes, shapes: Shapes, *, max_bytes: int = MAX_BYTES
) -> dict[str, NDArray[np.float32]]:
    """Read weights of exactly these shapes; nothing is unpickled, nothing large is unpacked.

    Raises:
        WeightsRefused: If the bytes are too many, no npz, hold other arrays, types or shapes, or
            values that are not finite.
    """
    if len(data) > max_bytes:
        raise WeightsRefused(f"{len(data)} bytes; {max_bytes} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            unpacked = sum(one.file_size for one in members)
            if len(members) > len(shapes):
                raise WeightsRefused("other arrays than the model has")
            if any(one.compress_type not in BOUNDED for one in members):
                raise WeightsRefused("an npz is stored or deflated")
            if unpacked > max_bytes:
                raise WeightsRefused(f"{unpacked} bytes unpacked; {max_bytes} are allowed")
            found = {
                one.filename.removesuffix(".npy"): plain_array(archive.read(one)) for one in members
            }
    except UNREADABLE as bad:
        if isinstance(bad, WeightsRefused):
            raise
        raise WeightsRefused("not an npz of plain arrays") from bad
    return checked(found, shapes)


def checked(
    found: Mapping[str, NDArray[np.generic]], shapes: Shapes
) -> dict[str, NDArray[np.float32]]:
    """Arrays as weights of exactly these shapes.

    Raises:
        WeightsRefused: If names, types or shapes differ, or a value is not finite.
    """
    if set(found) != set(shapes):
        raise WeightsRefused("other arrays than the model has")
    for name, array in found.items():
        if array.dtype != np.dtype("<f4"):
            raise WeightsRefused(f"{name} is {array.dtype}; float32 is asked for")
        if array.shape != tuple(shapes[name]):
            raise WeightsRefused(
                f"{name} has shape {array.shape}; {tuple(shapes[name])} is asked for"
            )
        if not np.isfinite(array).all():
            raise WeightsRefused(f"{name} has values that are not finite")
    return {name: np.asarray(found[name], dtype=np.float32) for name in sorted(found)}
