"""In-process Ethereum, any node by URL, and the sender between them and the database.

py-ecc, which every Ethereum library imports sooner or later, raises Python's recursion limit to a
hundred thousand. With that limit a request of nested brackets overflows the stack and ends the
process. It is imported here once, and the limit put back.
"""

import sys

_limit = sys.getrecursionlimit()

import py_ecc  # noqa: E402, F401

sys.setrecursionlimit(_limit)
