"""The Ethereum machine in this process leaves the process as it was."""

import subprocess
import sys
from contextlib import closing

from backend.adapters.ledger.embedded import EmbeddedLedger

DEEP = """
import json, sys, threading
before = sys.getrecursionlimit()
from backend.adapters.ledger.machine import EthereumTester, PyEVMBackend
EthereumTester(PyEVMBackend()).get_block_by_number("latest")
import eth_account, web3
import eth.precompiles.ecadd
assert sys.getrecursionlimit() == before
def read():
    try:
        json.loads("[" * 100_000)
    except RecursionError:
        print("refused")
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


def test_nested_brackets_are_refused_beside_it() -> None:
    run = subprocess.run(  # noqa: S603 - our own lines
        [sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=120, check=False
    )

    assert (run.returncode, run.stdout) == (0, "refused\n"), run.stderr[-1000:]


def test_chains_started_in_the_same_second_differ() -> None:
    with closing(EmbeddedLedger()) as one, closing(EmbeddedLedger()) as other:
        assert one.chain().genesis_hash != other.chain().genesis_hash
