"""Challenges: a nonce for one purpose, kept as a hash, used up by whoever comes first."""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend.features.credentials.models import Challenge
from backend.problems import Problem

LIFETIME = timedelta(seconds=120)
MOST_OPEN = 50_000
PER_MINUTE = 300  # of one address, in each worker
ADDRESSES = 10_000  # remembered at once


class ChallengeRefused(Problem):
    """The challenge is unknown, expired, used, or was given for something else."""

    status = HTTPStatus.UNAUTHORIZED
    fix = "Get a new challenge for this very purpose and body, and use it once within 120 seconds."


class TooManyChallenges(Problem):
    """More challenges were asked for than this service gives."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after_s = 30
    fix = "Wait, then ask again; a challenge is good for 120 seconds."


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """A challenge as it is handed out, the only time its nonce is seen."""

    nonce: str
    purpose: str
    issued_at: datetime
    expires_at: datetime


class AddressLimit:
    """How many challenges each address may still have: it refills at a steady rate.

    Of IPv6 every network of 64 bits counts as one address, for its owner has 2^64 of them.
    """

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._rate, self._most = per_minute / 60, float(per_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, address: str) -> None:
        """Take one of an address's challenges.

        Raises:
            TooManyChallenges: If none is left.
        """
        now, address = time.monotonic(), _owned_by_one(address)
        with self._lock:
            left, since = self._left.pop(address, (self._most, now))
            left = min(self._most, left + (now - since) * self._rate)
            self._left[address] = (max(0.0, left - 1), now)
            if len(self._left) > ADDRESSES:
                self._left.popitem(last=False)
        if left < 1:
            raise TooManyChallenges


def _owned_by_one(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a socket file has none
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))


def give(db: Session, *, purpose: str, body_hash: str | None, now: datetime) -> NewChallenge:
    """Hand out 32 random bytes for one purpose and, if given, one request body.

    Raises:
        TooManyChallenges: If too many are open.
    """
    open_ones = select(func.count()).select_from(Challenge).where(Challenge.expires_at > now)
    if (db.scalar(open_ones) or 0) >= MOST_OPEN:
        raise TooManyChallenges
    nonce, expires_at = secrets.token_urlsafe(32), now + LIFETIME
    db.add(
        Challenge(
            nonce_hash=_hash_of(nonce), purpose=purpose, body_hash=body_hash, expires_at=expires_at
        )
    )
    return NewChallenge(nonce, purpose, now, expires_at)


def use_up(
    db: Session, nonce: str, *, purpose: str, now: datetime, body_hash: str | None = None
) -> None:
    """Use a challenge up, in a transaction that commits whatever becomes of the presentation.

    Raises:
        ChallengeRefused: If it is unknown, expired, used, or for another purpose or body.
    """
    mine = (
        Challenge.nonce_hash == _hash_of(nonce),
        Challenge.purpose == purpose,
        Challenge.body_hash.is_(None) | (Challenge.body_hash == body_hash),
        Challenge.expires_at > now,
        Challenge.used_at.is_(None),
    )
    used = update(Challenge).where(*mine).values(used_at=now)
    if db.execute(used.returning(Challenge.nonce_hash)).first() is None:
        raise ChallengeRefused


def forget_expired(db: Session, *, now: datetime) -> None:
    """Delete challenges that are refused for their age anyway."""
    db.execute(delete(Challenge).where(Challenge.expires_at < now))


def _hash_of(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()
