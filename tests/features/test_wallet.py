"""The wallet: keys that only their owner reads, credentials held, and the way through the door."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import Result
from typer.testing import CliRunner

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.keys import KeyKind, generate_key
from backend.cli import app
from backend.clock import SystemClock
from backend.features.credentials import keystore, wallet
from backend.features.credentials.keystore import KeyFileRefused
from backend.features.credentials.registry import LocalRegistry
from backend.features.credentials.wallet import Wallet, WalletRefused
from backend.features.credentials.wallet_client import (
    HttpService,
    Json,
    log_in,
    request_credential,
)
from tests.conftest import House, house_on
from tests.features.test_issuing import trust_own_issuer


class Here:
    """The service of a house, without a network."""

    def __init__(self, house: House) -> None:
        self._house = house

    def ask(self, method: str, path: str, body: Json | None, headers: Mapping[str, str]) -> Json:
        answer = self._house.client.request(method, path, json=body, headers=dict(headers))
        if answer.status_code >= 400:
            raise WalletRefused(answer.text)
        read: Json = answer.json()
        return read


@pytest.fixture
def sqlite_house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    with house_on(sqlite_url, tmp_path) as house:
        trust_own_issuer(house)
        yield house


def run(folder: Path, *arguments: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(app, ["wallet", *arguments, "--dir", str(folder)], **kwargs)


def made(folder: Path, name: str = "anna", **values: Any) -> Wallet:
    return wallet.create(folder, name, generate_key(), **values)


# Keys


@pytest.mark.parametrize("kind", list(KeyKind))
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_key_comes_out_of_its_file_as_it_went_in(kind: KeyKind, passphrase: str | None) -> None:
    key = generate_key(kind)

    text = keystore.to_text(key, passphrase)

    assert keystore.from_text(text, passphrase).private_jwk() == key.private_jwk()
    assert keystore.is_locked(text) == (passphrase is not None)
    assert key.private_jwk()["d"] not in text


@pytest.mark.parametrize("passphrase", [None, "", "wrong"])
def test_a_locked_key_opens_to_its_passphrase_only(passphrase: str | None) -> None:
    text = keystore.to_text(generate_key(), "right")

    with pytest.raises(KeyFileRefused, match="passphrase"):
        keystore.from_text(text, passphrase)


@pytest.mark.parametrize("text", ["", "{}", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "x" * 100])
def test_what_is_no_key_file_is_refused(text: str) -> None:
    with pytest.raises(KeyFileRefused, match="no PKCS #8"):
        keystore.from_text(text)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    anna = made(tmp_path)
    (tmp_path / "anna" / "key.pem").chmod(0o644)

    with pytest.raises(WalletRefused, match="chmod 600"):
        anna.key()


def test_every_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    made(tmp_path)

    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "anna").iterdir()}
    assert modes == {0o600}
    assert len(list((tmp_path / "anna").iterdir())) == 2  # nothing left beside


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    before = made(tmp_path).key().private_jwk()

    with pytest.raises(WalletRefused, match="already"):
        made(tmp_path)

    assert wallet.load(tmp_path, "anna").key().private_jwk() == before


@pytest.mark.parametrize("name", ["../anna", "", "Anna", "a/b", "a" * 50, ".hidden"])
def test_a_wallets_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(WalletRefused, match="name"):
        made(tmp_path, name)


# What it holds


def test_a_credential_is_held_and_replaced_by_its_id(house: House, tmp_path: Path) -> None:
    trust_own_issuer(house)
    anna, service = made(tmp_path / "w"), Here(house)
    claims = {"site": "site_hq"}
    first = request_credential(service, "SiteAccessCredential", anna.did, claims)

    held = [anna.hold(first["credential"]) for _ in range(2)]

    assert held[0].type == "SiteAccessCredential"
    assert held[0].subject == anna.did
    assert [one.id for one in anna.held()] == [first["credential_id"]]
    with pytest.raises(WalletRefused, match="holds no EmploymentCredential"):
        anna.held(["EmploymentCredential"])


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "{}", "[1]", '{"credential": 5}', "{"])
def test_what_is_no_credential_is_refused(text: str) -> None:
    with pytest.raises(WalletRefused):
        wallet.parse(text)


@pytest.mark.parametrize("form", ["jwt", "ldp", "data_integrity"])
def test_presentations_of_every_form_are_accepted(
    sqlite_house: House, tmp_path: Path, form: str
) -> None:
    anna = made(tmp_path / "w")
    body = {
        "credential_type": "SiteAccessCredential",
        "subject_did": anna.did,
        "claims": {"site": "site_hq"},
        "format": form,
    }
    anna.hold(sqlite_house.post("/credentials/issue", body).json()["credential"])
    now = sqlite_house.clock.now()

    shown = anna.present(anna.key(), challenge="n" * 43, domain="https://x.example", at=now)

    with sqlite_house.parts.database.reading() as db:
        verdict = sqlite_house.parts.verifier.verify_presentation(
            shown,
            challenge="n" * 43,
            domain="https://x.example",
            at=now,
            registry=LocalRegistry(db, {}),
        )
    assert verdict.reasons == ()
    assert verdict.holder == anna.did
    assert [one.credential_type for one in verdict.credentials] == ["SiteAccessCredential"]


# Through the door


def test_a_wallet_logs_in_with_what_it_was_issued(house: House, tmp_path: Path) -> None:
    trust_own_issuer(house)
    anna, service = made(tmp_path / "w"), Here(house)
    claims = {"site": "site_hq"}
    anna.hold(request_credential(service, "SiteAccessCredential", anna.did, claims)["credential"])

    logged_in = log_in(service, anna, anna.key())
    me = house.get("/auth/me", headers=logged_in.headers_for("GET", "/api/v1/auth/me")).json()

    assert logged_in.answer["roles"] == ["driver"]
    assert me == {
        "did": anna.did,
        "roles": ["driver"],
        "sites": [],
        "fleets": [],
        "assurance": "verified",
    }


def test_an_operators_wallet_has_credentials_issued(sqlite_house: House, tmp_path: Path) -> None:
    service, folder = Here(sqlite_house), tmp_path / "w"
    olga, anna = made(folder, "olga"), made(folder)
    job = {"employer": "E", "role": "operator", "sites": ["site_hq"]}
    olga.hold(request_credential(service, "EmploymentCredential", olga.did, job)["credential"])

    by = log_in(service, olga, olga.key())
    at_hq = request_credential(
        service, "SiteAccessCredential", anna.did, {"site": "site_hq"}, by=by
    )

    assert at_hq["subject_did"] == anna.did
    with pytest.raises(WalletRefused, match="not_allowed"):
        request_credential(service, "SiteAccessCredential", anna.did, {"site": "site_mall"}, by=by)


def test_a_revoked_credential_opens_no_door(sqlite_house: House, tmp_path: Path) -> None:
    service, anna = Here(sqlite_house), made(tmp_path / "w")
    issued = request_credential(service, "SiteAccessCredential", anna.did, {"site": "site_hq"})
    anna.hold(issued["credential"])
    sqlite_house.post("/credentials/revoke", {"credential_id": issued["credential_id"]})

    with pytest.raises(WalletRefused, match="revoked"):
        log_in(service, anna, anna.key())


# The command line


def test_the_command_line_makes_lists_holds_and_presents(
    sqlite_house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    created = run(folder, "create", "anna")
    did = created.stdout.strip()
    issued = request_credential(
        Here(sqlite_house), "SiteAccessCredential", did, {"site": "site_hq"}
    )
    held = run(folder, "hold", "anna", "-", input=json.dumps(issued))
    listed = run(folder, "list")
    terms = ("--challenge", "abc", "--domain", "https://x.example")
    shown = run(folder, "present", "anna", *terms, "--at", "2026-03-10T10:00:00Z")

    assert did.startswith("did:key:z6Mk")
    assert issued["credential_id"] in held.stdout
    assert issued["credential_id"] in listed.stdout
    presentation, _, curl = shown.stdout.strip().partition("\n\n")
    assert presentation.count(".") == 2
    assert curl.startswith("curl -s https://x.example/api/v1/auth/token ")
    body = json.loads(re.findall(r"-d '(.*)'$", curl)[0])
    assert body == {"presentation": presentation, "challenge": "abc"}


def test_a_locked_wallet_asks_for_its_passphrase(tmp_path: Path) -> None:
    run(tmp_path, "create", "anna", "--lock", input="secret\nsecret\n")
    terms = ("--challenge", "abc", "--domain", "https://x.example")

    right = run(tmp_path, "present", "anna", *terms, input="secret\n")
    wrong = run(tmp_path, "present", "anna", *terms, input="guess\n")

    assert right.exit_code == 0
    assert wrong.exit_code == 1
    assert "passphrase is wrong" in wrong.stderr
    assert "secret" not in right.output + (tmp_path / "anna" / "key.pem").read_text()


def test_a_key_from_elsewhere_speaks_for_a_registered_did(tmp_path: Path) -> None:
    key, did = generate_key(), "did:denso:driver:driver001"
    jwk = json.dumps(key.private_jwk())

    answer = run(tmp_path, "create", "anna", "--import", "-", "--did", did, input=jwk)

    made_of_it = wallet.load(tmp_path, "anna")
    assert answer.stdout.strip() == made_of_it.did == did
    assert made_of_it.method == f"{did}#key-1"
    assert did_key(made_of_it.key()) == did_key(key)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("present", "bert", "--challenge", "c", "--domain", "d"), "no wallet bert"),
        (("login", "bert"), "no wallet bert"),
        (("create", "Bert!"), "name"),
        (("create", "bert", "--did", "someone"), "no DID"),
        (("create", "bert", "--import", "/nowhere"), "cannot be read"),
        (("hold", "anna", "/nowhere"), "cannot be read"),
        (("login", "anna", "--url", "ftp://x.example"), "no address"),
        (("login", "anna", "--url", "http://127.0.0.1:9"), "does not answer"),
        (("request", "anna", "--type", "X", "--url", "http://127.0.0.1:9"), "does not answer"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    made(tmp_path)

    answer = run(tmp_path, *arguments)

    assert answer.exit_code == 1
    assert message in answer.stderr
    assert "Traceback" not in answer.output


@contextmanager
def _served(house: House) -> Iterator[str]:
    """The house on a port of this machine."""
    config = uvicorn.Config(house.app, port=0, lifespan="off", ws="none", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_over_a_real_connection_from_nothing_to_a_token(
    sqlite_house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    sqlite_house.app.state.parts = replace(sqlite_house.parts, clock=SystemClock())
    with _served(sqlite_house) as url:
        run(folder, "create", "anna", "--kind", "P-256")
        asked = ("--type", "SiteAccessCredential", "--claim", "site=site_hq", "--url", url)
        requested = run(folder, "request", "anna", *asked)
        entered = run(folder, "login", "anna", "--url", url)
        refused = run(folder, "request", "anna", "--type", "Nothing", "--url", url)

    assert requested.exit_code == 0, requested.output
    assert entered.exit_code == 0, entered.output
    answer, _, curl = entered.stdout.partition("\n\ncurl ")
    assert json.loads(answer)["roles"] == ["driver"]
    assert curl.startswith(f"-s {url}/api/v1/auth/me -H 'Authorization: DPoP ")
    assert refused.exit_code == 1
    assert "422 malformed_request" in refused.stderr


def test_a_service_is_a_web_address() -> None:
    for url in ("file:///etc/passwd", "127.0.0.1:8000", "http://", "https://x.example/path"):
        with pytest.raises(WalletRefused, match="no address"):
            HttpService(url)
