"""An Ethereum machine in this process: real contracts and blocks, and no witness but ourselves.

It is gone when the process ends and its operator owns every key, so a proof on it says
`embedded-dev`. The library is not made for threads: one actor thread owns it. Reading an old
receipt costs time by its distance, scanning logs by its square: receipts are read when they are
newest, and kept.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as ActorBusy
from functools import partial
from typing import Any

from backend.adapters.ledger.ledger import (
    EMBEDDED_CHAIN_ID,
    Chain,
    LedgerUnavailable,
    Log,
    Reverted,
    TxReceipt,
)

TIMEOUT_S = 60.0
CALL_GAS = 3_000_000
FUNDS_WEI = 10**23
FEES = {"gas": 21_000, "max_fee_per_gas": 2 * 10**9, "max_priority_fee_per_gas": 10**9}


class EmbeddedLedger:
    """The chain of this process; it starts when it is first asked."""

    trust = "embedded-dev"
    is_instant = True

    def __init__(self) -> None:
        self._actor = ThreadPoolExecutor(1, thread_name_prefix="embedded-ledger")
        self._tester: Any = None  # owned by the actor's thread
        self._receipts: dict[str, TxReceipt] = {}
        self._chain: Chain | None = None

    def fund(self, address: str) -> None:
        """Give an address what it needs; here money is free."""
        self._ask(lambda: self._fund(address))

    def chain(self) -> Chain:
        """Which chain this is; the genesis block is another one in every process."""
        if self._chain is None:
            genesis = self._ask(lambda: self._started().get_block_by_number(0, False))  # noqa: FBT003
            self._chain = Chain(EMBEDDED_CHAIN_ID, str(genesis["hash"]))
        return self._chain

    def code(self, address: str) -> bytes:
        """The code at an address."""
        return _bytes(self._ask(lambda: self._started().get_code(address)))

    def balance_wei(self, address: str) -> int:
        """What an address can pay."""
        return int(self._ask(lambda: self._started().get_balance(address)))

    def mined_nonce(self, address: str) -> int:
        """How many transactions of an address are in blocks: all that were sent."""
        return int(self._ask(lambda: self._started().get_nonce(address)))

    next_nonce = mined_nonce

    def base_fee_wei(self) -> int:
        """Base fee of the newest block."""
        return int(self._newest()["base_fee_per_gas"])

    def height(self) -> int:
        """Number of the newest block."""
        return int(self._newest()["number"])

    finalized_height = height

    def block_hash(self, number: int) -> str | None:
        """Hash of a block."""
        if number > self.height():
            return None
        block = self._ask(lambda: self._started().get_block_by_number(number, False))  # noqa: FBT003
        return str(block["hash"])

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """What a contract answers now."""
        from eth_tester.exceptions import TransactionFailed  # noqa: PLC0415 - slow to load

        asked = {"to": to, "data": _text(data), "gas": CALL_GAS}
        try:
            return _bytes(self._ask(lambda: self._call(asked, sender)))
        except TransactionFailed as failed:
            raise Reverted(_revert_data(failed)) from failed

    def broadcast(self, signed: Sequence[bytes]) -> list[str]:
        """Send transactions; each is in a block of its own at once."""
        return [str(self._ask(partial(self._send, raw))) for raw in signed]

    def receipts(self, tx_hashes: Sequence[str]) -> list[TxReceipt | None]:
        """The receipts, as they were when the transactions were sent."""
        return [self._receipts.get(one) for one in tx_hashes]

    def logs(self, address: str, block_number: int) -> list[Log]:
        """What a contract told of in one block."""
        kept = (one for one in self._receipts.values() if one.block_number == block_number)
        return [log for one in kept for log in one.logs if log.address == address.lower()]

    def close(self) -> None:
        """End the actor."""
        self._actor.shutdown(wait=True, cancel_futures=True)

    def _ask(self, what: Callable[[], Any]) -> Any:  # noqa: ANN401 - the library's own values
        """Have the actor do something."""
        try:
            answer: Future[Any] = self._actor.submit(what)
            return answer.result(TIMEOUT_S)
        except ActorBusy as busy:
            raise LedgerUnavailable("the embedded ledger is busy") from busy
        except RuntimeError as closed:
            raise LedgerUnavailable("the embedded ledger is closed") from closed

    def _started(self) -> Any:  # noqa: ANN401 - the library has no types
        if self._tester is None:
            from backend.adapters.ledger.machine import new_machine  # noqa: PLC0415 - slow to load

            self._tester = new_machine()
        return self._tester

    def _fund(self, address: str) -> None:
        tester = self._started()
        rich = tester.get_accounts()[0]
        tester.send_transaction({"from": rich, "to": address, "value": FUNDS_WEI, **FEES})

    def _call(self, asked: dict[str, Any], sender: str | None) -> str:
        tester = self._started()
        caller = sender or tester.get_accounts()[0]  # who calls has to be able to pay
        return str(tester.call({"from": caller, **asked}))

    def _newest(self) -> Mapping[str, Any]:
        block: Mapping[str, Any] = self._ask(
            lambda: self._started().get_block_by_number("latest", full_transactions=False)
        )
        return block

    def _send(self, raw: bytes) -> str:
        from eth_utils.exceptions import ValidationError  # noqa: PLC0415 - slow to load

        tester = self._started()
        try:
            tx_hash = tester.send_raw_transaction(_text(raw))
        except ValidationError as refused:
            return str(refused)
        chain = tester.backend.chain
        block = chain.get_block_by_header(chain.get_canonical_head())  # its own, just made
        if block.transactions[0].to:
            stored = block.get_receipts(chain.chaindb)[0]
            self._receipts[tx_hash] = _receipt_in(block, stored, tx_hash)
        else:  # only the library works out the address of a new contract
            self._receipts[tx_hash] = _receipt(tester.get_transaction_receipt(tx_hash))
        return ""


def _receipt_in(block: Any, stored: Any, tx_hash: str) -> TxReceipt:  # noqa: ANN401 - py-evm's own
    """A receipt as the machine stores it: the library's own way recovers the signer once more."""
    transaction, base_fee_wei = block.transactions[0], block.header.base_fee_per_gas
    tip_wei = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee_wei)
    logs = tuple(
        Log(
            _text(one.address),
            tuple(topic.to_bytes(32, "big") for topic in one.topics),
            one.data,
            tx_hash,
        )
        for one in stored.logs
    )
    return TxReceipt(
        tx_hash=tx_hash,
        block_hash=_text(block.hash),
        block_number=block.number,
        is_success=stored.state_root == b"\x01",
        gas_used=stored.gas_used,
        gas_price_wei=base_fee_wei + tip_wei,
        logs=logs,
    )


def _receipt(found: Mapping[str, Any]) -> TxReceipt:
    return TxReceipt(
        tx_hash=found["transaction_hash"],
        block_hash=found["block_hash"],
        block_number=found["block_number"],
        is_success=found["status"] == 1,
        gas_used=found["gas_used"],
        gas_price_wei=found["effective_gas_price"],
        logs=tuple(_log(one) for one in found["logs"]),
        contract=found["contract_address"],
    )


def _log(found: Mapping[str, Any]) -> Log:
    topics = tuple(_bytes(one) for one in found["topics"])
    data, address = _bytes(found["data"]), str(found["address"]).lower()
    return Log(address, topics, data, found["transaction_hash"])


def _revert_data(failed: Exception) -> bytes:
    """The answer of a contract that refused: the library gives its bytes as Python writes them."""
    try:
        data = ast.literal_eval(str(failed))
    except (ValueError, SyntaxError):
        return b""
    return data if isinstance(data, bytes) else b""


def _text(data: bytes) -> str:
    return "0x" + data.hex()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else bytes.fromhex(text.removeprefix("0x"))
