"""Put the contracts on a chain: a directory, and from it a clone of each, ready to be written."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from eth_hash.auto import keccak

from backend.adapters.ledger import fees
from backend.adapters.ledger.abi import WORD, artifact, call_of
from backend.adapters.ledger.contracts import ROLES
from backend.adapters.ledger.ledger import Ledger, TxReceipt
from backend.adapters.ledger.signers import Signer

DIRECTORY = "Directory"
NOTHING: Mapping[str, str] = MappingProxyType({})
DEPLOYER = keccak(b"DEPLOYER_ROLE")
DEPLOY_GAS, CALL_GAS = 6_000_000, 500_000
WAIT_S, POLL_S = 180.0, 0.25


class DeploymentFailed(Exception):
    """A transaction of the deployment did not do its work."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a writer may write.

    Attributes:
        seconds_per_write: In the long run.
        burst: At once, after a quiet time.
    """

    seconds_per_write: int
    burst: int


@dataclass(frozen=True, slots=True)
class Deployer:
    """An account that deploys.

    Attributes:
        admin_delay_s: How long a change of administrator takes at the new contracts.
    """

    ledger: Ledger
    signer: Signer
    cap_wei: int
    rate: Rate
    admin_delay_s: int = 86_400

    def deploy(self, *, writer: str, having: Mapping[str, str] = NOTHING) -> dict[str, str]:
        """Deploy what is missing and let the writer write to it; gives all addresses by contract.

        Args:
            writer: Who may write.
            having: Addresses of contracts that stand already.

        Raises:
            DeploymentFailed: If a transaction fails or is not mined in time.
            LedgerUnavailable: If the node does not answer.
        """
        directory = having.get(DIRECTORY) or self._directory()
        missing = [name for name in ROLES if name not in having]
        places = {name: self._clone(directory, name) for name in missing}
        for name, place in places.items():
            for role in ROLES[name]:
                self.grant(place, keccak(role.encode()), writer)
        return {DIRECTORY: directory, **having, **places}

    def _directory(self) -> str:
        made = self._make(DIRECTORY, self.admin_delay_s, int(self.signer.address, 16))
        self.grant(made, DEPLOYER, self.signer.address)
        return made

    def grant(self, place: str, role: bytes, who: str) -> None:
        """Let somebody do what a role may at a contract."""
        self.do(place, call_of("grantRole(bytes32,address)", role, int(who, 16)))

    def _clone(self, directory: str, name: str) -> str:
        implementation = self._make(name, self.rate.seconds_per_write, self.rate.burst)
        label, me = keccak(name.encode()), int(self.signer.address, 16)
        words = (int(implementation, 16), label, me, self.admin_delay_s, secrets.token_bytes(WORD))
        self.do(directory, call_of("create(address,bytes32,address,uint48,bytes32)", *words))
        newest = self.ledger.call(directory, call_of("latest(bytes32)", label))
        entry = self.ledger.call(directory, call_of("entryOf(bytes32,uint64)", label, newest))
        if not any(entry[-20:]):
            raise DeploymentFailed(f"The directory at {directory} does not know of {name}.")
        return "0x" + entry[-20:].hex()

    def _make(self, name: str, *arguments: int) -> str:
        code = bytes.fromhex(artifact(name)["bytecode"].removeprefix("0x"))
        words = b"".join(one.to_bytes(WORD, "big") for one in arguments)
        made = self._send(None, code + words, DEPLOY_GAS)
        if made.contract is None:
            raise DeploymentFailed(f"{name} was not created.")
        return made.contract.lower()

    def do(self, to: str, data: bytes) -> None:
        """One call of a contract; done when it is in a block.

        Raises:
            DeploymentFailed: If it fails or is not mined in time.
        """
        self._send(to, data, CALL_GAS)

    def _send(self, to: str | None, data: bytes, gas: int) -> TxReceipt:
        offered = fees.offer(self.ledger.base_fee_wei(), cap_wei=self.cap_wei)
        transaction = {
            "type": 2,
            "chainId": self.ledger.chain().chain_id,
            "nonce": self.ledger.next_nonce(self.signer.address),
            "gas": gas,
            "maxFeePerGas": offered.max_wei,
            "maxPriorityFeePerGas": offered.tip_wei,
            "value": 0,
            "data": data,
        }
        raw, tx_hash = self.signer.sign(transaction | ({"to": checksummed(to)} if to else {}))
        objection = self.ledger.broadcast([raw])[0]
        receipt = self._awaited(tx_hash, objection)
        if not receipt.is_success:
            raise DeploymentFailed(f"Transaction {tx_hash} was refused by the contract.")
        return receipt

    def _awaited(self, tx_hash: str, objection: str) -> TxReceipt:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until and not objection:
            found = self.ledger.receipts([tx_hash])[0]
            if found is not None:
                return found
            time.sleep(POLL_S)
        raise DeploymentFailed(objection or f"Transaction {tx_hash} is not in a block yet.")


def checksummed(address: str) -> str:
    """An address as the signing library wants it (EIP-55)."""
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - slow to load

    return str(to_checksum_address(address))
