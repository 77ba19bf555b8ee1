"""The command line: demo, serve, import, replay, plot, doctor."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from backend.edge import commands as edge_commands
from backend.features.anchors import commands as anchor_commands
from backend.features.credentials import admin_commands, wallet_cli
from backend.features.demo import telemetry_commands
from backend.features.federated import commands as federated_commands
from backend.features.federated import fleet_commands, node_commands
from backend.features.forecasts import backtest_commands, vehicle_commands

if TYPE_CHECKING:
    from fastapi import FastAPI

    from backend.components import Parts
    from backend.features.sessions.recordings import Recording

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
imports = typer.Typer(no_args_is_help=True, help="Bring in data from elsewhere.")
app.add_typer(imports, name="import")
plots = typer.Typer(no_args_is_help=True, help="Draw what happened.")
app.add_typer(plots, name="plot")
app.add_typer(admin_commands.app, name="admin")
app.add_typer(wallet_cli.app, name="wallet")
app.add_typer(anchor_commands.chain, name="chain")
app.add_typer(anchor_commands.audit, name="audit")
app.command("verify")(anchor_commands.verify)
app.add_typer(edge_commands.app, name="edge")
app.add_typer(telemetry_commands.app, name="telemetry")
app.add_typer(vehicle_commands.app, name="forecasts")
app.add_typer(federated_commands.app, name="federated")
app.add_typer(fleet_commands.app, name="federated-fleet")
plots.command("federated")(federated_commands.plot_federated)
plots.command("federated-fleet")(fleet_commands.plot_fleet)
app.add_typer(node_commands.app, name="supernode")
app.command()(backtest_commands.backtest)
imports.command("regressors")(backtest_commands.import_regressors)
console = Console(no_color="NO_COLOR" in os.environ, highlight=False)
DEMO_DAYS = 30
STALE_AFTER = timedelta(hours=6)  # a demo whose history ended longer ago is made anew
PORTS_TRIED = 50
LOOPBACK = ("127.0.0.1", "localhost", "::1")
StepMinutes = Annotated[
    int, typer.Option(min=5, max=60, help="Length of a step: 5 or 15, or another part of an hour")
]
PolicyName = Annotated[
    Literal[
        "mpc",
        "mpc-stays",
        "mpc-naive",
        "edf",
        "llf",
        "fcfs",
        "round-robin",
        "uncontrolled",
        "offline",
    ],
    typer.Option(help="Who decides; offline is perfect foresight"),
]
SessionFile = Annotated[
    Path, typer.Argument(help="CSV of recorded sessions", exists=True, dir_okay=False)
]
Port = Annotated[int, typer.Option(help="Port to listen on; the next free one if it is taken")]


@app.command()
def demo(
    port: Port = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    *,
    reset: Annotated[bool, typer.Option("--reset", help="Make the demo data anew")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave open sessions open")] = False,
    i_know: Annotated[
        bool, typer.Option("--i-know", help="Listen beyond this machine without authentication")
    ] = False,
) -> None:
    """Serve the demo profile with demo data: simulated identities, this machine only."""
    if host not in LOOPBACK and not i_know:
        _stop("The demo verifies nobody; it listens on 127.0.0.1 unless you add --i-know.")
    os.environ["TASCO_PROFILE"] = "demo"
    os.environ.setdefault("TASCO_LOG_LEVEL", "warning")
    application = _application()
    with _progress() as report:
        _prepare_demo(application.state.parts, reset=reset, keep=keep, report=report)
    free = _free_port(host, port)
    _welcome(host, free)
    _serve(application, host, free)


@app.command()
def serve(
    port: Port = 8000, host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1"
) -> None:
    """Serve the production profile: callers prove who they are."""
    os.environ["TASCO_PROFILE"] = "production"
    os.environ.setdefault("TASCO_LOG_FORMAT", "json")
    _serve(_application(), host, port)


@imports.command("sessions")
def import_sessions(
    file: Annotated[
        Path, typer.Argument(help="CSV of charging sessions", exists=True, dir_okay=False)
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Another column's name: --map energy_kwh=kWhDelivered"),
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of sites that are new")] = "UTC",
    kind: Annotated[
        Literal["workplace", "depot", "retail", "public"],
        typer.Option(help="Kind of sites that are new"),
    ] = "workplace",
    salt: Annotated[
        str, typer.Option(help="Goes into users' pseudonyms; the same for all of their files")
    ] = "",
) -> None:
    """Import charging sessions; sites and chargers that are new are created."""
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - slow to load

    from backend.components import migrate  # noqa: PLC0415
    from backend.database import Database  # noqa: PLC0415
    from backend.features.sessions.importing import import_file  # noqa: PLC0415
    from backend.features.sessions.records.reading import ImportRefused  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # any will do: nobody is served
    columns = _columns(mapping or [])
    url = read_settings().database_url
    database = Database(url)
    try:
        migrate(url)
        with _progress() as report:
            outcome = import_file(
                database,
                file,
                columns=columns,
                timezone=timezone,
                kind=kind,
                salt=salt,
                now=datetime.now(UTC),
                report=report,
            )
    except ImportRefused as refused:
        _stop(str(refused))
    except OperationalError as error:
        _stop(f"The database does not answer: {error.orig}")
    finally:
        database.close()
    _print_plain(outcome.text())
    raise typer.Exit(code=0 if outcome.kept or outcome.known else 1)


@imports.command("telemetry")
def import_telemetry(
    file: Annotated[
        Path, typer.Argument(help="CSV of points of vehicles", exists=True, dir_okay=False)
    ],
) -> None:
    """Import telemetry; vehicles that are new are registered with their battery."""
    from backend.components import migrate  # noqa: PLC0415 - slow to load
    from backend.database import Database  # noqa: PLC0415
    from backend.features.vehicles.telemetry import TelemetryUnreadable  # noqa: PLC0415
    from backend.features.vehicles.telemetry_importing import import_file  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    os.environ.setdefault("TASCO_PROFILE", "demo")  # any will do: nobody is served
    url = read_settings().database_url
    migrate(url)
    database = Database(url)
    try:
        done = import_file(database, file, now=datetime.now(UTC))
    except TelemetryUnreadable as unreadable:
        _stop(str(unreadable))
    finally:
        database.close()
    _print_plain(
        f"{done.stored} of {done.received} points of {done.vehicles} vehicles stored, "
        f"{done.registered} vehicles registered."
    )


def _columns(mapping: list[str]) -> dict[str, str]:
    """Columns by field, from pairs such as `energy_kwh=kWhDelivered`."""
    pairs = [pair.partition("=") for pair in mapping]
    if not all(field and equals and column for field, equals, column in pairs):
        _stop("--map takes field=column, such as --map energy_kwh=kWhDelivered.")
    return {field.strip(): column.strip() for field, _, column in pairs}


@app.command()
def replay(
    file: SessionFile,
    *,
    policy: PolicyName = "mpc",
    cap: Annotated[
        float, typer.Option(min=0.01, help="Site limit as a share of the uncontrolled peak")
    ] = 0.5,
    days: Annotated[
        list[datetime] | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Repeatable")
    ] = None,
    step_minutes: StepMinutes = 15,
    taper_kwh: Annotated[
        float, typer.Option(min=0, help="Open energy below which batteries take less and less")
    ] = 0.0,
    stated: Annotated[
        bool, typer.Option("--stated", help="Departures are what drivers said")
    ] = False,
    deadband: Annotated[
        bool, typer.Option("--deadband", help="Chargers are off below 6 A")
    ] = False,
) -> None:
    """Live through recorded days with a policy that sees arrivals when they happen."""
    from backend.features.sessions.recordings import (  # noqa: PLC0415 - slow to load
        LEAST_CURRENT_KW,
        day_of,
        with_equipment,
    )
    from backend.features.sessions.replays import live  # noqa: PLC0415

    if 60 % step_minutes:
        _stop("An hour has to be a whole number of steps.")
    chosen = _recorded_days(file, [one.date() for one in days or []])
    _print_plain("site, day, vehicles, met, wanted kWh, delivered %, peak kW, bill USD, violations")
    for recording, day in chosen:
        made = day_of(recording, day, cap=cap, step_h=step_minutes / 60, is_stated=stated)
        if deadband or taper_kwh:
            least_kw = LEAST_CURRENT_KW if deadband else 0.0
            made = with_equipment(made, min_kw=least_kw, taper_kwh=taper_kwh)
        lived = live(made, policy)
        came = lived.outcome
        share = 100 * came.delivered_kwh / came.demand_kwh if came.demand_kwh else 100.0
        _print_plain(
            f"{recording.site}, {day}, {came.vehicles}, {came.met}, {came.demand_kwh:.1f}, "
            f"{share:.2f}, {came.peak_kw:.1f}, {came.bill_eur:.2f}, {len(lived.replay.violations)}"
        )


@plots.command("day")
def plot_day(
    file: SessionFile,
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Local date")],
    *,
    out: Annotated[Path, typer.Option(help="Where the SVG goes")] = Path("day.svg"),
    site: Annotated[str | None, typer.Option(help="Needed if the file has several")] = None,
    policy: PolicyName = "mpc",
    cap: Annotated[
        float, typer.Option(min=0.01, help="Site limit as a share of the uncontrolled peak")
    ] = 0.5,
    planned_at: Annotated[
        float, typer.Option(min=0, max=24, help="Hour whose plan is drawn")
    ] = 9.0,
) -> None:
    """Draw planned and actual power, limit, price and the uncontrolled day as SVG."""
    from backend.features.sessions import replays  # noqa: PLC0415 - slow to load
    from backend.features.sessions.recordings import day_of  # noqa: PLC0415

    found = _recorded_days(file, [day.date()])
    chosen = [recording for recording, _ in found if site in {None, recording.site}]
    if len(chosen) != 1:
        _stop(f"--site has to be one of: {', '.join(sorted(one.site for one, _ in found))}.")
    made = day_of(chosen[0], day.date(), cap=cap)
    out.write_text(replays.plot_day(made, policy, planned_at_h=planned_at), encoding="utf-8")
    _print_plain(f"Drawn in {out}.")


def _recorded_days(file: Path, named: list[date]) -> "list[tuple[Recording, date]]":
    """The named days of every site of a file, else those that are usually measured."""
    from backend.features.sessions.recordings import (  # noqa: PLC0415 - slow to load
        days_to_measure,
        read_sessions,
    )

    try:
        places = read_sessions(file).values()
    except (KeyError, ValueError) as unreadable:
        _stop(f"{file.name} is no file of recorded sessions: {unreadable}")
    found = [
        (place, day)
        for place in places
        for day in (named or days_to_measure(place))
        if place.on(day)
    ]
    if not found:
        _stop("No such day; without --day: no busy workday with four earlier same weekdays.")
    return found


@app.command()
def doctor() -> None:
    """Say what is installed, where the data lies and whether the database answers."""
    from backend import __version__  # noqa: PLC0415
    from backend.settings import ProfileMissing, read_settings  # noqa: PLC0415

    rows = {
        "tasco": __version__,
        "python": sys.version.split()[0],
        "free disk": f"{shutil.disk_usage('.').free / 1e9:.0f} GB",
    }
    try:
        settings = read_settings()
    except ProfileMissing as missing:
        _print_rows(rows)
        _stop(str(missing))
    rows |= {"profile": settings.profile, "database": _database_state(settings.database_url)}
    _print_rows(rows)


def _database_state(url: str) -> str:
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from backend.database import Database  # noqa: PLC0415

    database = Database(url)
    try:
        with database.reading() as db:
            revision = db.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as error:
        return f"{database.url.get_backend_name()}: not ready ({type(error).__name__})"
    finally:
        database.close()
    return f"{database.url.get_backend_name()}, revision {revision}"


def _application() -> "FastAPI":
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - slow to load

    from backend.features.credentials.service_key import SigningKeyMissing  # noqa: PLC0415
    from backend.main import create_app  # noqa: PLC0415
    from backend.settings import read_settings  # noqa: PLC0415

    settings = read_settings()
    try:
        return create_app(settings)
    except SigningKeyMissing as missing:
        _stop(str(missing))
    except OperationalError as error:
        _stop(f"The database does not answer: {error.orig}")


def _prepare_demo(
    parts: "Parts", *, reset: bool, keep: bool, report: Callable[[float, str], None]
) -> None:
    """Have demo data that ends about now and, unless told otherwise, every charger free."""
    from backend.features.demo import service  # noqa: PLC0415 - slow to load
    from backend.features.demo.data import make_data  # noqa: PLC0415

    observed_to = service.newest_observation(parts.database)
    is_stale = observed_to is not None and parts.clock.now() - observed_to > STALE_AFTER
    if reset or observed_to is None or (is_stale and not keep):
        make_data(parts, days=DEMO_DAYS, report=report)
    elif not keep:
        service.close_open_sessions(parts.database, now=parts.clock.now())


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield _PlainReport()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda share, stage: progress.update(task, completed=share, description=stage)


class _PlainReport:
    """Prints each stage once."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, share: float, stage: str) -> None:
        if stage != self._stage:
            console.print(f"  {100 * share:3.0f} %  {stage}")
            self._stage = stage


