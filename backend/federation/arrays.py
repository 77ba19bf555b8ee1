"""Arrays that came from somebody else: read by a strict reader of NumPy's file format.

NumPy's own reader evaluates the header as Python, makes room for whatever shape it claims, and
raises a dozen kinds of errors for headers that are none. This one knows the one form that
`numpy.save` writes for plain numbers, and believes no claim that the bytes do not bear out.

Source: NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays", version 1.0.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '([<>|][bifu][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19},)?|\d{1,19}(?:, \d{1,19}){1,31})\), \} *\n"
)
LENGTH_BYTES = 2


class NotPlain(ValueError):
    """Bytes that are no array of numbers."""


def plain_array(data: bytes) -> NDArray[Any]:
    """The array of numbers in the bytes of an npy file.

    Raises:
        NotPlain: If the bytes are anything else, or fewer or more than the header says.
    """
    start = len(MAGIC) + LENGTH_BYTES
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    found = HEADER.fullmatch(data, start, end)
    if not data.startswith(MAGIC) or found is None:
        raise NotPlain("not an array of numbers as numpy.save writes it")
    dtype = _dtype_of(found[1].decode())
    shape = tuple(int(one) for one in found[3].decode().split(",") if one)
    if math.prod(shape) * dtype.itemsize != len(data) - end:
        raise NotPlain("an array is not as large as its header says")
    try:
        flat = np.frombuffer(data[end:], dtype)
        return flat.reshape(shape, order="F" if found[2] == b"True" else "C").copy(order="K")
    except ValueError as bad:  # an empty array of a shape that cannot be counted
        raise NotPlain("a shape that no array has") from bad


def _dtype_of(text: str) -> np.dtype[Any]:
    try:
        return np.dtype(text)
    except TypeError as bad:  # such as a float of one byte
        raise NotPlain(f"there are no numbers of type {text}") from bad
