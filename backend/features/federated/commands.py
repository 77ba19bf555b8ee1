"""`python -m backend federated …` and `plot federated`: experiments, and a site that is new."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from backend.database import Database
    from backend.features.federated.models import FederatedExperiment

app = typer.Typer(no_args_is_help=True, help="Federated rounds.")
PICTURES = ("png", "svg")
ExperimentName = Annotated[str, typer.Argument(help="Id of the experiment")]


@app.command()
def newcomer(
    site: Annotated[str | None, typer.Option(help="Which is new; by default the last")] = None,
    days: Annotated[int, typer.Option(min=3, max=366, help="Days of history that it has")] = 7,
) -> None:
    """Show a new site alone and with the federation, side by side, as JSON."""
    from backend.clock import SystemClock  # noqa: PLC0415 - slow to load
    from backend.features.federated import newcomer as comparison  # noqa: PLC0415
    from backend.problems import Problem  # noqa: PLC0415

    with open_database() as database:
        with database.reading() as db:
            found = comparison.histories(db, now=SystemClock().now())
        try:
            shown = comparison.side_by_side(found, site, history_days=days)
        except Problem as problem:
            _stop(f"{problem} {problem.fix}")
    typer.echo(shown.model_dump_json(indent=2))


@app.command()
def export(
    experiment: ExperimentName,
    out: Annotated[Path, typer.Option(help="A .csv of its curve, or a .json of everything")],
) -> None:
    """Write an experiment's figures to a file."""
    from backend.features.federated import exports, views  # noqa: PLC0415 - slow to load

    form = form_of(out, ("csv", "json"))
    with open_database() as database, database.reading() as db:
        row = _found(database, experiment)
        if form == "csv":
            text = exports.curve_csv(db, experiment)
        else:
            text = views.experiment_view(db, row).model_dump_json(indent=2) + "\n"
    write(out, text.encode())
    typer.echo(f"Written to {out}.")


def plot_federated(
    experiment: ExperimentName,
    out: Annotated[Path, typer.Option(help="Where the picture goes: .png or .svg")] = Path(
        "federated.png"
    ),
) -> None:
    """Draw an experiment: what was learned, who took part, what it took."""
    from backend.features.federated import plots, views  # noqa: PLC0415 - slow to load

    form = form_of(out, PICTURES)
    with open_database() as database, database.reading() as db:
        row = _found(database, experiment)
        view = views.experiment_view(db, row)
    title = f"{view.id}: {view.terms['strategy']}, {view.engine}, {len(view.rounds)} rounds"
    write(out, plots.plot(view.rounds, view.summary or {}, title=title, image_format=form))
    typer.echo(f"Drawn in {out}.")


@contextmanager
def open_database() -> Iterator["Database"]:
    """The database that the settings name, migrated, for one command."""
    from backend.components import migrate  # noqa: PLC0415 - slow to load
    from backend.database import Database  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # any will do: nobody is served
    url = read_settings().database_url
    migrate(url)
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def _found(database: "Database", experiment: str) -> "FederatedExperiment":
    from backend.features.federated.models import FederatedExperiment  # noqa: PLC0415

    with database.reading() as db:
        row = db.get(FederatedExperiment, experiment)
    if row is None:
        _stop(f"There is no experiment {experiment}.")
    return row


def form_of(out: Path, forms: Sequence[str]) -> str:
    """The form that a file's name asks for; ends the command if it is none of these."""
    form = out.suffix.removeprefix(".").lower()
    if form not in forms:
        _stop(f"{out.name} has to end in .{' or .'.join(forms)}.")
    return form


def write(out: Path, content: bytes) -> None:
    """Write a file; ends the command if that cannot be done."""
    try:
        out.write_bytes(content)
    except OSError as failure:
        _stop(f"{out} cannot be written: {failure.strerror}.")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
