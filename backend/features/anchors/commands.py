"""`python -m backend chain | audit | verify`: contracts, the audit trail, receipts."""

import importlib.util
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backend.adapters.ledger.ledger import Ledger
    from backend.adapters.ledger.signers import Signer
    from backend.database import Database
    from backend.settings import Settings

VERIFIER = Path(__file__).resolve().parents[3] / "docs" / "verify_receipt.py"
A_YEAR_S = 31_536_000
chain = typer.Typer(no_args_is_help=True, help="The contracts that roots are anchored in.")
audit = typer.Typer(no_args_is_help=True, help="The audit trail and its signed checkpoints.")


def verify(
    receipt: Annotated[Path, typer.Argument(help="A receipt's file", exists=True, dir_okay=False)],
    signer: Annotated[str | None, typer.Option(help="The did:key that must have signed")] = None,
    rpc: Annotated[str | None, typer.Option(help="URL of a node to ask for the root")] = None,
) -> None:
    """Check a receipt as docs/verify_receipt.py does, which needs none of this service."""
    checker = _verifier()
    content = receipt.read_bytes()
    try:
        made = checker.verify(content, signer, rpc)
    except checker.Failed as failed:
        typer.echo(f"FAIL {failed}")
        raise typer.Exit(code=1) from None
    anchor = json.loads(content)["anchor"]
    typer.echo(f"PASS {', '.join(made)}")
    typer.echo(f"trust: {anchor['trust']}" if anchor else "not anchored yet")


def _verifier() -> ModuleType:
    """The one-file verifier: there is no second one."""
    found = importlib.util.spec_from_file_location("verify_receipt", VERIFIER)
    if found is None or found.loader is None:
        _stop(f"{VERIFIER} is missing.")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _address(text: str | None) -> str | None:
    """An address; a slip of the pen would let somebody else write, for good.

    Raises:
        BadParameter: If it is none, or its capitals do not fit its digits (EIP-55).
    """
    from backend.adapters.ledger.deploying import checksummed  # noqa: PLC0415 - slow to load

    if text is None:
        return None
    digits = text.removeprefix("0x")
    if not re.fullmatch("0x[0-9a-fA-F]{40}", text) or not int(digits, 16):
        raise typer.BadParameter("An address is 0x and 40 hexadecimal digits, and not only zeros.")
    if digits not in {digits.lower(), digits.upper()} and text != checksummed(text):
        raise typer.BadParameter("The capitals of the address do not fit its digits.")
    return text.lower()


@chain.command()
def deploy(
    seconds_per_write: Annotated[
        int, typer.Option(min=1, max=A_YEAR_S, help="In the long run, per writer")
    ] = 5,
    burst: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Writes a quiet writer may make at once")
    ] = 200,
    admin_delay: Annotated[
        int, typer.Option(min=0, max=A_YEAR_S, help="Seconds a change of administrator takes")
    ] = 86_400,
    writer: Annotated[
        str | None,
        typer.Option(
            help="Who may write; the deploying key itself if not given", callback=_address
        ),
    ] = None,
    anew: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--anew", help="All of them, and not only those that are missing")
    ] = False,
) -> None:
    """Put the contracts on the ledger of the settings and remember where they stand."""
    from backend.adapters.ledger.booting import record_places  # noqa: PLC0415 - slow to load
    from backend.adapters.ledger.checks import places_on  # noqa: PLC0415
    from backend.adapters.ledger.deploying import (  # noqa: PLC0415
        Deployer,
        DeploymentFailed,
        Rate,
    )
    from backend.adapters.ledger.fees import FeesTooHigh  # noqa: PLC0415
    from backend.adapters.ledger.ledger import LedgerUnavailable, Reverted  # noqa: PLC0415
    from backend.features.anchors.wiring import GWEI  # noqa: PLC0415

    with _opened() as (settings, database, ledger):
        signer = _own_signer(settings, ledger)
        cap_wei = int(settings.ledger_max_fee_gwei * GWEI)
        deployer = Deployer(ledger, signer, cap_wei, Rate(seconds_per_write, burst), admin_delay)
        with database.reading() as db:
            having = {} if anew else places_on(db, ledger.chain())
        try:
            places = deployer.deploy(writer=writer or signer.address, having=having)
        except (DeploymentFailed, LedgerUnavailable, Reverted, FeesTooHigh) as failed:
            _stop(str(failed))
        with database.transaction() as db:
            record_places(db, ledger.chain(), places)
    for name, address in places.items():
        typer.echo(f"{name:20}{address}")


