"""Anchors in the background: what happened is collected, batched and sent."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.adapters.events.outbox import is_first_delivery
from backend.clock import Ticker
from backend.components import Parts
from backend.features.anchors import batching, collecting, statuses, wiring
from backend.features.anchors.models import BATCH, BLOCK
from backend.features.credentials.issuer import IssuerKeyMissing

log = structlog.get_logger("tasco.anchors")
NAME = "anchors.collecting"
AT_ONCE = 200  # sessions entered in one transaction
LOOK_AGAIN_S = 3600.0


def start(parts: Parts) -> Callable[[], None]:
    """Listen and tick; gives what stops it."""
    for ending in collecting.SESSION_ENDS:
        parts.bus.subscribe(ending, lambda event: _enter_session(parts, event))
    for fact in collecting.FACTS:
        parts.bus.subscribe(fact, lambda event: _enter_fact(parts, event))
    parts.bus.subscribe(collecting.FLEET_FLOWS, lambda event: _seal_flows(parts, event))
    round_of_work = Work(parts)
    interval_s = parts.settings.anchor_interval_s
    tickers = [Ticker("anchors", interval_s, round_of_work)]
    sender = wiring.open_sender(parts)
    if sender is not None:
        tickers.append(Ticker("ledger", interval_s, sender.step))

    def _stop() -> None:
        for ticker in tickers:
            ticker.stop()
        if sender is not None:
            sender.close()

    return _stop


def _enter_session(parts: Parts, event: Event) -> None:
    """Enter a session that ended; a repeated delivery changes nothing."""
    if event.session_id is not None:
        session_id = event.session_id
        _once(parts, event, lambda db, now: collecting.enter_session(db, session_id, now=now))


def _enter_fact(parts: Parts, event: Event) -> None:
    _once(parts, event, lambda db, now: collecting.enter_fact(db, event, now=now))


def _seal_flows(parts: Parts, event: Event) -> None:
    """Enter the flows of a simulated fleet's ten steps and seal them at once, not by the clock.

    Without a signing key they wait, as everything does.
    """
    _once(parts, event, lambda db, now: collecting.enter_simulated_flows(db, event, now=now))
    try:
        key = wiring.receipt_key(parts)
    except IssuerKeyMissing:
        return
    at_once = replace(wiring.block_closing(parts.settings), age=timedelta())
    now = parts.clock.now()
    batching.close_due(parts.database, BLOCK, at_once, key=key, now=now)


def _once(parts: Parts, event: Event, work: Callable[[Session, datetime], object]) -> None:
    now = parts.clock.now()
    with parts.database.transaction() as db:
        if is_first_delivery(db, listener=NAME, event_id=event.id, now=now):
            work(db, now)


class Work:
    """One round: enter what no event brought, tell of lists and the trail, close what is due."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._look_at = self._head_at = 0.0  # s, of a clock that nobody sets

    def __call__(self) -> None:
        """Do the round; without a signing key nothing can be closed, and items wait."""
        parts, now = self._parts, self._parts.clock.now()
        self._enter_missing(now)
        age = wiring.batch_closing(parts.settings).age
        statuses.tell_changes(parts.database, age, now=now)
        try:
            key = wiring.receipt_key(parts)
        except IssuerKeyMissing:
            return
        self._enter_head(now)
        for purpose, closing in (
            (BATCH, wiring.batch_closing(parts.settings)),
            (BLOCK, wiring.block_closing(parts.settings)),
        ):
            batching.close_due(parts.database, purpose, closing, key=key, now=now)

    def _enter_missing(self, now: datetime) -> None:
        if time.monotonic() < self._look_at:
            return
        with self._parts.database.reading() as db:
            missing = collecting.unentered_sessions(db, limit=AT_ONCE)
        if not missing:
            self._look_at = time.monotonic() + LOOK_AGAIN_S
            return
        with self._parts.database.transaction() as db:
            for session_id in missing:
                collecting.enter_session(db, session_id, now=now)
        log.info("anchors.entered", sessions=len(missing))

    def _enter_head(self, now: datetime) -> None:
        if time.monotonic() < self._head_at:
            return
        self._head_at = time.monotonic() + self._parts.settings.audit_head_s
        key = wiring.receipt_key(self._parts)
        with self._parts.database.transaction() as db:
            batching.alone(db)
            collecting.enter_audit_head(db, key, now=now)
