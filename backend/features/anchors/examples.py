"""A receipt that verifies, for the documentation; its key was thrown away."""

from typing import Any

RECEIPT: dict[str, Any] = {
    "format": "tasco.receipt.v1",
    "kind": "session_receipt",
    "id": "ses_01KAF0000000000000000000",
    "record": {
        "session_id": "ses_01KAF0000000000000000000",
        "energy_kwh": "25.5000",
        "cost": {"currency": "EUR", "total_eur": "7.6500"},
    },
    "salt": "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "item_hash": "0x2f824e611e8450209b2d070dd601e4d4f279cae2ed97e4f79a5b9a29c88e6b21",
    "anchor": None,
    "signer": "did:key:z6MkgHxxxGZt696LCpc2nH6C6Hw2v4HLjAArD8bKmY8SiHwr",
    "signature": (
        "ftznksC0MuF6mvkT1nCrJCbQP3iQ5JqTgX4dLbO8TaxPM08gPs4Vpj135L-lEgjnVpcNEnzNDq4pFoPTX6F2Bw"
    ),
}
