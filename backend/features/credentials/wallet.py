"""A wallet to play with: keys in files, credentials held, presentations made for a challenge.

A wallet is a folder: `key.pem` (its owner alone may read it), `wallet.json` (DID and method) and
`credentials.json`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.adapters.verifier.dids import DidRefused, did_key, did_method, key_method
from backend.adapters.verifier.issuing import sign_presentation_jwt, sign_presentation_ldp
from backend.adapters.verifier.keys import (
    SigningKey,
    UnusableKey,
    from_base64url,
    key_from_jwk,
)
from backend.adapters.verifier.profiles import CREDENTIALS_V2
from backend.features.credentials.keystore import (
    KeyFileRefused,
    from_text,
    is_locked,
    read_private,
    to_text,
    write_private,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
MAX_CREDENTIAL_CHARACTERS = 32_768
Credential = str | dict[str, Any]


class WalletRefused(Exception):
    """The wallet cannot do this; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as far as the wallet reads it; nothing is verified here."""

    credential: Credential
    id: str
    type: str
    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet on disk.

    Attributes:
        did: Who its key speaks for.
        method: The verification method that signatures name.
    """

    folder: Path
    did: str
    method: str

    @property
    def name(self) -> str:
        """What its owner calls it."""
        return self.folder.name

    @property
    def is_locked(self) -> bool:
        """Whether its key needs a passphrase."""
        return is_locked(_read(self.folder / "key.pem"))

    def key(self, passphrase: str | None = None) -> SigningKey:
        """Its private key.

        Raises:
            WalletRefused: If the passphrase is missing or wrong, or the file cannot be used.
        """
        try:
            return from_text(_read(self.folder / "key.pem"), passphrase)
        except KeyFileRefused as refused:
            raise WalletRefused(str(refused)) from refused

    def held(self, types: Sequence[str] = ()) -> list[Held]:
        """The credentials it holds, all or those of some types.

        Raises:
            WalletRefused: If it holds none of a type that is asked for.
        """
        file = self.folder / "credentials.json"
        every = [describe(one) for one in json.loads(_read(file))] if file.exists() else []
        missing = set(types) - {one.type for one in every}
        if missing:
            raise WalletRefused(f"{self.name} holds no {', '.join(sorted(missing))}.")
        return [one for one in every if not types or one.type in types]

    def hold(self, credential: Credential) -> Held:
        """Keep a credential; one with the same id is replaced.

        Raises:
            WalletRefused: If it is no credential.
        """
        new = describe(credential)
        kept = [one.credential for one in self.held() if one.id != new.id]
        text = json.dumps([*kept, credential], indent=1)
        write_private(self.folder / "credentials.json", text, may_replace=True)
        return new

    def present(
        self,
        key: SigningKey,
        *,
        challenge: str,
        domain: str,
        at: datetime,
        types: Sequence[str] = (),
    ) -> Credential:
        """A presentation of what it holds, for one challenge.

        Raises:
            WalletRefused: If the credentials are of different forms, or one is asked for in vain.
        """
        shown = [one.credential for one in self.held(types)]
        terms: dict[str, Any] = {
            "holder": self.did,
            "challenge": challenge,
            "domain": domain,
            "at": at,
            "method": self.method,
        }
        as_jwt = [one for one in shown if isinstance(one, str)]
        as_json = [one for one in shown if isinstance(one, dict)]
        if not as_json:
            return sign_presentation_jwt(as_jwt, key, **terms)
        suites = {_suite_for(one) for one in as_json}
        if as_jwt or len(suites) > 1:
            raise WalletRefused("The credentials are of different forms; choose some with --type.")
        return sign_presentation_ldp(as_json, key, suite=suites.pop(), **terms)


def _suite_for(credential: dict[str, Any]) -> str:
    is_v2 = CREDENTIALS_V2 in credential["@context"]
    return "eddsa-jcs-2022" if is_v2 else "Ed25519Signature2020"


