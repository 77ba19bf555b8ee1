"""`python -m backend supernode rows`: what a site's node grows trees on, made of its telemetry."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer


def rows(
    telemetry: Annotated[
        Path, typer.Argument(help="CSV as for `import telemetry`", exists=True, dir_okay=False)
    ],
    *,
    timezone: Annotated[str, typer.Option(help="IANA zone of the site")],
    country: Annotated[str | None, typer.Option(help="Whose public holidays count")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws rows where there are many")] = 7,
    gap_min: Annotated[float, typer.Option(min=1, help="Silence that is a gap")] = 240.0,
    out: Annotated[Path, typer.Option(help="Where the rows go")] = Path("rows.npz"),
) -> None:
    """Make the file that `trees` in a node's settings names; nothing is sent anywhere."""
    from zoneinfo import ZoneInfoNotFoundError  # noqa: PLC0415 - all of these are slow to load

    from backend.clock import SystemClock  # noqa: PLC0415
    from backend.features.federated.trees_files import rows_of_telemetry  # noqa: PLC0415
    from backend.features.federated.trees_rows import TooFewRows  # noqa: PLC0415
    from backend.features.vehicles.telemetry import TelemetryUnreadable  # noqa: PLC0415
    from backend.federation.tree_rows import SiteRows, to_npz  # noqa: PLC0415

    try:
        found = rows_of_telemetry(
            telemetry,
            timezone=timezone,
            country=country,
            gap_min=gap_min,
            seed=seed,
            now=SystemClock().now(),
        )
    except (TelemetryUnreadable, ZoneInfoNotFoundError, NotImplementedError) as bad:
        _stop(str(bad))
    for target, one in found.items():
        said = one.reason if isinstance(one, TooFewRows) else f"{len(one.train.targets)} rows"
        typer.echo(f"{target}: {said}")
    whole: dict[str, SiteRows] = {
        target: one for target, one in found.items() if isinstance(one, SiteRows)
    }
    if not whole:
        _stop("There are too few rows of anything; nothing was written.")
    out.write_bytes(to_npz(whole))
    typer.echo(f"Written to {out}.")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
