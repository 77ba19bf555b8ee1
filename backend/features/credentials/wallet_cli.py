"""`python -m backend wallet …`: create keys, hold credentials, answer challenges."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from backend.adapters.verifier.keys import SigningKey
    from backend.features.credentials.wallet import Wallet
    from backend.features.credentials.wallet_client import HttpService

app = typer.Typer(no_args_is_help=True, help="A wallet to play with.")
Folder = Annotated[Path, typer.Option("--dir", help="Where the wallets lie")]
HERE = Path(".data/wallet")
Name = Annotated[str, typer.Argument(help="Name of the wallet")]
Url = Annotated[str, typer.Option(help="Address of the service")]
LOCAL = "http://127.0.0.1:8000"
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Credentials of this type only; repeatable")
]


@contextmanager
def _refusals_told() -> Iterator[None]:
    """A refusal ends the command with its one sentence."""
    from backend.features.credentials.wallet import WalletRefused  # noqa: PLC0415 - slow to load

    try:
        yield
    except WalletRefused as refused:
        typer.secho(str(refused), fg=typer.colors.RED, err=True)
        raise typer.Exit(code=1) from None


@app.command()
def create(
    name: Name,
    *,
    kind: Annotated[
        Literal["Ed25519", "P-256", "secp256k1"], typer.Option(help="Curve of the key")
    ] = "Ed25519",
    lock: Annotated[bool, typer.Option("--lock", help="Ask for a passphrase")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option("--import", help="Take the private JWK of this file, - for the input"),
    ] = None,
    did: Annotated[
        str | None, typer.Option(help="Whom the key speaks for; else its did:key")
    ] = None,
    folder: Folder = HERE,
) -> None:
    """Make a wallet: a key in a file that only you may read."""
    from backend.adapters.verifier.keys import KeyKind, generate_key  # noqa: PLC0415
    from backend.features.credentials import wallet  # noqa: PLC0415

    with _refusals_told():
        key = wallet.read_jwk(_text(key_file)) if key_file else generate_key(KeyKind(kind))
        asked = (
            typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if lock else None
        )
        made = wallet.create(folder, name, key, passphrase=asked, did=did)
    typer.echo(made.did)


@app.command("list")
def list_wallets(folder: Folder = HERE) -> None:
    """List wallets and what they hold."""
    from backend.features.credentials import wallet  # noqa: PLC0415

    with _refusals_told():
        for one in wallet.every(folder):
            typer.echo(f"{one.name}  {one.did}{'  locked' if one.is_locked else ''}")
            for held in one.held():
                typer.echo(f"  {held.type}  {held.id}\n    by {held.issuer}\n    on {held.subject}")


@app.command()
def hold(
    name: Name,
    file: Annotated[Path, typer.Argument(help="JWT or JSON; - for the input")],
    folder: Folder = HERE,
) -> None:
    """Keep a credential, such as an answer of POST /credentials/issue."""
    from backend.features.credentials import wallet  # noqa: PLC0415

    with _refusals_told():
        held = wallet.load(folder, name).hold(wallet.parse(_text(file)))
    typer.echo(f"{name} holds {held.type} {held.id}")


@app.command()
def present(
    name: Name,
    challenge: Annotated[str, typer.Option(help="`challenge` of POST /auth/challenge")],
    domain: Annotated[str, typer.Option(help="`domain` of the same answer")],
    *,
    types: Types = None,
    at: Annotated[
        str | None, typer.Option(help="`issued_at` of the same answer, if its clock is set")
    ] = None,
    folder: Folder = HERE,
) -> None:
    """Print a presentation for a challenge, and the request that exchanges it for a token."""
    with _refusals_told():
        wallet, key = _opened(folder, name)
        shown = wallet.present(
            key,
            challenge=challenge,
            domain=domain,
            at=datetime.fromisoformat(at) if at else datetime.now(UTC),
            types=types or [],
        )
    typer.echo(shown if isinstance(shown, str) else json.dumps(shown))
    body = json.dumps({"presentation": shown, "challenge": challenge})
    typer.echo(
        f"\ncurl -s {domain}/api/v1/auth/token -H 'Content-Type: application/json' -d '{body}'"
    )


@app.command()
def login(name: Name, *, url: Url = LOCAL, types: Types = None, folder: Folder = HERE) -> None:
    """Answer a login challenge of a service; prints the token and a request that uses it."""
    from backend.features.credentials.wallet_client import log_in  # noqa: PLC0415

    with _refusals_told():
        wallet, key = _opened(folder, name)
        logged_in = log_in(_service(url), wallet, key, types=tuple(types or ()))
    typer.echo(json.dumps(logged_in.answer, indent=1))
    headers = logged_in.headers_for("GET", "/api/v1/auth/me")
    spelled = " ".join(f"-H '{key}: {value}'" for key, value in headers.items())
    typer.echo(f"\ncurl -s {logged_in.domain}/api/v1/auth/me {spelled}")


@app.command()
def prove(
    name: Name,
    method: Annotated[str, typer.Argument(help="Of the request, such as GET")],
    url: Annotated[str, typer.Argument(help="Of the request, without its query")],
    token: Annotated[str, typer.Argument(help="Access token of this wallet")],
    folder: Folder = HERE,
) -> None:
    """Print the two headers of one request with a token, for `curl -H @-`."""
    from backend.features.credentials.proofs_of_possession import make_proof  # noqa: PLC0415

    with _refusals_told():
        _, key = _opened(folder, name)
        proof = make_proof(key, method=method, url=url, token=token, now=datetime.now(UTC))
    typer.echo(f"Authorization: DPoP {token}\nDPoP: {proof}")


@app.command()
def request(
    name: Name,
    credential_type: Annotated[str, typer.Option("--type", help="Such as SiteAccessCredential")],
    claims: Annotated[
        list[str] | None,
        typer.Option("--claim", help="name=value, value as JSON or text; repeatable"),
    ] = None,
    *,
    by: Annotated[
        str | None, typer.Option(help="Wallet of the operator who asks; the demo needs none")
    ] = None,
    url: Url = LOCAL,
    folder: Folder = HERE,
) -> None:
    """Have a service issue a credential about this wallet's DID, and hold it."""
    from backend.features.credentials import wallet  # noqa: PLC0415
    from backend.features.credentials.wallet_client import (  # noqa: PLC0415
        log_in,
        request_credential,
    )

    with _refusals_told():
        mine, service = wallet.load(folder, name), _service(url)
        asking = log_in(service, *_opened(folder, by)) if by else None
        said = dict(_claim(one) for one in claims or [])
        made = request_credential(service, credential_type, mine.did, said, by=asking)
        held = mine.hold(made["credential"])
    typer.echo(f"{name} holds {held.type} {held.id}")


def _claim(text: str) -> tuple[str, Any]:
    """A claim such as `site=site_hq`, `tier=1` or `sites=["a","b"]`."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _opened(folder: Path, name: str) -> "tuple[Wallet, SigningKey]":
    from backend.features.credentials import wallet  # noqa: PLC0415

    opened = wallet.load(folder, name)
    secret = typer.prompt("Passphrase", hide_input=True, err=True) if opened.is_locked else None
    return opened, opened.key(secret)


def _service(url: str) -> "HttpService":
    from backend.features.credentials.wallet_client import HttpService  # noqa: PLC0415

    return HttpService(url)


def _text(file: Path) -> str:
    from backend.features.credentials.wallet import WalletRefused  # noqa: PLC0415

    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WalletRefused(f"{file} cannot be read: {error}") from error
