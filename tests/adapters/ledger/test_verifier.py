"""The one-file verifier asks a node of its own whether a receipt's root stands where it should."""

from typing import Any

import pytest
from eth_hash.auto import keccak

from backend.adapters.ledger.contracts import CHARGE_LEDGER, REGISTRY
from backend.adapters.ledger.deeds import Anchoring
from backend.database import Database
from backend.proofs.canonical import canonical_bytes
from backend.proofs.signing import signed
from tests.adapters.ledger.conftest import NODE_URL, WITHOUT_NODE, Bench, node_bench
from tests.adapters.ledger.test_sending import settle
from tests.proofs.test_receipts import KEY, ONE_FILE, anchored

pytestmark = pytest.mark.skipif(not NODE_URL, reason=WITHOUT_NODE)


def receipt_on(bench: Bench, **changes: Any) -> bytes:
    """A signed receipt that names the registry of a bench, but for what was changed."""
    chain, address = bench.ledger.chain(), bench.places[REGISTRY]
    place = {
        "chain_id": chain.chain_id,
        "genesis_hash": chain.genesis_hash,
        "contract": address,
        "code_hash": "0x" + keccak(bench.ledger.code(address)).hex(),
        **changes,
    }
    body = {name: value for name, value in anchored().items() if name != "signature"}
    body["anchor"] = {**body["anchor"], "chain": place, "trust": "dev-node"}
    return canonical_bytes(signed(body, KEY))


def test_a_root_is_looked_up_at_the_node(database: Database) -> None:
    bench = node_bench(database, NODE_URL)
    root = bytes.fromhex(anchored()["anchor"]["root"][2:])
    with pytest.raises(ONE_FILE.Failed, match="chain: the contract does not hold this root"):
        ONE_FILE.verify(receipt_on(bench), None, NODE_URL)
    bench.deeds.append(Anchoring("anc_1", root, 7))
    settle(bench, bench.sender())

    made = ONE_FILE.verify(receipt_on(bench), None, NODE_URL)

    assert made[-1] == "chain"
    for change, why in (
        ({"chain_id": 1}, "another chain"),
        ({"genesis_hash": "0x" + "00" * 32}, "another chain of this number"),
        ({"code_hash": "0x" + "00" * 32}, "other code"),
        ({"contract": bench.places[CHARGE_LEDGER]}, "other code"),
        ({"contract": bench.signer.address}, "other code"),
        ({"contract": None}, "the node says"),
    ):
        with pytest.raises(ONE_FILE.Failed, match=f"^chain: .*{why}"):
            ONE_FILE.verify(receipt_on(bench, **change), None, NODE_URL)
