"""The Ethereum machine in this process; py-evm's recursion limit is put back as py-ecc's is."""

import sys

_limit = sys.getrecursionlimit()

import eth  # noqa: E402, F401 - it raises the limit
from eth_tester import EthereumTester, PyEVMBackend  # noqa: E402

sys.setrecursionlimit(_limit)

__all__ = ["EthereumTester", "PyEVMBackend"]
