"""The strict reader of arrays: all that NumPy writes of numbers, and nothing else."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from backend.federation.arrays import MAGIC, NotPlain, plain_array

NUMBERS = st.sampled_from(["<f4", "<f8", ">f4", "<i8", "|u1", "|b1", "<f2"]).map(np.dtype)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
WORDS = st.sampled_from(
    ["{", "}", "(", ")", "'descr'", "'<f4'", "'fortran_order'", "True", "'shape'", ",", ":", "\n"]
)


def saved(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def headed(header: bytes, body: bytes = b"1234") -> bytes:
    return MAGIC + len(header).to_bytes(2, "little") + header + body


@settings(max_examples=60, deadline=None)
@given(NUMBERS.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)), st.sampled_from("CF"))
def test_numbers_come_back_as_numpy_saved_them(array: NDArray[np.generic], order: str) -> None:
    sent = array.T if order == "F" else array

    found = plain_array(saved(sent))

    np.testing.assert_array_equal(found, sent)
    assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
    assert found.flags.writeable


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 139), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(WORDS, max_size=20),
)
def test_other_bytes_are_an_array_or_refused(
    changes: list[tuple[int, int]], words: list[str]
) -> None:
    altered = bytearray(saved(np.zeros(3, np.float32)))
    for place, value in changes:
        altered[place] = value

    for data in (bytes(altered), headed("".join(words).encode())):
        try:
            assert plain_array(data).nbytes <= len(data)
        except NotPlain:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        b"\x80\x04K*.",
        saved(np.zeros(3, np.float32))[:-1],
        saved(np.zeros(3, np.float32)) + b"\0",
        saved(np.array(["text"])),
        saved(np.zeros(2, dtype=[("x", "<f4")])),
        headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"),
        headed(b"{'descr': '<f1', 'fortran_order': False, 'shape': (4,), }\n"),
        headed(
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9999999999999999999), }\n", b""
        ),
        headed(b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,), }\n"),
        headed(b"{(\n"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(NotPlain):
        plain_array(data)
