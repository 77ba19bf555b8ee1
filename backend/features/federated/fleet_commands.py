"""`python -m backend federated-fleet …` and `plot federated-fleet`: what came of a fleet run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.features.federated.commands import PICTURES, form_of, open_database, write

if TYPE_CHECKING:
    from backend.features.federated.fleet_schemas import FleetRunExport

app = typer.Typer(no_args_is_help=True, help="Runs of simulated fleets.")
RunId = Annotated[str | None, typer.Argument(help="Id of the run; by default the newest")]


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="A .csv of its curve, or a .json of everything")],
    run: RunId = None,
) -> None:
    """Write a fleet run's figures to a file."""
    from backend.features.federated import exports  # noqa: PLC0415 - slow to load

    form, result = form_of(out, ("csv", "json")), _found(run)
    if form == "csv":
        text = exports.fleet_curve_csv(result)
    else:
        text = result.model_dump_json(indent=2) + "\n"
    write(out, text.encode())
    typer.echo(f"Written to {out}.")


def plot_fleet(
    run: RunId = None,
    out: Annotated[Path, typer.Option(help="Where the picture goes: .png or .svg")] = Path(
        "fleet.png"
    ),
) -> None:
    """Draw the accuracy of a simulated fleet by round, with its baselines."""
    from backend.features.federated import fleet_plots  # noqa: PLC0415 - slow to load

    form, result = form_of(out, PICTURES), _found(run)
    write(out, fleet_plots.plot(result, image_format=form))
    typer.echo(f"Drawn in {out}.")


def _found(run: str | None) -> "FleetRunExport":
    from backend.features.federated import fleet_service  # noqa: PLC0415 - slow to load

    with open_database() as database, database.reading() as db:
        result = fleet_service.result_of(db, run)
    if result is None:
        typer.echo("There is no such run.", err=True)
        raise typer.Exit(code=2)
    return result
