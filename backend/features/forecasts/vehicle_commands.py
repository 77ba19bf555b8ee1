"""`python -m backend forecasts …`: train on the fleet's telemetry, foretell every vehicle."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from backend.components import Parts

app = typer.Typer(no_args_is_help=True, help="Train and foretell.")
COLUMNS = (
    "vehicle_did",
    "issued_at",
    "horizon_minutes",
    "valid_at",
    "plug_probability",
    "predicted_energy_to_full",
    "predicted_energy_to_full_kwh",
    "source",
    "energy_source",
    "model_sha256",
    "energy_model_sha256",
)


@app.callback()
def _forecasts() -> None:
    """Train and foretell."""


@app.command("train-vehicles")
def train_vehicles() -> None:
    """Train availability, energy to full and energy at plug-in on everybody's telemetry."""
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import Progress  # noqa: PLC0415

    from backend.features.forecasts import vehicles_service  # noqa: PLC0415
    from backend.features.forecasts.vehicles_service import NotEnoughTelemetry  # noqa: PLC0415

    with _parts() as parts, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=1.0)
        try:
            done = vehicles_service.train_vehicles(
                parts.database,
                parts.artifacts,
                compute=parts.compute,
                gap_min=parts.settings.telemetry_gap_min,
                now=parts.clock.now(),
                report=lambda share, stage: progress.update(
                    task, completed=share, description=stage
                ),
            )
        except NotEnoughTelemetry as problem:
            _stop(f"{problem} {problem.fix}")
    typer.echo(done["message"])
    for model in done["models"]:
        figures = ", ".join(
            f"{name} {value:.4g}"
            for name, value in model["metrics"].items()
            if isinstance(value, float)
        )
        typer.echo(f"{model['kind']} {model['model_id']} {model['status']}: {figures}")


@app.command()
def predict(
    out: Annotated[Path, typer.Option(help="Where the CSV goes")] = Path("predictions.csv"),
) -> None:
    """Foretell every vehicle, a row for each horizon."""
    from sqlalchemy import select  # noqa: PLC0415 - slow to load

    from backend.features.credentials.holder import EVERYONE, Holder  # noqa: PLC0415
    from backend.features.forecasts import vehicles_service  # noqa: PLC0415
    from backend.features.forecasts.vehicles_queries import FleetMemory  # noqa: PLC0415
    from backend.features.vehicles.models import Vehicle  # noqa: PLC0415

    holder = Holder("did:tasco:command-line", frozenset(EVERYONE), "simulated")
    memory, count = FleetMemory(), 0
    with _parts() as parts, parts.database.reading() as db, out.open("w", newline="") as sheet:
        writer = csv.writer(sheet)
        writer.writerow(COLUMNS)
        now = parts.clock.now()
        for did in db.scalars(select(Vehicle.did).order_by(Vehicle.did)).all():
            given = vehicles_service.forecast_vehicle(
                db,
                did,
                holder=holder,
                artifacts=parts.artifacts,
                compute=parts.compute,
                memory=memory,
                gap_min=parts.settings.telemetry_gap_min,
                now=now,
            )
            whole = given.model_dump(mode="json")
            for slot in whole["forecasts"]:
                writer.writerow([{**whole, **slot}[name] for name in COLUMNS])
            count += 1
    typer.echo(f"{count} vehicles foretold in {out}.")


@contextmanager
def _parts() -> Iterator["Parts"]:
    """The application's parts, computing in this process."""
    from backend.components import migrate, open_parts  # noqa: PLC0415 - slow to load
    from backend.observability import configure_logging  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # any will do: nobody is served
    settings = read_settings().model_copy(update={"compute_workers": 0})
    configure_logging(level="warning", as_json=settings.log_format == "json")
    migrate(settings.database_url)
    with open_parts(settings, door=_shut) as parts:
        yield parts


def _shut(*_: object) -> NoReturn:
    raise PermissionError("nobody calls at the command line")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
