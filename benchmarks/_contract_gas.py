"""Gas of what the contracts do, through clones, on an Ethereum machine in this process.

Gas does not depend on the machine that measures it; `tests/contracts/gas.json` holds what it was.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from eth_abi.abi import encode
from eth_hash.auto import keccak
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractConstructor, ContractFunction

from backend.adapters.ledger.machine import EthereumTester, PyEVMBackend

if TYPE_CHECKING:
    from web3.types import TxParams

Call = ContractFunction | ContractConstructor
ARTIFACTS = Path(__file__).resolve().parents[1] / "contracts" / "artifacts"
FEES = {"gas": 12_000_000, "maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 10**9}
ONE_DAY_S = 86_400
SALT, METRICS = b"s" * 32, b"m" * 32


class Chain:
    """A new chain with a clone of each contract; its first accounts have all the roles."""

    def __init__(self) -> None:
        self.tester = EthereumTester(
            PyEVMBackend.from_mnemonic("test " * 11 + "junk", num_accounts=70)
        )
        self.web3 = Web3(EthereumTesterProvider(self.tester))
        self.accounts = self.web3.eth.accounts
        self.admin = self.accounts[0]
        self.deploy_gas: dict[str, int] = {}
        self.directory = self._deployed("Directory", 0, self.admin)
        self._run(self.directory.functions.grantRole(keccak(b"DEPLOYER_ROLE"), self.admin))

    def send(self, call: Call, sender: str | None = None) -> int:
        """Run a call as a transaction; gives the gas it used."""
        return int(self._run(call, sender)["gasUsed"])

    def clone(self, name: str, *roles: str, label: str = "") -> Contract:
        """A contract of an operator; the administrator gets the roles as well."""
        implementation = self._deployed(name, 1, 1_000_000)
        salt = keccak((name + label).encode())
        given = (implementation.address, salt, self.admin, ONE_DAY_S, salt)
        self.deploy_gas["clone"] = self.send(self.directory.functions.create(*given))
        place = self.directory.functions.entryOf(salt, 1).call()
        made = cast("Contract", self.web3.eth.contract(address=place, abi=implementation.abi))
        for role in roles:
            self.grant(made, role, self.admin)
        return made

    def grant(self, contract: Contract, role: str, who: str) -> None:
        """Let an account do what the role may."""
        self._run(contract.functions.grantRole(keccak(role.encode()), who))

    def now(self) -> int:
        """Time of the newest block, s since 1970."""
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def _deployed(self, name: str, *arguments: object) -> Contract:
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        factory = self.web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = self._run(factory.constructor(*arguments))
        self.deploy_gas[name] = receipt["gasUsed"]
        made = self.web3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])
        return cast("Contract", made)

    def _run(self, call: Call, sender: str | None = None) -> dict[str, Any]:
        given = cast("TxParams", {"from": sender or self.admin, **FEES})
        sent = call.transact(given)
        receipt = self.web3.eth.get_transaction_receipt(sent)
        if receipt["status"] != 1:
            raise AssertionError(f"A transaction failed: {call}")
        return dict(receipt)


def measure() -> dict[str, int]:
    """Gas by what was done; per item where the name says how many there were."""
    chain = Chain()
    found = {
        **_anchors(chain),
        **_statuses(chain),
        **_ledger(chain),
        "model_verdict_10x5": _verdicts(chain, 10),
        "model_verdict_50x5": _verdicts(chain, 50),
    }
    return found | {f"deploy_{name}": gas for name, gas in chain.deploy_gas.items()}


def _anchors(chain: Chain) -> dict[str, int]:
    """The second of two anchors: the first pays for slots that are used ever after."""
    registry = chain.clone("AnchorRegistry", "ANCHOR_ROLE")
    chain.send(registry.functions.anchor(keccak(b"0"), 1000, 0, 0))
    gas = chain.send(registry.functions.anchor(keccak(b"1"), 1000, 0, 1))
    return {"anchor": gas, "anchor_per_item_100": gas // 100, "anchor_per_item_1000": gas // 1000}


def _statuses(chain: Chain) -> dict[str, int]:
    status = chain.clone("CredentialStatus", "ISSUER_ROLE")
    dense = chain.send(status.functions.revoke(list(range(256, 356))))
    chain.send(status.functions.publishListRoot(b"l" * 32, 1, keccak(b"1")))
    published = chain.send(status.functions.publishListRoot(b"l" * 32, 2, keccak(b"2")))
    sparse = chain.send(status.functions.revoke([i * 256 for i in range(10, 110)]))
    return {
        "revoke_dense_100_each": dense // 100,
        "revoke_sparse_100_each": sparse // 100,
        "publish_list": published,
    }


def _ledger(chain: Chain) -> dict[str, int]:
    ledger = chain.clone("ChargeLedger", "SEALER_ROLE")
    chain.send(ledger.functions.seal((1, bytes(32), keccak(b"1"), 1, 2, 1000, 9, 1)))
    head = ledger.functions.headHash().call()
    return {"seal": chain.send(ledger.functions.seal((2, head, keccak(b"2"), 2, 3, 1000, 9, 1)))}


def _verdicts(chain: Chain, models: int) -> int:
    """Gas of five validators' commits and reveals and of settling, per submission."""
    registry = chain.clone("ModelRegistry", "COORDINATOR_ROLE", label=f"of {models}")
    call = registry.functions
    trainers, validators = chain.accounts[1 : models + 1], chain.accounts[61:66]
    for role, accounts in (("TRAINER_ROLE", trainers), ("VALIDATOR_ROLE", validators)):
        for one in accounts:
            chain.grant(registry, role, one)
    untils = [chain.now() + 10_000 * phase for phase in (1, 2, 3, 4)]
    chain.send(call.openRound(keccak(b"base"), keccak(b"set"), untils, 3, 5000))
    _submit(chain, registry, trainers, untils)
    votes = [b"".join((9000 + v + i).to_bytes(2, "big") for i in range(models)) for v in range(5)]
    ballots: list[tuple[Any, bytes, bytes]]
    ballots = [(validators[i], vote, SALT) for i, vote in enumerate(votes)]
    gas = 0
    for ballot in ballots:
        commitment = keccak(encode(["uint64", "address", "bytes", "bytes32"], [1, *ballot]))
        gas += chain.send(call.commitScores(1, commitment), ballot[0])
    chain.tester.time_travel(untils[2] + 1)
    gas += sum(chain.send(call.revealScores(1, one[1], SALT), one[0]) for one in ballots)
    chain.tester.time_travel(untils[3] + 1)
    ballots.sort(key=lambda ballot: int(ballot[0], 16))
    return (gas + chain.send(call.settle(1, ballots))) // models


def _submit(chain: Chain, registry: Contract, trainers: Sequence[Any], untils: list[int]) -> None:
    """Bring the first round to its phase of scoring."""
    call = registry.functions
    kinds = ["uint64", "address", "bytes32", "bytes32", "bytes32"]
    for i, trainer in enumerate(trainers, start=1):
        commitment = keccak(encode(kinds, [1, trainer, bytes([i]) * 32, METRICS, SALT]))
        chain.send(call.submit(1, commitment), trainer)
    chain.tester.time_travel(untils[0] + 1)
    for i, trainer in enumerate(trainers, start=1):
        chain.send(call.open(1, bytes([i]) * 32, METRICS, SALT), trainer)
    chain.tester.time_travel(untils[1] + 1)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