def _own_signer(settings: "Settings", ledger: "Ledger") -> "Signer":
    """The signer of the settings, if it may be used on this chain."""
    from backend.adapters.ledger.json_rpc import DEV_CHAIN_IDS  # noqa: PLC0415 - slow to load
    from backend.adapters.ledger.ledger import LedgerUnavailable  # noqa: PLC0415
    from backend.adapters.ledger.signers import KeyRefused, require_own_key  # noqa: PLC0415
    from backend.features.anchors.wiring import signer_of  # noqa: PLC0415

    try:
        signer, chain_id = signer_of(settings), ledger.chain().chain_id
        is_demo = settings.profile == "demo"
        require_own_key(signer, is_dev_chain=chain_id in DEV_CHAIN_IDS, is_demo=is_demo)
    except (KeyRefused, LedgerUnavailable) as refused:
        _stop(str(refused))
    if settings.ledger_chain_id not in {None, chain_id}:
        _stop(f"The node is on chain {chain_id}, not on {settings.ledger_chain_id}.")
    return signer


@chain.command()
def status() -> None:
    """Say which chain it is, whether it may be written to, and what is under way."""
    from sqlalchemy import func, select  # noqa: PLC0415 - slow to load

    from backend.adapters.ledger.checks import NotFit, require_fit, stand_of  # noqa: PLC0415
    from backend.adapters.ledger.ledger import LedgerUnavailable, Reverted  # noqa: PLC0415
    from backend.adapters.ledger.transactions import ChainTx  # noqa: PLC0415
    from backend.features.anchors.wiring import terms_of  # noqa: PLC0415

    with _opened() as (settings, database, ledger), database.reading() as db:
        counts = select(ChainTx.state, func.count()).group_by(ChainTx.state)
        states = ", ".join(f"{row[1]} {row[0]}" for row in db.execute(counts)) or "none"
        typer.echo(f"transactions    {states}")
        try:
            signer, here = _own_signer(settings, ledger), ledger.chain()
            typer.echo(f"chain           {here.chain_id}, genesis {here.genesis_hash}")
            typer.echo(f"signer          {signer.address}")
            places = stand_of(db, here)
            require_fit(ledger, here, places, signer, terms_of(settings).wanted)
        except (LedgerUnavailable, Reverted, NotFit) as refused:
            _stop(str(refused))
        for name, address in places.items():
            typer.echo(f"{name:20}{address}")
    typer.echo("The ledger can be written to.")


@audit.command()
def check(
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A signed checkpoint kept elsewhere", exists=True, dir_okay=False),
    ] = None,
    signer: Annotated[
        str | None, typer.Option(help="The did:key that must have signed the checkpoints")
    ] = None,
) -> None:
    """Recompute the whole trail; with a checkpoint, show that it still leads through it."""
    from backend.features.anchors.auditing import check_trail  # noqa: PLC0415 - slow to load

    given = _read_json(checkpoint) if checkpoint else None
    with _database() as (_, database), database.reading() as db:
        found = check_trail(db, given, signer=signer)
    typer.echo(found.text)
    if found.is_broken:
        raise typer.Exit(code=1)


@audit.command("checkpoint")
def show_checkpoint() -> None:
    """Print the newest signed checkpoint; keep it where nobody with this database can reach."""
    from backend.features.anchors.collecting import newest_audit_checkpoint  # noqa: PLC0415 - slow

    with _database() as (_, database), database.reading() as db:
        newest = newest_audit_checkpoint(db)
    if newest is None:
        _stop("There is no checkpoint yet; the running service makes one every hour.")
    typer.echo(json.dumps(newest, indent=1))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _stop(f"{file} holds no checkpoint.")
    return found


@contextmanager
def _database() -> "Iterator[tuple[Settings, Database]]":
    from sqlalchemy.exc import ArgumentError, OperationalError  # noqa: PLC0415 - slow to load

    from backend.components import migrate  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # nobody is served
    settings = read_settings()
    try:
        database = Database(settings.database_url)
    except ArgumentError:
        _stop("TASCO_DATABASE_URL is no URL of a database.")
    try:
        migrate(settings.database_url)
        yield settings, database
    except OperationalError as error:
        _stop(f"The database does not answer: {error.orig}")
    finally:
        database.close()


@contextmanager
def _opened() -> "Iterator[tuple[Settings, Database, Ledger]]":
    """Settings, database and the node; the ledger in the service's process is not within reach."""
    from backend.components import open_ledger  # noqa: PLC0415 - slow to load
    from backend.settings import EMBEDDED  # noqa: PLC0415

    with _database() as (settings, database):
        if settings.ledger_address in {None, EMBEDDED}:
            _stop("Set TASCO_LEDGER_URL to a node; the embedded ledger lives in the service only.")
        try:
            ledger = open_ledger(settings.ledger_address)
        except ValueError as refused:
            _stop(str(refused))
        if ledger is None:
            _stop("There is no ledger.")
        try:
            yield settings, database, ledger
        finally:
            ledger.close()


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
