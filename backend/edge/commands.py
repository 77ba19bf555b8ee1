"""`python -m backend edge …`: models and telemetry on a gateway, without the service."""

import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from backend.edge.bundle import Bundle
    from backend.federation.peers import Peers

app = typer.Typer(no_args_is_help=True, help="Run models where the chargers are.")
BundleFile = Annotated[Path, typer.Argument(help="Edge bundle", exists=True, dir_okay=False)]
Registered = Annotated[str, typer.Option("--sha256", help="Registered hash of the bundle")]
BufferFile = Annotated[Path, typer.Option("--buffer", help="File that holds the telemetry")]


@app.command()
def check(bundle: BundleFile, sha256: Registered) -> None:
    """Say what is in a bundle; refuse it if it is not the registered one."""
    from backend.edge.bundle import BundleRefused, unpack  # noqa: PLC0415 - slow to load

    try:
        manifest = unpack(bundle.read_bytes(), sha256=sha256).manifest
    except BundleRefused as refused:
        _stop(str(refused))
    for name in ("model_id", "kind", "model_sha256", "trained_at", "parity_max", "rows_checked"):
        typer.echo(f"{name:14} {getattr(manifest, name)}")
    typer.echo(f"{'features':14} {len(manifest.features)}")


@app.command()
def record(buffer: BufferFile) -> None:
    """Keep telemetry from standard input, one JSON object a line; works without a connection.

    {"at": "2026-05-04T17:30:00Z", "is_plugged_in": true, "soc_percent": 41.5, "power_kw": 7.4}
    """
    from backend.edge.buffer import Buffer, PointRefused  # noqa: PLC0415

    kept, store = 0, Buffer(buffer)
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        try:
            store.append(json.loads(line))
        except (PointRefused, ValueError) as refused:
            _stop(f"Line {number}: {refused}; {kept} points were kept.")
        kept += 1
    typer.echo(f"{kept} points kept.")


@app.command()
def send(
    buffer: BufferFile,
    url: Annotated[str, typer.Option(help="Address of the service")],
    vehicle: Annotated[str, typer.Option(help="DID of the vehicle")],
    key: Annotated[Path | None, typer.Option(help="The gateway's key.pem")] = None,
    token: Annotated[Path | None, typer.Option(help="File with its access token")] = None,
) -> None:
    """Send what the service does not have yet; what it cannot take stays.

    With a key and a token every request proves who sends it; production takes nothing without.
    """
    from backend.edge.buffer import Buffer  # noqa: PLC0415
    from backend.edge.proofs import KeyRefused, Pass  # noqa: PLC0415
    from backend.edge.sending import ServiceAway, send  # noqa: PLC0415

    if (key is None) != (token is None):
        _stop("A key needs a token and a token its key: give both or neither.")
    try:
        holder = Pass.of_files(key=key, token=token) if key and token else None
        sent = send(Buffer(buffer), url=url, vehicle_did=vehicle, holder=holder)
    except KeyRefused as refused:
        _stop(f"Not sent: {refused}.")
    except ServiceAway as away:
        _stop(f"Not sent, kept for later: {away}")
    typer.echo(f"{sent.taken} points sent, {sent.refused} refused and set aside.")