def create(
    base: Path,
    name: str,
    key: SigningKey,
    *,
    passphrase: str | None = None,
    did: str | None = None,
    method: str | None = None,
) -> Wallet:
    """Make a wallet.

    Args:
        base: The folder of all wallets.
        name: Letters, digits, `-` and `_`.
        key: Its key.
        passphrase: Locks the key if given.
        did: Whom the key speaks for; its own did:key if None.
        method: The verification method; the DID's first key if None.

    Raises:
        WalletRefused: If there is one of that name, or name or DID are malformed.
    """
    own = did_key(key)
    try:
        named = method or (f"{did}#key-1" if did and did != own else key_method(own))
        did_method(did or own)
    except DidRefused as refused:
        raise WalletRefused(f"{did} is no DID.") from refused
    folder = _folder(base, name)
    try:
        write_private(folder / "key.pem", to_text(key, passphrase))
    except FileExistsError:
        raise WalletRefused(
            f"There is a wallet {name} already; a key is never overwritten."
        ) from None
    about = json.dumps({"did": did or own, "method": named})
    write_private(folder / "wallet.json", about, may_replace=True)
    return Wallet(folder, did or own, named)


def load(base: Path, name: str) -> Wallet:
    """The wallet of that name.

    Raises:
        WalletRefused: If there is none.
    """
    folder = _folder(base, name)
    if not (folder / "wallet.json").exists():
        raise WalletRefused(f"There is no wallet {name}; make one: wallet create {name}")
    about = json.loads(_read(folder / "wallet.json"))
    return Wallet(folder, about["did"], about["method"])


def every(base: Path) -> list[Wallet]:
    """All wallets, by name."""
    found = sorted(file.parent.name for file in base.glob("*/wallet.json"))
    return [load(base, name) for name in found]


def describe(credential: Credential) -> Held:
    """What a credential says of itself.

    Raises:
        WalletRefused: If it is no credential.
    """
    try:
        return _described(credential)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WalletRefused("This is no credential: neither VC-JWT nor JSON.") from error


def _described(credential: Credential) -> Held:
    if isinstance(credential, dict):
        content, subject = credential, str(credential["credentialSubject"]["id"])
        return Held(credential, content["id"], content["type"][1], content["issuer"], subject)
    payload = json.loads(from_base64url(credential.split(".")[1]))
    if "vc" not in payload:  # data model 2.0: the credential itself is the payload
        inner = _described(payload)
        return Held(credential, inner.id, inner.type, inner.issuer, inner.subject)
    kind = payload["vc"]["type"][1]
    return Held(credential, payload["jti"], kind, payload["iss"], payload["sub"])


def parse(text: str) -> Credential:
    """A credential from a file's text: compact JWT, JSON, or a JSON string.

    Raises:
        WalletRefused: If it is neither.
    """
    stripped = text.strip()
    if len(stripped) > MAX_CREDENTIAL_CHARACTERS:
        raise WalletRefused("This is too long for a credential.")
    try:
        content = json.loads(stripped) if stripped[:1] in {"{", '"'} else stripped
    except ValueError as error:
        raise WalletRefused("This is no JSON.") from error
    found = content.get("credential", content) if isinstance(content, dict) else content
    describe(found)
    return found


def _folder(base: Path, name: str) -> Path:
    if not NAME.match(name):
        raise WalletRefused("A wallet's name is made of lower-case letters, digits, - and _.")
    return base / name


def _read(file: Path) -> str:
    try:
        return read_private(file)
    except KeyFileRefused as refused:
        raise WalletRefused(str(refused)) from refused


def read_jwk(text: str) -> SigningKey:
    """A private key from JWK text.

    Raises:
        WalletRefused: If it is none.
    """
    try:
        return key_from_jwk(json.loads(text))
    except (UnusableKey, ValueError) as error:
        raise WalletRefused("This is no private JWK.") from error
