"""`python -m backend plot federated-fleet`: a fleet run as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from backend.features.federated.commands import PICTURES, form_of, open_database, write


def plot_fleet(
    run: Annotated[str | None, typer.Argument(help="Id of the run; by default the newest")] = None,
    out: Annotated[Path, typer.Option(help="Where the picture goes: .png or .svg")] = Path(
        "fleet.png"
    ),
) -> None:
    """Draw the accuracy of a simulated fleet by round, with its baselines."""
    from backend.features.federated import fleet_plots, fleet_service  # noqa: PLC0415 - slow

    form = form_of(out, PICTURES)
    with open_database() as database, database.reading() as db:
        result = fleet_service.result_of(db, run)
    if result is None:
        typer.echo("There is no such run.", err=True)
        raise typer.Exit(code=2)
    write(out, fleet_plots.plot(result, image_format=form))
    typer.echo(f"Drawn in {out}.")
