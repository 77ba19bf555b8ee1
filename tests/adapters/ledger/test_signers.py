"""Keys come in, signatures come out, and nothing else ever does."""

import copy
import json
import pickle
from pathlib import Path

import pytest
from eth_account import Account

from backend.adapters.ledger.signers import (
    KNOWN_KEYS,
    KeyRefused,
    Signer,
    from_key,
    from_keystore,
    new_signer,
)

KEY = "4c0883a69102937d6231471b5dbb6204fe512961708279f8b0d1c2e3f4a59687"
TRANSACTION = {
    "type": 2,
    "chainId": 1,
    "nonce": 0,
    "gas": 21_000,
    "maxFeePerGas": 1,
    "maxPriorityFeePerGas": 1,
    "to": "0x" + "00" * 20,
    "value": 0,
}


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "key.json"
    file.write_text(json.dumps(Account.encrypt(bytes.fromhex(KEY), "open sesame", iterations=2)))
    file.chmod(0o600)
    return file


def test_a_signer_signs_and_shows_nothing_of_its_key() -> None:
    signer = from_key(f"0x{KEY}")

    raw, tx_hash = signer.sign(TRANSACTION)

    assert Account.recover_transaction(raw).lower() == signer.address
    assert tx_hash.startswith("0x")
    shown = f"{signer!r} {signer} {vars(Signer).keys()} {raw.hex()}"
    assert KEY not in shown
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(signer)


def test_a_keystore_opens_with_its_password_only(keystore: Path) -> None:
    assert from_keystore(keystore, "open sesame").address == from_key(KEY).address
    with pytest.raises(KeyRefused, match="password") as refused:
        from_keystore(keystore, "guess")
    assert "guess" not in str(refused.value)


def test_a_keystore_that_others_may_read_is_refused(tmp_path: Path, keystore: Path) -> None:
    loose = tmp_path / "loose.json"
    loose.write_text(keystore.read_text())
    loose.chmod(0o640)

    with pytest.raises(KeyRefused, match="Others may read"):
        from_keystore(loose, "open sesame")
    with pytest.raises(KeyRefused, match="cannot be read"):
        from_keystore(tmp_path / "missing.json", "")


@pytest.mark.parametrize("key", [KEY[:-2], "zz" * 32, "", "0" * 64, "f" * 64])
def test_what_is_no_key_is_refused_without_being_named(key: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        from_key(key)

    assert not key or key not in f"{refused.value!r} {refused.value.__cause__!r}"
    assert refused.value.__suppress_context__


def test_new_signers_are_all_different_and_known_to_nobody() -> None:
    addresses = {new_signer().address for _ in range(5)}

    assert len(addresses) == 5
    assert not addresses & KNOWN_KEYS


def test_the_keys_of_development_tools_are_known() -> None:
    Account.enable_unaudited_hdwallet_features()
    words = "test " * 11 + "junk"

    tenth = Account.from_mnemonic(words, account_path="m/44'/60'/0'/0/9").address.lower()

    assert {tenth, from_key(f"{7:064x}").address} <= KNOWN_KEYS
    assert len(KNOWN_KEYS) == 30
