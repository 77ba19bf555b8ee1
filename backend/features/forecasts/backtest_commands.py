"""`python -m backend backtest`: how forecasts would have done on recorded sites."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer


def backtest(
    folder: Annotated[
        Path, typer.Argument(help="Folder with *_hourly.csv files", exists=True, file_okay=False)
    ],
    *,
    split: Annotated[
        Path | None,
        typer.Option(
            help="Which days are tested; else the last weeks", exists=True, dir_okay=False
        ),
    ] = None,
    weeks: Annotated[int, typer.Option(min=1, max=52, help="Weeks tested without a split")] = 8,
    site: Annotated[str | None, typer.Option(help="The site to draw; else the first")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw two weeks a day ahead: .svg or .png")
    ] = None,
) -> None:
    """Forecast recorded sites as if living through them, measure, and draw."""
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import Progress  # noqa: PLC0415

    from backend.features.forecasts.recorded import (  # noqa: PLC0415
        RecordsUnreadable,
        plot,
        read_hourly,
        read_windows,
    )
    from backend.forecasting import backtest as harness  # noqa: PLC0415
    from backend.forecasting.history import HOUR  # noqa: PLC0415
    from backend.forecasting.samples import TooLittleHistory  # noqa: PLC0415

    try:
        histories = read_hourly(folder)
        windows = (
            read_windows(split, histories)
            if split
            else {
                one.site_id: harness.Window.last_weeks(one, weeks=weeks)
                for one in histories
                if one.hours * HOUR > timedelta(weeks=weeks, days=harness.CALIBRATION_DAYS)
            }
        )
        if not windows:
            _stop("No site has enough history for its last weeks to be tested; take --weeks 1.")
        if site is not None and site not in windows:
            _stop(f"--site has to be one of: {', '.join(windows)}.")
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("starting", total=1.0)
            outcome = harness.backtest(
                histories,
                windows,
                progress=lambda share, step: progress.update(
                    task, completed=share, description=step
                ),
            )
    except (RecordsUnreadable, TooLittleHistory) as unusable:
        _stop(str(unusable))
    typer.echo("site, rows, WAPE, R2, MAE skill %, like-day WAPE, 80 % band covers %, width kWh")
    for name, one in outcome.figures.items():
        typer.echo(
            f"{name}, {one.rows}, {one.wape:.3f}, {one.r2:.3f}, {100 * one.mae_skill:.1f}, "
            f"{one.like_day_wape:.3f}, {100 * one.coverage_80:.1f}, {one.width_80_kwh:.1f}"
        )
    if out is not None:
        drawn = site or next(iter(windows))
        out.write_bytes(plot(outcome, drawn, image_format=out.suffix.removeprefix(".") or "svg"))
        typer.echo(f"{drawn} is drawn in {out}.")


def import_regressors(
    file: Annotated[Path, typer.Argument(help="CSV: valid_at, value", exists=True, dir_okay=False)],
    *,
    site: Annotated[str, typer.Option(help="Site the values are of")],
    name: Annotated[str, typer.Option(help="temperature_c or price_eur_per_kwh")],
    source: Annotated[str, typer.Option(help="Whose values these are")],
) -> None:
    """Import a weather forecast or day-ahead prices by hour."""
    import os  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from pydantic import ValidationError  # noqa: PLC0415 - slow to load

    from backend.components import migrate  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.features.forecasts.inputs import add_regressors, read_regressors  # noqa: PLC0415
    from backend.features.sites.service import SiteNotFound, require_site  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # any will do: nobody is served
    url = read_settings().database_url
    migrate(url)
    database = Database(url)
    try:
        given = read_regressors(file, name=name, source=source)
        with database.transaction() as db:
            require_site(db, site)
            stored = add_regressors(db, site, given, now=datetime.now(UTC))
    except (KeyError, ValidationError, ValueError) as unreadable:
        _stop(f"{file.name}: {unreadable}")
    except SiteNotFound:
        _stop(f"There is no site {site}.")
    finally:
        database.close()
    typer.echo(f"{stored} hours of {name} are known at {site}.")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
