"""Any Ethereum node by URL (JSON-RPC over HTTP), with timeouts, and trusted with nothing.

The node's answers are read here and nowhere else: what is missing, malformed or of another type
counts as no answer.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from backend.adapters.ledger.ledger import Chain, LedgerUnavailable, Log, Reverted, TxReceipt

CONNECT_S, READ_S = 3.0, 10.0
DEV_CHAIN_IDS = frozenset({1337, 31337})
NO_BODIES = False
_KNOWN = ("already known", "already imported", "known transaction")
_NUMBER = re.compile("0x[0-9a-fA-F]{1,64}")
LARGEST_COUNT = 2**62
_REVERTED = 3  # JSON-RPC error code of a reverted call


class JsonRpcLedger:
    """A node that somebody runs."""

    is_instant = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._provider: Any = None
        self._chain_id: int | None = None

    def __repr__(self) -> str:
        return "JsonRpcLedger()"  # the URL may hold a key

    @property
    def trust(self) -> str:
        """`dev-node` on the chains of development nodes, whose operators can rewrite them."""
        return "dev-node" if self._chain_id in DEV_CHAIN_IDS else "node"

    def chain(self) -> Chain:
        """Which chain the node is on."""
        number, genesis = self._ask(("eth_chainId", []), _BLOCK_0)
        self._chain_id = _count(number)
        return Chain(self._chain_id, _hash(_member(genesis, "hash")))

    def code(self, address: str) -> bytes:
        """The code at an address."""
        return _bytes(self._one("eth_getCode", address, "latest"))

    def balance_wei(self, address: str) -> int:
        """What an address can pay."""
        return _int(self._one("eth_getBalance", address, "latest"))

    def mined_nonce(self, address: str) -> int:
        """How many transactions of an address are in blocks."""
        return _count(self._one("eth_getTransactionCount", address, "latest"))

    def next_nonce(self, address: str) -> int:
        """The nonce after all transactions that the node knows."""
        return _count(self._one("eth_getTransactionCount", address, "pending"))

    def base_fee_wei(self) -> int:
        """Base fee of the newest block; 0 on chains without one."""
        return _int(self._block("latest").get("baseFeePerGas", "0x0"))

    def height(self) -> int:
        """Number of the newest block."""
        return _count(self._one("eth_blockNumber"))

    def finalized_height(self) -> int:
        """Number of the newest finalized block."""
        return _count(_member(self._block("finalized"), "number"))

    def block_hash(self, number: int) -> str | None:
        """Hash of a block; None if there is none of this number."""
        block = self._one("eth_getBlockByNumber", hex(number), NO_BODIES)
        return None if block is None else _hash(_member(block, "hash"))

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """What a contract answers now."""
        asked = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
        answer = self._exchange([("eth_call", [asked, "latest"])])[0]
        if "error" in answer:
            _raise_if_reverted(answer["error"])
        return _bytes(_result(answer))

    def broadcast(self, signed: Sequence[bytes]) -> list[str]:
        """Send transactions in one message."""
        calls = [("eth_sendRawTransaction", ["0x" + raw.hex()]) for raw in signed]
        return [_objection(answer) for answer in self._exchange(calls)]

    def receipts(self, tx_hashes: Sequence[str]) -> list[TxReceipt | None]:
        """The receipts, in one message."""
        calls = [("eth_getTransactionReceipt", [one]) for one in tx_hashes]
        found = [_result(answer) for answer in self._exchange(calls)]
        return [
            None if one is None else _receipt(one, tx_hash)
            for one, tx_hash in zip(found, tx_hashes, strict=True)
        ]

    def logs(self, address: str, block_number: int) -> list[Log]:
        """What a contract told of in one block."""
        block = hex(block_number)
        asked = {"address": address, "fromBlock": block, "toBlock": block}
        return [_log(one) for one in _list(self._one("eth_getLogs", asked))]

    def close(self) -> None:
        """Nothing is held open."""

    def _block(self, tag: str) -> Mapping[str, Any]:
        block = self._one("eth_getBlockByNumber", tag, NO_BODIES)
        if not isinstance(block, Mapping):
            raise LedgerUnavailable(f"the node has no {tag} block")
        return block

    def _one(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - any JSON
        return self._ask((method, list(parameters)))[0]

    def _ask(self, *calls: tuple[str, list[Any]]) -> list[Any]:
        return [_result(answer) for answer in self._exchange(calls)]

    def _exchange(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Mapping[str, Any]]:
        """Send calls as one message; gives an answer to each."""
        if not calls:
            return []
        try:
            answers = self._connected().make_batch_request(list(calls))
        except Exception as failed:  # noqa: BLE001 - see below
            # Whatever a node or the way to it does wrong. The message could name the URL.
            raise LedgerUnavailable(f"the node failed: {type(failed).__name__}") from None
        given = answers if isinstance(answers, list) else []
        found = [one for one in given if isinstance(one, Mapping)]
        if len(found) != len(calls):
            raise LedgerUnavailable("the node did not answer every call")
        return found

    def _connected(self) -> Any:  # noqa: ANN401 - the library's own type
        if self._provider is None:
            from web3 import HTTPProvider  # noqa: PLC0415 - two seconds to load

            from backend.adapters.ledger.bounded import BoundedSession  # noqa: PLC0415 - as above

            for talkative in ("web3", "urllib3"):  # they would log the URL
                logging.getLogger(talkative).setLevel(logging.WARNING)
            self._provider = HTTPProvider(
                self._url,
                request_kwargs={"timeout": (CONNECT_S, READ_S), "allow_redirects": False},
                session=BoundedSession(),
                exception_retry_configuration=None,
            )
        return self._provider


_BLOCK_0 = ("eth_getBlockByNumber", ["0x0", NO_BODIES])


def _result(answer: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if "result" not in answer or answer.get("error"):
        raise LedgerUnavailable(f"the node says: {_message(answer.get('error'))}")
    return answer["result"]


def _objection(answer: Mapping[str, Any]) -> str:
    text = _message(answer.get("error")) if answer.get("error") else ""
    return "" if any(one in text.lower() for one in _KNOWN) else text


def _message(error: object) -> str:
    text = error.get("message", "nothing") if isinstance(error, Mapping) else "nothing"
    # It is stored and shown: a database takes no NUL, and a terminal obeys what it should print.
    return "".join(one if " " <= one <= "~" else "?" for one in str(text)[:200])


def _raise_if_reverted(error: object) -> None:
    """Tell a refusal of the contract from a failure of the node."""
    if not isinstance(error, Mapping):
        return
    data = error.get("data")
    is_data = isinstance(data, str) and data.startswith("0x")
    if is_data or error.get("code") == _REVERTED or "revert" in _message(error).lower():
        raise Reverted(_bytes(data) if is_data else b"")


def _receipt(found: object, tx_hash: str) -> TxReceipt:
    if _hash(_member(found, "transactionHash")) != tx_hash:
        raise LedgerUnavailable("the node gave the receipt of another transaction")
    contract, logs = _member(found, "contractAddress"), _member(found, "logs")
    if contract is not None and len(_bytes(contract)) != 20:  # noqa: PLR2004 - of every address
        raise LedgerUnavailable("the node gave no address")
    return TxReceipt(
        tx_hash=tx_hash,
        block_hash=_hash(_member(found, "blockHash")),
        block_number=_count(_member(found, "blockNumber")),
        is_success=_int(_member(found, "status")) == 1,
        gas_used=_count(_member(found, "gasUsed")),
        gas_price_wei=_count(_member(found, "effectiveGasPrice")),
        logs=tuple(_log(one) for one in _list(logs)),
        contract=contract,
    )


def _log(found: object) -> Log:
    return Log(
        address=str(_member(found, "address")).lower(),
        topics=tuple(_bytes(one) for one in _list(_member(found, "topics"))),
        data=_bytes(_member(found, "data")),
        tx_hash=_hash(_member(found, "transactionHash")),
    )


def _member(value: object, name: str) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(value, Mapping) or name not in value:
        raise LedgerUnavailable(f"the node's answer has no {name}")
    return value[name]


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise LedgerUnavailable("the node gave no list")
    return value


def _hash(text: object) -> str:
    data = _bytes(text)
    if len(data) != 32:  # noqa: PLR2004 - bytes of every hash
        raise LedgerUnavailable("the node gave no hash")
    return "0x" + data.hex()


def _count(text: object) -> int:
    """A number that a database can hold: of a block, a transaction, gas, wei per gas."""
    number = _int(text)
    if number > LARGEST_COUNT:
        raise LedgerUnavailable("the node gave a number beyond reason")
    return number


def _int(text: object) -> int:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise LedgerUnavailable("the node gave no number")
    return int(text, 16)


def _bytes(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        raise LedgerUnavailable("the node gave no hexadecimal text") from None
