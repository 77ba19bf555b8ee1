"""Whether signatures hold: the cache first, then one engine, then the other."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from backend.adapters.verifier.candidates import Signature
from backend.adapters.verifier.interface import VerificationMethod
from backend.adapters.verifier.pure import require_signature
from backend.adapters.verifier.reasons import Reason
from backend.adapters.verifier.refusals import Refused
from backend.adapters.verifier.second_opinion import ask
from backend.adapters.verifier.workers import DidkitWorkers, Question

log = structlog.get_logger("tasco")
KEPT = 8_192
KEPT_S = 600.0
REFUSALS_KEPT_S = 30.0
# What a later try may answer otherwise.
PASSING = {Reason.ENGINE_OVERDUE, Reason.ENGINE_FAILED, Reason.ENGINE_UNAVAILABLE}

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Signed:
    """Signatures of one document, which all have to hold.

    Attributes:
        question: What to ask the second engine, None if it can have no opinion; worked out
            only when that engine is asked.
        cache_key: Hash of the exact bytes, epoch of the registry, key; None to ask every time.
    """

    pairs: tuple[tuple[Signature, VerificationMethod], ...]
    question: Callable[[], Question | None] = lambda: None
    cache_key: Key | None = None


class Signatures:
    """Judges signatures with one engine or two.

    Args:
        workers: The second engine; None to do without.
    """

    def __init__(self, workers: DidkitWorkers | None) -> None:
        self._workers = workers
        # When each verdict is forgotten, and the verdict. Dates, status and trust are never kept.
        self._kept: LRUCache[Key, tuple[float, Reason | None]] = LRUCache(KEPT)
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()  # opinions of the second engine

    def judge(self, signed: Sequence[Signed]) -> list[Reason | None]:
        """Why each document is refused, None where its signatures hold."""
        verdicts: dict[int, Reason | None] = {}
        fresh = []
        for place, one in enumerate(signed):
            if not self._recall(one.cache_key, place, verdicts):
                fresh.append(place)
                verdicts[place] = self._first(one)
        if self._workers is not None and fresh:
            open_ = [place for place in fresh if verdicts[place] is None]
            self._second(self._workers, signed, open_, verdicts)
        for place in fresh:
            self._remember(signed[place].cache_key, verdicts[place])
        return [verdicts[place] for place in range(len(signed))]

    def _first(self, signed: Signed) -> Reason | None:
        try:
            for signature, method in signed.pairs:
                require_signature(signature, method)
        except Refused as refused:
            return refused.reason
        return None

    def _second(
        self,
        workers: DidkitWorkers,
        signed: Sequence[Signed],
        open_: Sequence[int],
        verdicts: dict[int, Reason | None],
    ) -> None:
        opinions = ask(workers, [signed[place].question() for place in open_])
        for place, opinion in zip(open_, opinions, strict=True):
            self.counts[str(opinion)] += 1
            if isinstance(opinion, Reason):
                log.error("verifier.second_engine_refused", reason=str(opinion))
                verdicts[place] = opinion

    def _recall(self, key: Key | None, place: int, verdicts: dict[int, Reason | None]) -> bool:
        if key is None:
            return False
        with self._lock:
            until, verdict = self._kept.get(key, (0.0, None))
        if until < time.monotonic():
            return False
        verdicts[place] = verdict
        return True

    def _remember(self, key: Key | None, reason: Reason | None) -> None:
        if key is None or reason in PASSING:
            return
        until = time.monotonic() + (KEPT_S if reason is None else REFUSALS_KEPT_S)
        with self._lock:
            self._kept[key] = (until, reason)
