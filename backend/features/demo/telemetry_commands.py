"""`python -m backend telemetry …`: simulated telemetry of recorded or demonstration stays."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from backend.forecasting.telemetry_simulation import RecordedStays

app = typer.Typer(no_args_is_help=True, help="Telemetry of vehicles.")
COLUMNS = (
    "vehicle_did",
    "battery_capacity_kwh",
    "at",
    "is_plugged_in",
    "soc_percent",
    "power_kw",
)
NAMES = {  # by field: what files of recorded sessions call it
    "vehicle": ("vehicle", "user", "vehicle_did"),
    "plug_in": ("plug_in", "arrival", "started_at"),
    "charge_end": ("charge_end", "done_charging"),
    "plug_out": ("plug_out", "departure", "ended_at"),
    "energy_kwh": ("energy_kwh",),
}


@app.callback()
def _telemetry() -> None:
    """Telemetry of vehicles."""


@app.command()
def generate(
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV of recorded sessions with vehicles; else the demonstration's"),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Where the CSV goes")] = Path("telemetry.csv"),
    vehicles: Annotated[int, typer.Option(min=1, help="Those with most sessions")] = 20,
    days: Annotated[int, typer.Option(min=1, max=800, help="Length, up to the last stay")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file")] = 0,
    end: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Move all by whole weeks to end by this day, UTC"),
    ] = None,
) -> None:
    """Replay the plug pattern of sessions with simulated batteries.

    Points come every 1 to 10 minutes, with gaps of hours to days, twice and out of order.
    """
    from backend.forecasting.telemetry_simulation import (  # noqa: PLC0415 - slow to load
        SimulationSettings,
        simulate,
    )

    stays = list(_recorded(file) if file else _demonstrated(days, seed))
    if not stays:
        _stop("No session names a vehicle.")
    chosen = sorted(stays, key=lambda one: (-len(one.plug_in_s), one.vehicle_id))[:vehicles]
    end_s = max(int(one.plug_out_s.max()) for one in chosen)
    moved_s = _whole_weeks_s(end_s, end)
    count = 0
    with out.open("w", newline="", encoding="utf-8") as sheet:
        writer = csv.writer(sheet)
        writer.writerow(COLUMNS)
        for one in chosen:
            drawn = simulate(
                one,
                begin_s=end_s - days * 86_400,
                end_s=end_s,
                settings=SimulationSettings(seed=seed),
            )
            columns = drawn.at_s, drawn.is_plugged_in, drawn.soc_percent, drawn.power_kw
            for at_s, state, soc, power in zip(*columns, strict=True):
                moment = datetime.fromtimestamp(int(at_s) + moved_s, tz=UTC).isoformat()
                truth = "true" if state else "false"
                capacity = f"{drawn.battery_capacity_kwh:g}"
                row = (drawn.vehicle_id, capacity, moment, truth, f"{soc:g}", f"{power:.3f}")
                writer.writerow(row)
                count += 1
    typer.echo(f"{count} simulated points of {len(chosen)} vehicles in {out}.")


def _whole_weeks_s(last_s: int, end: datetime | None) -> int:
    """How far to move what ends at `last_s` so that it ends by a day and weekdays stay."""
    if end is None:
        return 0
    week_s = 7 * 86_400
    return (int(end.replace(tzinfo=UTC).timestamp()) - last_s) // week_s * week_s


def _recorded(file: Path) -> "Iterator[RecordedStays]":
    """The stays of each vehicle in a file of sessions, pseudonymous as the file is."""
    by_vehicle: dict[str, list[tuple[int, int, int, float]]] = defaultdict(list)
    with file.open(newline="", encoding="utf-8") as sheet:
        for row in csv.DictReader(sheet):
            try:
                cells = {field: _cell(row, names) for field, names in NAMES.items()}
                came, left = (_seconds(cells[name]) for name in ("plug_in", "plug_out"))
                done = _seconds(cells["charge_end"]) if cells["charge_end"] else left
                if cells["vehicle"]:
                    stay = (came, min(done, left), left, float(cells["energy_kwh"]))
                    by_vehicle[cells["vehicle"]].append(stay)
            except ValueError as error:
                _stop(f"{file.name} is no file of recorded sessions: {error}")
    for vehicle, rows in sorted(by_vehicle.items()):
        yield _stays(f"did:denso:vehicle:{vehicle}", rows)


def _cell(row: dict[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _demonstrated(days: int, seed: int) -> "Iterator[RecordedStays]":
    """The stays of the demonstration's vehicles up to this hour."""
    from backend.features.demo.world import generate_world  # noqa: PLC0415 - slow to load

    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    by_vehicle: dict[str, list[tuple[int, int, int, float]]] = defaultdict(list)
    for one in generate_world(days=days, end=end, seed=seed).sessions:
        charged = [place for place, kwh in enumerate(one.profile_kwh) if kwh > 0]
        last = charged[-1] + 1 if charged else 0
        done = min(one.profile_start + last * timedelta(minutes=15), one.ended_at)
        moments = (one.started_at, max(done, one.started_at), one.ended_at)
        came, finished, left = (int(moment.timestamp()) for moment in moments)
        by_vehicle[one.vehicle_did].append((came, finished, left, one.energy_kwh))
    for vehicle, rows in sorted(by_vehicle.items()):
        yield _stays(vehicle, rows)


def _stays(vehicle: str, rows: list[tuple[int, int, int, float]]) -> "RecordedStays":
    import numpy as np  # noqa: PLC0415 - slow to load

    from backend.forecasting.telemetry_simulation import RecordedStays  # noqa: PLC0415

    ordered = sorted(rows)
    came, done, left = (
        np.array([row[place] for row in ordered], dtype=np.int64) for place in range(3)
    )
    return RecordedStays(vehicle, came, done, left, np.array([row[3] for row in ordered]))


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