def _free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next one that is free."""
    for port in range(wanted, wanted + PORTS_TRIED):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        if port != wanted:
            console.print(f"Port {wanted} is taken; using {port}.")
        return port
    _stop(f"No free port from {wanted} to {wanted + PORTS_TRIED - 1}.")
    raise AssertionError  # pragma: no cover - _stop does not return


def _welcome(host: str, port: int) -> None:
    from backend import __version__  # noqa: PLC0415

    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    console.print(
        f"\n  TASCO {__version__} — demo: nobody is verified, every answer is marked simulated\n\n"
        f"  API docs   {address}/docs\n"
        f"  Try        curl -s {address}/api/v1/sites\n"
        f"  Next       1) open the docs, POST /api/v1/sessions/start, pick an example, Execute\n"
        f"             2) POST /api/v1/forecasts/train, then GET /api/v1/forecasts/site/site_hq\n"
        f"             3) POST /api/v1/demo/clock to see 17:00 at any time\n"
        f"  Stop       Ctrl-C          Start over   run.py demo --reset\n",
        soft_wrap=True,
    )


def _serve(application: "FastAPI", host: str, port: int) -> None:
    import uvicorn  # noqa: PLC0415 - slow to load

    from backend.main import KEEP_ALIVE_S  # noqa: PLC0415

    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    try:
        server.run()
    except KeyboardInterrupt:
        console.print("Stopped.")
    if not server.started:
        raise typer.Exit(code=1)


def _print_rows(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        console.print(f"  {name:12} {value}")


def _print_plain(text: str) -> None:
    """Print somebody else's text: whole lines, and brackets are no markup."""
    console.print(text, markup=False, soft_wrap=True)


def _stop(message: str) -> NoReturn:
    _print_plain(message)
    raise typer.Exit(code=2)