@app.command("train")
def join_rounds(
    *,
    url: Annotated[str, typer.Option(help="Address of the service, as it calls itself")],
    site: Annotated[str, typer.Option(help="Id of the site")],
    key: Annotated[Path, typer.Option(help="The gateway's key.pem (Ed25519)")],
    data: Annotated[
        Path, typer.Option(help="CSV: timestamp, energy_kwh by hour", exists=True, dir_okay=False)
    ],
    token: Annotated[
        Path | None, typer.Option(help="File with its access token, read for every request")
    ] = None,
    did: Annotated[str | None, typer.Option(help="DID of the key, if not its did:key")] = None,
    series: Annotated[str | None, typer.Option(help="Value of the file's column site")] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of the site")] = "UTC",
    country: Annotated[str | None, typer.Option(help="Whose holidays count, ISO 3166")] = None,
    idle_s: Annotated[
        float, typer.Option(min=0, help="End when nothing was asked for so long; 0 goes on")
    ] = 0.0,
    poll_s: Annotated[float, typer.Option(min=0.01, help="Seconds between questions")] = 2.0,
    max_epsilon: Annotated[
        float | None, typer.Option(min=0.001, help="Train with noise only, and no more than this")
    ] = None,
    ledger: Annotated[Path, typer.Option(help="File that holds what was spent of it")] = Path(
        "privacy.json"
    ),
    masked_only: Annotated[
        bool, typer.Option("--masked-only", help="Send updates in masked sums alone")
    ] = False,
    peers: Annotated[
        Path | None,
        typer.Option(
            help="JSON: the did:key of each other site; masked sums are joined with these alone",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    memory: Annotated[
        Path, typer.Option(help="File that holds what has to be remembered of masked sums")
    ] = Path("masking.json"),
) -> None:
    """Take part in federated rounds: train and score here, send signed updates, keep the data."""
    from backend.edge.asking import ServiceAway  # noqa: PLC0415 - slow to load
    from backend.edge.budget import Budget  # noqa: PLC0415
    from backend.edge.learning import Gateway, take_part  # noqa: PLC0415
    from backend.edge.proofs import KeyRefused, Pass, key_in  # noqa: PLC0415
    from backend.edge.series import DataRefused, examples_in  # noqa: PLC0415
    from backend.masked_sums import Memory  # noqa: PLC0415

    try:
        gateway = Gateway(
            url=url,
            site_id=site,
            key=key_in(key),
            examples=examples_in(data, series=series, timezone=timezone, country=country),
            holder=(lambda: Pass.of_files(key=key, token=token)) if token else None,
            did=did,
            budget=Budget(ledger, site_id=site, max_epsilon=max_epsilon) if max_epsilon else None,
            peers=_peers(peers),
            is_masked_only=masked_only,
            memory=Memory(memory, site_id=site),
        )
        gateway.enrol()
        done = take_part(gateway, idle_s=idle_s, poll_s=poll_s, told_of=_complain)
    except (DataRefused, KeyRefused, ServiceAway) as refused:
        _stop(str(refused))
    typer.echo(
        f"{done.trained} updates, {done.masked} letters of masked sums and {done.scored} scores "
        f"sent, {len(done.refused)} refused."
    )
    for reason in sorted(set(done.refused)):
        typer.echo(f"  {done.refused.count(reason)} {reason}")


@app.command("enrol")
def enrol_site(
    *,
    url: Annotated[str, typer.Option(help="Address of the service, as it calls itself")],
    site: Annotated[str, typer.Option(help="Id of the site")],
    key: Annotated[Path, typer.Option(help="The site's key.pem (Ed25519), which signs updates")],
    token: Annotated[Path | None, typer.Option(help="File with its access token")] = None,
    did: Annotated[str | None, typer.Option(help="DID of the key, if not its did:key")] = None,
    engine: Annotated[
        Literal["edge", "flower"], typer.Option(help="flower: its SuperNode takes part")
    ] = "flower",
) -> None:
    """Have the DID enrolled that signs for a site; a SuperNode's site does this once."""
    from backend.edge.asking import ServiceAway, ask_over_http  # noqa: PLC0415 - slow to load
    from backend.edge.enrolling import enrol  # noqa: PLC0415
    from backend.edge.proofs import KeyRefused, Pass, key_in  # noqa: PLC0415
    from backend.federation.signing import did_of  # noqa: PLC0415

    now = datetime.now(UTC)
    try:
        own = did or did_of(key_in(key))
        holder = (lambda: Pass.of_files(key=key, token=token)) if token else None
        enrol(url, site, did=own, engine=engine, holder=holder, ask=ask_over_http, now=now)
    except (KeyRefused, ServiceAway) as refused:
        _stop(str(refused))
    typer.echo(f"{site} takes part as {own}")


@app.command("model")
def fetch_model(
    *,
    url: Annotated[str, typer.Option(help="Address of the service, as it calls itself")],
    sha256: Annotated[str, typer.Option("--sha256", help="Registered content hash of the model")],
    out: Annotated[Path, typer.Option(help="Where the npz goes")],
    key: Annotated[Path | None, typer.Option(help="The gateway's key.pem")] = None,
    token: Annotated[Path | None, typer.Option(help="File with its access token")] = None,
) -> None:
    """Fetch the model that sites learned together; refuse it if it is not the registered one."""
    from backend.edge.asking import ServiceAway  # noqa: PLC0415 - slow to load
    from backend.edge.models import ModelRefused, fetch_model  # noqa: PLC0415
    from backend.edge.proofs import KeyRefused, Pass  # noqa: PLC0415

    if (key is None) != (token is None):
        _stop("A key needs a token and a token its key: give both or neither.")
    try:
        holder = Pass.of_files(key=key, token=token) if key and token else None
        data = fetch_model(url, sha256=sha256, holder=holder)
    except (KeyRefused, ServiceAway, ModelRefused) as refused:
        _stop(str(refused))
    out.write_bytes(data)
    typer.echo(f"{len(data)} bytes in {out}.")


def _peers(file: Path | None) -> "Peers":
    from backend.federation.peers import peers_of  # noqa: PLC0415

    if file is None:
        return {}
    try:
        return peers_of(file.read_text(encoding="utf-8"))
    except ValueError as refused:
        _stop(f"{file}: {refused}")


def _complain(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def predict(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles", exists=True, dir_okay=False)],
    *,
    sha256: Annotated[
        list[str], typer.Option("--sha256", help="Registered hash of each bundle, in their order")
    ],
    buffer: BufferFile,
    vehicle: Annotated[str, typer.Option(help="DID of the vehicle")],
    capacity_kwh: Annotated[float, typer.Option(min=0.1, help="Its battery")],
    timezone: Annotated[str, typer.Option(help="IANA zone of the site")] = "UTC",
    country: Annotated[str | None, typer.Option(help="Whose holidays count, ISO 3166")] = None,
    at: Annotated[str | None, typer.Option(help="Moment, ISO 8601; now if left out")] = None,
) -> None:
    """Foretell plug-in and energy to full from the buffered telemetry, as JSON."""
    from backend.edge.buffer import Buffer  # noqa: PLC0415 - slow to load
    from backend.edge.bundle import BundleRefused  # noqa: PLC0415
    from backend.edge.outlook import LocalVehicle, NothingKnown, look_ahead  # noqa: PLC0415

    local = LocalVehicle(vehicle, capacity_kwh, timezone, country)
    try:
        opened = _opened(bundles, sha256)
        outlook = look_ahead(Buffer(buffer), local, opened, now=_moment(at))
    except (BundleRefused, NothingKnown) as refused:
        _stop(str(refused))
    slots = [
        {
            "horizon_minutes": int(minutes),
            "plug_probability": _known(chance),
            "predicted_energy_to_full": _known(points),
            "predicted_energy_to_full_kwh": _known(points * capacity_kwh / 100),
        }
        for minutes, chance, points in zip(
            outlook.lead_min, outlook.plug_probability, outlook.to_full_percent, strict=True
        )
    ]
    said: dict[str, Any] = {
        "vehicle_did": vehicle,
        "source": outlook.source,
        "energy_source": outlook.energy_source,
        "is_after_gap": outlook.is_after_gap,
        "models": {one.manifest.kind: one.sha256 for one in opened},
        "forecasts": slots,
    }
    typer.echo(json.dumps(said, indent=2))


def _opened(files: list[Path], registered: list[str]) -> "list[Bundle]":
    from backend.edge.bundle import BundleRefused, unpack  # noqa: PLC0415 - slow to load

    if len(files) != len(registered):
        raise BundleRefused("Every bundle needs its registered hash: give --sha256 for each.")
    pairs = zip(files, registered, strict=True)
    return [unpack(file.read_bytes(), sha256=one) for file, one in pairs]


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _stop(f"{text} is no moment such as 2026-05-04T17:30:00Z.")
    if moment.tzinfo is None:
        _stop(f"{text} needs an offset, such as Z.")
    return moment.astimezone(UTC)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=2)
