"""Who signs transactions: a key from a keystore file or the environment, never shown to anybody."""

import json
import secrets
from pathlib import Path
from typing import Any

OTHERS_MAY = 0o077
# The accounts of development nodes (the mnemonic "test test … junk", and eth-tester's keys 1 to
# 10): everybody holds their keys.
KNOWN_KEYS = frozenset(
    {
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
        "0x90f79bf6eb2c4f870365e785982e1f101e93b906",
        "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65",
        "0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
        "0x976ea74026e726554db657fa54763abd0c3a0aa9",
        "0x14dc79964da2c08b23698b3d3cc7ca32193d9955",
        "0x23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
        "0xa0ee7a142d267c1f36714e4a8f75612f20a79720",
        "0xbcd4042de499d14e55001ccbb24a551f3b954096",
        "0x71be63f3384f5fb98995898a86b02fb2426c5788",
        "0xfabb0ac9d68b0b445fb7357272ff202c5651694a",
        "0x1cbd3b2770909d4e10f157cabc84c7264073c9ec",
        "0xdf3e18d64bc6a983f673ab319ccae4f1a57c7097",
        "0xcd3b766ccdd6ae721141f452c550ca635964ce71",
        "0x2546bcd3c84621e976d8185a91a922ae77ecec30",
        "0xbda5747bfd65f08deb54cb465eb87d40e51b197e",
        "0xdd2fd4581271e230360230f9337d5c0430bf44c0",
        "0x8626f6940e2eb28930efb4cef49b2d1f2c9c1199",
        "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf",
        "0x2b5ad5c4795c026514f8317c7a215e218dccd6cf",
        "0x6813eb9362372eef6200f3b1dbc3f819671cba69",
        "0x1eff47bc3a10a45d4b230b5d10e37751fe6aa718",
        "0xe1ab8145f7e55dc933d51a18c793f901a3a0b276",
        "0xe57bfe9f44b819898f47bf37e5af72a0783e1141",
        "0xd41c057fd1c78805aac12b0a94a405c0461a6fbb",
        "0xf1f6619b38a98d6de0800f1defc0a6399eb6d30c",
        "0xf7edc8fa1ecc32967f827c9043fcae6ba73afa5c",
        "0x4cceba2d7d2b4fdce4304d3e09a1fea9fbeb1528",
    }
)


class KeyRefused(Exception):
    """A key cannot be used; the message says why and never what it is."""


class Signer:
    """An account that can sign.

    Attributes:
        address: Lower case.
    """

    __slots__ = ("_account", "address")

    def __init__(self, account: Any) -> None:  # noqa: ANN401 - eth_account is slow to load
        self._account = account
        self.address: str = account.address.lower()

    def __repr__(self) -> str:
        return f"Signer({self.address})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a signer is not written down")

    def sign(self, transaction: dict[str, Any]) -> tuple[bytes, str]:
        """The signed transaction and its hash."""
        signed = self._account.sign_transaction(transaction)
        return bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex()

    def sign_digest(self, digest: bytes) -> bytes:
        """The signature of 32 bytes that were made for signing (EIP-712): r, s, v."""
        return bytes(self._account.unsafe_sign_hash(digest).signature)


def new_signer() -> Signer:
    """A signer whose key nobody else ever had."""
    return from_key(secrets.token_hex(32))


def from_key(key: str) -> Signer:
    """The signer of a private key in hexadecimal.

    Raises:
        KeyRefused: If it is none.
    """
    from eth_account import Account  # noqa: PLC0415 - a second to load

    try:
        return Signer(Account.from_key(bytes.fromhex(key.strip().removeprefix("0x"))))
    except Exception:  # noqa: BLE001 - whatever the library says could hold the key
        raise KeyRefused("The ledger's key is no private key of 32 bytes in hexadecimal.") from None


def from_keystore(file: Path, password: str) -> Signer:
    """The signer of an encrypted keystore file (Web3 Secret Storage).

    Raises:
        KeyRefused: If it cannot be read, others may read it, or the password does not open it.
    """
    from eth_account import Account  # noqa: PLC0415 - a second to load

    try:
        if file.stat().st_mode & OTHERS_MAY:
            raise KeyRefused(f"Others may read {file}; run: chmod 600 {file}")
        return Signer(Account.from_key(Account.decrypt(json.loads(file.read_text()), password)))
    except OSError:
        raise KeyRefused(f"{file} cannot be read.") from None
    except (ValueError, KeyError, TypeError):
        raise KeyRefused(f"{file} is no keystore, or the password does not open it.") from None


def require_own_key(signer: Signer, *, is_dev_chain: bool, is_demo: bool) -> None:
    """Refuse keys that everybody holds, but for the demo on a development chain.

    Raises:
        KeyRefused: If anybody could sign in our place.
    """
    if signer.address in KNOWN_KEYS and not (is_demo and is_dev_chain):
        raise KeyRefused("This key comes with development tools: everybody holds it.")
