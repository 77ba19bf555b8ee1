"""`python -m backend admin …`: the signing key and the first administrator."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, help="Set up who may do what.")


@app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where to write it; mode 0600, never overwritten")],
) -> None:
    """Make the key that signs access tokens."""
    from backend.features.credentials.service_key import write_new_key  # noqa: PLC0415 - slow

    try:
        write_new_key(file)
    except FileExistsError:
        _stop(f"{file} exists; a key is never overwritten.")
    typer.echo(f"Set TASCO_TOKEN_KEY_FILE={file}")


@app.command()
def bootstrap(
    did: Annotated[str, typer.Option(help="Who becomes administrator: did:key:… or did:jwk:…")],
) -> None:
    """Make the first administrator; works once, while there is none."""
    from backend.adapters.verifier.dids import (  # noqa: PLC0415 - slow to load
        DidRefused,
        resolve_offline,
    )
    from backend.clock import SystemClock  # noqa: PLC0415
    from backend.components import migrate  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.features.credentials import grants  # noqa: PLC0415
    from backend.settings import ProfileMissing, read_settings  # noqa: PLC0415

    try:
        resolve_offline(did)
        url = read_settings().database_url
    except DidRefused as refused:
        _stop(f"This DID cannot log in here: {refused}")
    except ProfileMissing as missing:
        _stop(str(missing))
    migrate(url)
    database = Database(url)
    try:
        with database.transaction() as db:
            grants.bootstrap(db, did, now=SystemClock().now())
    except grants.AdministratorKnown as known:
        _stop(f"{known} {known.fix}")
    finally:
        database.close()
    typer.echo(f"{did} is administrator; log in with a presentation by this DID.")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
