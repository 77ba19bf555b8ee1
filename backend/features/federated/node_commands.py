"""`python -m backend supernode …`: which sites' SuperNodes a SuperLink lets in."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, help="Sites that train through a Flower SuperLink.")
KeyFile = Annotated[
    Path, typer.Argument(help="Its public key: P-384, OpenSSH", exists=True, dir_okay=False)
]


@app.command()
def register(site: Annotated[str, typer.Argument(help="The site's id")], key: KeyFile) -> None:
    """Let a site's SuperNode in, and enrol the site with its key."""
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
        did = flower.did_of_node(key)
        open_superlink(settings).register(site, key)
    except (ProfileMissing, SuperLinkUnavailable, ValueError) as failed:
        _stop(str(failed))
    migrate(settings.database_url)
    with closing(Database(settings.database_url)) as database, database.transaction() as db:
        flower.enrol(db, site, did, now=SystemClock().now())
    typer.echo(f"{site} takes part as {did}")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
