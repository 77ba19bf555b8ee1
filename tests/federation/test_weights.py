"""Weights as bytes: what is written can be read, and nothing else."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib import format as npy

from backend.federation.networks import initial_weights
from backend.federation.weights import (
    MAX_BYTES,
    Weights,
    WeightsRefused,
    content_hash,
    from_npz,
    shapes_of,
    to_npz,
)

WEIGHTS = initial_weights("mlp", 7)
SHAPES = shapes_of(WEIGHTS)
ONE = {"w": (1,)}


def npz(member: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An npz of one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("w.npy", member)
    return file.getvalue()


def claiming(*shape: int) -> bytes:
    """An array whose header says more than is there."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return npz(file.getvalue() + b"1234")


def saved(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]  # NumPy's stub takes them for allow_pickle
    return file.getvalue()


def pickled() -> bytes:
    """An array that unpickling would bring to life."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return npz(file.getvalue())


def test_weights_come_back_as_they_were_written() -> None:
    data = to_npz(WEIGHTS)

    found = from_npz(data, SHAPES)

    assert content_hash(found) == content_hash(WEIGHTS)
    assert to_npz(found) == data


def test_the_hash_is_of_names_shapes_and_values() -> None:
    array = np.arange(6, dtype=np.float32)
    different: list[Weights] = [{"w": array}, {"v": array}, {"w": array + 1}, {}]
    different.append({"w": array.reshape(2, 3)})

    hashes = {content_hash(one) for one in different}

    assert len(hashes) == 5
    assert content_hash({"w": np.asfortranarray(array.reshape(2, 3))}) in hashes


def twice() -> bytes:
    """Two members of one name; readers differ in which of them they take."""
    data = saved(v=np.zeros(1, np.float32), w=np.ones(1, np.float32))
    return data.replace(b"v.npy", b"w.npy")


def encrypted() -> bytes:
    """A member whose flags say that it has a password."""
    data = bytearray(saved(w=np.zeros(1, np.float32)))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return bytes(data)


def garbled(compression: int) -> bytes:
    """A compressed member whose stream is none."""
    file = io.BytesIO()
    np.save(file, np.zeros(100, np.float32))
    data = bytearray(npz(file.getvalue(), compression=compression))
    start = 30 + len("w.npy") + 10
    data[start : start + 12] = b"\xff" * 12
    return bytes(data)


def understated(size: int) -> bytes:
    """Zeros by bzip2, and a directory that says they were a thousand."""
    data = npz(bytes(size), compression=zipfile.ZIP_BZIP2)
    return data.replace(size.to_bytes(4, "little"), (1_000).to_bytes(4, "little"))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip": (lambda: b"\x80\x04K*.", "npz"),
    "a cut zip": (lambda: saved(w=np.zeros(1, np.float32))[:-30], "npz"),
    "a pickle": (pickled, "npz"),
    "a member that is no array": (lambda: npz(b"w = 1"), "npz"),
    "a name that comes twice": (twice, "other arrays"),
    "a password": (encrypted, "npz"),
    "a garbled stream": (lambda: garbled(zipfile.ZIP_DEFLATED), "npz"),
    "a stream that unpacks without bounds": (lambda: garbled(zipfile.ZIP_LZMA), "deflated"),
    "a few bytes that say a gigabyte": (lambda: understated(40 * MAX_BYTES), "deflated"),
    "a header that claims 4 TB": (lambda: claiming(10**12), "npz"),
    "a header that claims more than numbers can count": (lambda: claiming(2**62, 2**62), "npz"),
    "too many bytes": (lambda: b"\0" * (MAX_BYTES + 1), "allowed"),
    "a zip that unpacks to too many": (
        lambda: npz(b"\0" * (MAX_BYTES + 1), compression=zipfile.ZIP_DEFLATED),
        "unpacked",
    ),
    "another name": (lambda: saved(v=np.zeros(1, np.float32)), "other arrays"),
    "one array more": (lambda: saved(w=np.zeros(1, np.float32), v=0), "other arrays"),
    "another type": (lambda: saved(w=np.zeros(1)), "float32"),
    "another shape": (lambda: saved(w=np.zeros(2, np.float32)), "shape"),
    "not a number": (lambda: saved(w=np.full(1, np.nan, np.float32)), "finite"),
    "infinite": (lambda: saved(w=np.full(1, np.inf, np.float32)), "finite"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_weights_of_this_model_is_refused(
    make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(WeightsRefused, match=reason):
        from_npz(make(), ONE)
