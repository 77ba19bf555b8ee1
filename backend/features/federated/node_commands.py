"""`python -m backend supernode …`: which sites' SuperNodes a SuperLink lets in."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from backend.features.federated import trees_commands

app = typer.Typer(no_args_is_help=True, help="Sites that train through a Flower SuperLink.")
KeyFile = Annotated[
    Path, typer.Argument(help="Its public key: P-384, OpenSSH", exists=True, dir_okay=False)
]
app.command()(trees_commands.rows)


@app.command()
def register(
    site: Annotated[str, typer.Argument(help="The site's id")],
    key: KeyFile,
    did: Annotated[
        str | None, typer.Option(help="Enrol the site with this DID, whose key signs its updates")
    ] = None,
) -> None:
    """Let a site's SuperNode in; the site enrols itself (`edge enrol`) unless its DID is given."""
    from backend.adapters.federation.superlink import (  # noqa: PLC0415 - slow to load
        SuperLinkUnavailable,
    )
    from backend.clock import SystemClock  # noqa: PLC0415
    from backend.components import migrate, open_superlink  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.features.federated import flower  # noqa: PLC0415
    from backend.settings import ProfileMissing, read_settings  # noqa: PLC0415

    try:
        settings = read_settings()
        flower.require_node_key(key)
        open_superlink(settings).register(site, key)
    except (ProfileMissing, SuperLinkUnavailable, ValueError) as failed:
        _stop(str(failed))
    if did is None:
        typer.echo(f"{site} is let in; it takes part once it has enrolled its DID")
        return
    migrate(settings.database_url)
    with closing(Database(settings.database_url)) as database, database.transaction() as db:
        flower.enrol(db, site, did, now=SystemClock().now())
    typer.echo(f"{site} takes part as {did}")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
