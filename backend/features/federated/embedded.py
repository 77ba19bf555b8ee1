"""The embedded engine's participants: sites of this service, trained in its own process.

Honest about what that is worth: the service holds their histories and their keys, so nothing is
hidden from it. What is learned, checked, signed and anchored is the same as with gateways.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.keys import SigningKey
from backend.database import Database, insert_missing
from backend.features.federated.models import EMBEDDED, FederatedParticipant
from backend.features.federated.queries import ACTIVE
from backend.features.forecasts.models import DemandSeries
from backend.features.forecasts.queries import history_of
from backend.features.sites.models import Site
from backend.federation.demand import Examples, TooFewExamples, hourly_examples
from backend.federation.signing import Signer
from backend.forecasting.history import SiteHistory

log = structlog.get_logger("tasco.federated")
LEAST_HISTORY = timedelta(days=14)


def sites_with_history(db: Session) -> Sequence[Site]:
    """Sites that were observed long enough to learn from, by id."""
    query = select(Site, DemandSeries).join(DemandSeries, DemandSeries.site_id == Site.id)
    return [
        site
        for site, series in db.execute(query.order_by(Site.id))
        if series.observed_to - series.observed_from >= LEAST_HISTORY
    ]


def examples_by_site(database: Database, *, now: datetime) -> dict[str, Examples]:
    """The examples of every site that has enough, up to a moment."""
    with database.reading() as db:
        histories = [history_of(db, site, until=now) for site in sites_with_history(db)]
    return examples_of(histories)


def examples_of(histories: Iterable[SiteHistory]) -> dict[str, Examples]:
    """The examples of each history that has enough, by site."""
    found: dict[str, Examples] = {}
    for one in histories:
        try:
            found[one.site_id] = hourly_examples(
                one.energy_kwh, one.start, timezone=one.timezone, country=one.country
            )
        except TooFewExamples as error:
            log.info("federated.site_left_out", site_id=one.site_id, reason=str(error))
    return found


def enrol(db: Session, names: Sequence[str], keys: "Keys", *, now: datetime) -> None:
    """Note the embedded participants; who is known stays as it is, but for the key it has now."""
    rows = [
        {
            "site_id": name,
            "engine": EMBEDDED,
            "did": keys.did_of(name),
            "assurance": "simulated",
            "state": ACTIVE,
            "strikes": 0,
            "standing": {},
            "enrolled_at": now,
        }
        for name in names
    ]
    if rows:
        insert_missing(db, FederatedParticipant, rows)
    for name in names:  # the service's key may be another than it was, and all of theirs with it
        db.get_one(FederatedParticipant, (name, EMBEDDED)).did = keys.did_of(name)


class Keys:
    """The keys of embedded participants, each made of the service's own key and its site's name.

    They need no place to be kept, and whoever lacks the service's key cannot make them.
    """

    def __init__(self, service_key: SigningKey) -> None:
        self._secret = hashlib.sha256(service_key.private_jwk()["d"].encode()).digest()

    def of(self, name: str) -> SigningKey:
        """A participant's key."""
        return SigningKey(self._private(name))

    def signer_of(self, name: str) -> Signer:
        """What it signs with."""
        return Signer(self._private(name))

    def noise_of(self, name: str) -> bytes:
        """What its private training draws its noise from; the same after a crash."""
        return self._derived(b"federated noise", name)

    def did_of(self, name: str) -> str:
        """A participant's DID."""
        return did_key(self.of(name))

    def _private(self, name: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._derived(b"federated participant", name))

    def _derived(self, purpose: bytes, name: str) -> bytes:
        said = purpose + b"\x00" + name.encode()
        return hmac.new(self._secret, said, hashlib.sha256).digest()
