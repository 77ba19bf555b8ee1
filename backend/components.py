"""Settings become open components, and are closed again in reverse."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import structlog
from anyio import to_thread
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.bus import InProcessBus
from backend.adapters.events.relay import Relay
from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.exchange import Exchange
from backend.adapters.federation.superlink import SuperLink, superlink_at
from backend.adapters.ledger.embedded import EmbeddedLedger
from backend.adapters.ledger.json_rpc import JsonRpcLedger
from backend.adapters.ledger.ledger import Ledger
from backend.adapters.verifier.interface import Verifier
from backend.adapters.verifier.verifier import open_verifier
from backend.clock import Clock, DemoClock, SystemClock
from backend.compute import Compute, InPlace, Processes
from backend.database import POOL_TIMEOUT_S, Database
from backend.federation.demand import Examples
from backend.federation.signing import Signer
from backend.federation.tree_rows import SiteRows
from backend.idempotency import Claim, ClaimOfRequest, replay_if_stored, stake_at_begin
from backend.observability import Metrics
from backend.planning.mpc import warm_up
from backend.problems import DatabaseUnavailable
from backend.settings import EMBEDDED, Settings

log = structlog.get_logger("tasco")
ROOT = Path(__file__).resolve().parent.parent
SOLVERS = ("cvxpy", "scipy.sparse", "piqp", "clarabel")  # a second to import


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of."""

    settings: Settings
    database: Database
    clock: Clock
    compute: Compute
    bus: InProcessBus
    relay: Relay
    artifacts: ArtifactFiles
    metrics: Metrics
    verifier: Verifier
    ledger: Ledger | None  # none: receipts are signed and wait
    door: Callable[..., Any]  # who calls; the credentials room knows the type
    shared: dict[str, Any] = field(default_factory=dict)  # one per application, by room


@contextmanager
def open_parts(
    settings: Settings, *, door: Callable[..., Any], clock: Clock | None = None
) -> Iterator[Parts]:
    """Open every component that the settings ask for."""
    with ExitStack() as stack:
        database = Database(settings.database_url)
        stack.callback(database.close)
        compute: Compute = (
            Processes(settings.compute_workers, (warm_up,), SOLVERS)
            if settings.compute_workers
            else InPlace()
        )
        stack.callback(compute.close)
        bus = InProcessBus()
        relay = Relay(database, bus, interval_s=settings.relay_interval_s)
        verifier = open_verifier(
            settings.verifier,
            workers=settings.verifier_workers,
            timeout_s=settings.verifier_timeout_s,
            web_hosts=settings.did_web_hosts,
        )
        stack.callback(verifier.close)
        ledger = open_ledger(settings.ledger_address)
        if ledger is not None:
            stack.callback(ledger.close)
        yield Parts(
            settings=settings,
            database=database,
            clock=clock or (DemoClock() if settings.profile == "demo" else SystemClock()),
            compute=compute,
            bus=bus,
            relay=relay,
            artifacts=ArtifactFiles(settings.artifacts_dir),
            metrics=Metrics(),
            verifier=verifier,
            ledger=ledger,
            door=door,
        )


def open_ledger(address: str | None) -> Ledger | None:
    """The ledger at an address; it starts, or is connected to, when it is first asked.

    Raises:
        ValueError: If nothing here speaks the address's scheme.
    """
    if address is None:
        return None
    if address == EMBEDDED:
        return EmbeddedLedger()
    if address.startswith(("http://", "https://")):
        return JsonRpcLedger(address)
    raise ValueError("A ledger is memory:// or a node's http(s):// URL.")


def embedded_exchange(
    examples: Mapping[str, Examples],
    noise_keys: Mapping[str, bytes] | None = None,
    signers: Mapping[str, Signer] | None = None,
    rows: Mapping[str, Mapping[str, SiteRows]] | None = None,
) -> Exchange:
    """The embedded engine of federated rounds: participants are threads of this process."""
    return EmbeddedExchange(examples, noise_keys=noise_keys, signers=signers, rows=rows)


def open_superlink(settings: Settings) -> SuperLink:
    """The Flower SuperLink that the settings name.

    Raises:
        ValueError: If they name none.
    """
    if settings.federation_ca_file is None:
        raise ValueError("TASCO_FEDERATION_CA_FILE has to name the SuperLink's authority.")
    return superlink_at(settings.federation_url, ca_file=settings.federation_ca_file)


def migrate(url: str) -> None:
    """Bring the database to the newest revision."""
    from alembic import command  # noqa: PLC0415 - only start-up migrates
    from alembic.config import Config  # noqa: PLC0415

    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(config, "head")


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


CurrentParts = Annotated[Parts, Depends(_parts)]


@asynccontextmanager
async def one_of(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold a slot; it is waited for as long as for a connection.

    Raises:
        DatabaseUnavailable: If none becomes free.
    """
    if slots.locked():
        try:
            await asyncio.wait_for(slots.acquire(), POOL_TIMEOUT_S)
        except TimeoutError:
            raise DatabaseUnavailable from None
    else:
        await slots.acquire()
    try:
        yield
    finally:
        slots.release()


async def _unanswered(request: Request, claim: ClaimOfRequest) -> Claim | None:
    """The claim of a request that was not answered before; its answer ends one that was."""
    database: Database = request.app.state.parts.database
    if claim is not None:
        async with one_of(database.read_slots):
            await to_thread.run_sync(replay_if_stored, database, claim)
    return claim


Unanswered = Annotated[Claim | None, Depends(_unanswered)]


async def _read_session(request: Request) -> AsyncIterator[Session]:
    database: Database = request.app.state.parts.database
    async with one_of(database.read_slots):
        db = database.reading()
        try:
            yield db
        finally:
            if db.in_transaction():
                await to_thread.run_sync(db.close)


async def _transaction(request: Request, claim: Unanswered) -> AsyncIterator[Session]:
    parts: Parts = request.app.state.parts
    async with one_of(parts.database.write_slots):
        db = parts.database.writing()
        if claim is not None:
            stake_at_begin(db, claim)
            request.state.claim = claim
        request.state.db = db
        try:
            yield db
            if db.in_transaction():
                await to_thread.run_sync(db.commit)
                parts.relay.wake()
        finally:
            if db.in_transaction():
                await to_thread.run_sync(db.close)


async def _write_slot(request: Request) -> AsyncIterator[Database]:
    database: Database = request.app.state.parts.database
    async with one_of(database.write_slots):
        yield database


# For routes that make transactions of their own, because what they do between takes its time.
WritableDatabase = Annotated[Database, Depends(_write_slot, scope="function")]

# ReadDb serves queries from a pool that cannot write. Db begins with its first statement, which
# on SQLite waits for the one writer: compute first. scope="function" commits before the response is
# sent; the default commits after it, so a client could read 200 for a row that was never stored.
ReadDb = Annotated[Session, Depends(_read_session, scope="function")]
Db = Annotated[Session, Depends(_transaction, scope="function")]
