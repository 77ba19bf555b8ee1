"""The Ethereum machine in this process; py-evm's recursion limit is put back as py-ecc's is."""

import os
import sys

_limit = sys.getrecursionlimit()

import eth  # noqa: E402, F401 - it raises the limit
from eth_tester import EthereumTester, PyEVMBackend  # noqa: E402

sys.setrecursionlimit(_limit)

__all__ = ["EthereumTester", "PyEVMBackend", "new_machine"]


def new_machine() -> EthereumTester:
    """A chain of its own: two that start in the same second still differ in their first block."""
    salt = PyEVMBackend.generate_genesis_params({"extra_data": os.urandom(32)})
    return EthereumTester(PyEVMBackend(salt))
