"""Processes that die at any moment, one after the other: every notice has its effect once."""

import random
from collections import Counter
from typing import Any

import pytest
from eth_hash.auto import keccak

from backend.adapters.ledger.deeds import Anchoring, Deed
from backend.adapters.ledger.json_rpc import LARGEST_COUNT
from backend.adapters.ledger.ledger import LedgerUnavailable
from backend.adapters.ledger.status_deeds import ListPublication, StatusChange
from tests.adapters.ledger.conftest import Bench, until
from tests.adapters.ledger.test_notices import LIST, listed, opening, says, verdict

OPENED = keccak(b"RoundOpened(uint64,bytes32,bytes32)")
JUDGED = keccak(b"Verdict(uint64,address,bytes32,uint16,uint8,uint8)")
PUBLISHED = keccak(b"ListPublished(address,bytes32,uint64,bytes32)")
ANCHORED = keccak(b"Anchored(bytes32,uint16,uint64,uint32,address,uint64)")


class Killed(BaseException):
    """The process ended here, without a word."""


class Perilous:
    """A ledger at which the process may die, or the node lie or go away, at every question."""

    def __init__(self, behind: Any, luck: random.Random) -> None:
        self._behind, self._luck = behind, luck

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        return self._risky(name, found) if callable(found) else found

    def _risky(self, name: str, method: Any) -> Any:
        def _call(*words: Any, **named: Any) -> Any:
            fate = self._luck.random()
            if fate < 0.04:
                raise Killed
            if fate < 0.08:
                raise LedgerUnavailable("away")
            if fate < 0.12 and name in {"mined_nonce", "next_nonce"}:
                return self._luck.choice([0, method(*words) + 5, LARGEST_COUNT])
            answer = method(*words, **named)
            if fate > 0.96:
                raise Killed  # the other side has heard it
            return answer

        return _call


@pytest.mark.parametrize("seed", range(3))
def test_whoever_dies_when_everything_is_told_once(embedded: Bench, seed: int) -> None:
    luck, bench = random.Random(seed), embedded  # noqa: S311 - no secret
    bench.deeds = [
        StatusChange("ntc_a", "revoke", (1, 2, 300)),
        StatusChange("ntc_b", "suspend", (5,)),
        ListPublication("ntc_c", LIST, b"\2" * 32),
        opening(),
        Anchoring("anc_a", b"\6" * 32, 7),
        Anchoring("anc_b", b"\x08" * 32, 7),
    ]
    later: list[Deed] = [
        StatusChange("ntc_d", "reinstate", (5,)),
        verdict(),
        verdict(model_hash=b"\x09" * 32),
    ]
    for turn in range(60):
        sender = bench.sender(Perilous(bench.ledger, luck))
        try:
            for _ in range(luck.randrange(1, 4)):
                sender.step()
                bench.now.advance(seconds=luck.choice([1, 20, 120]))
        except Killed:
            bench.now.advance(seconds=11)  # the lease of who died runs out
        if turn == 30:
            bench.deeds += later

    bench.now.advance(seconds=11)
    honest = bench.sender()

    def _is_told() -> bool:
        bench.now.advance(minutes=6)
        honest.step()
        return bench.states().count("final") == len(bench.deeds)

    until(_is_told)

    events = Counter(log.topics[0] for one in bench.ledger._receipts.values() for log in one.logs)  # noqa: SLF001 - what really happened
    assert [says(bench, "isRevoked", one) for one in (1, 2, 300, 3)] == [True, True, True, False]
    assert not says(bench, "isSuspended", 5)
    assert listed(bench)[32:64] == b"\2" * 32
    assert (events[OPENED], events[JUDGED], events[ANCHORED]) == (1, 2, 2)
    assert events[PUBLISHED] == 1
