"""`python -m backend supernode …`: which sites' SuperNodes a SuperLink lets in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from backend.features.federated import trees_commands

if TYPE_CHECKING:
    from backend.adapters.federation.superlink import Node, SuperLink
    from backend.database import Database

app = typer.Typer(no_args_is_help=True, help="Sites that train through a Flower SuperLink.")
KeyFile = Annotated[
    Path, typer.Argument(help="Its public key: P-384, OpenSSH", exists=True, dir_okay=False)
]
LINE = "{:<24}{:<14}{:<14}{}"
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
        flower.require_names(site, did)
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


@app.command("list")
def show() -> None:
    """List the sites: state, SuperNode and DID."""
    from backend.features.federated import queries  # noqa: PLC0415 - slow to load
    from backend.features.federated.models import FLOWER  # noqa: PLC0415

    with _opened() as (link, database):
        places = _places(link.nodes())
        with database.reading() as db:
            rows = {one.site_id: (one.state, one.did) for one in queries.participants(db, FLOWER)}
    typer.echo(LINE.format("site", "state", "node", "DID"))
    for site in sorted(rows.keys() | places.keys()):
        state, did = rows.get(site, ("not enrolled", "-"))
        typer.echo(LINE.format(site, state, places.get(site, "not let in"), did))


@app.command()
def remove(site: Annotated[str, typer.Argument(help="The site's id")]) -> None:
    """Let a site's SuperNode in no longer; the site takes part no more until it enrols again."""
    from backend.clock import SystemClock  # noqa: PLC0415 - slow to load
    from backend.features.federated import flower  # noqa: PLC0415

    with _opened() as (link, database):
        nodes = [one.id for one in link.nodes() if one.name == site]
        with database.reading() as db:
            is_enrolled = flower.is_enrolled(db, site)
        if not nodes and not is_enrolled:
            _stop(f"There is no SuperNode of {site}.")
        for node_id in nodes:
            link.unregister(node_id)
        with database.transaction() as db:
            flower.withdraw(db, site, now=SystemClock().now())
    typer.echo(f"{site} takes part no longer")


@contextmanager
def _opened() -> Iterator[tuple["SuperLink", "Database"]]:
    """The SuperLink and the migrated database; ends the command where one cannot be asked."""
    from backend.adapters.federation.superlink import (  # noqa: PLC0415 - slow to load
        SuperLinkUnavailable,
    )
    from backend.components import migrate, open_superlink  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.settings import ProfileMissing, read_settings  # noqa: PLC0415

    try:
        settings = read_settings()
        link = open_superlink(settings)
        migrate(settings.database_url)
        with closing(Database(settings.database_url)) as database:
            yield link, database
    except (ProfileMissing, SuperLinkUnavailable, ValueError) as failed:
        _stop(str(failed))


def _places(nodes: Sequence["Node"]) -> dict[str, str]:
    """Where the node of each name is; a name that was given twice is nobody's."""
    count = Counter(one.name for one in nodes)
    return {
        one.name: "let in twice"
        if count[one.name] > 1
        else ("connected" if one.is_connected else "away")
        for one in nodes
        if one.name
    }


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
