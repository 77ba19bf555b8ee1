"""What we sign, did-jwt-vc and @digitalbazaar/vc accept; what they sign, we accept."""

import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import base58
import pytest

from backend.adapters.verifier.contexts import bundled_contexts
from backend.adapters.verifier.dids import did_key, read_trust
from backend.adapters.verifier.issuing import zulu
from backend.adapters.verifier.keys import SigningKey, from_base64url, key_from_seed
from backend.adapters.verifier.profiles import PROFILES
from backend.adapters.verifier.verifier import open_verifier
from tests.adapters.verifier.scene import Scene, plain
from tests.adapters.verifier.test_verifier import CLAIMS

FOLDER = os.environ.get("TASCO_TEST_WALLETS", "")
NODE = os.environ.get("TASCO_TEST_WALLETS_NODE", "") or shutil.which("node") or ""
KINDS = ("VC-JWT", "Ed25519Signature2020", "eddsa-rdfc-2022")
SCRIPT = Path(__file__).parent / "npm" / "cross.mjs"
pytestmark = pytest.mark.skipif(
    not FOLDER or not NODE, reason="no JavaScript: run `python3 run.py services wallets`"
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def ask(verb: str, tasks: list[dict[str, Any]]) -> list[Any]:
    """Have the other libraries work."""
    folder = Path(FOLDER)
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    contexts = {url: dict(document) for url, document in bundled_contexts().items()}
    asked = json.dumps({"verb": verb, "tasks": tasks, "contexts": contexts})
    run = [NODE, SCRIPT.name]
    ended = subprocess.run(  # noqa: S603 - our own script
        run, cwd=folder, input=asked, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    answers: list[Any] = json.loads(ended.stdout)
    return answers


def multikeys(key: SigningKey) -> dict[str, str]:
    """A key pair as their libraries read it."""
    seed = from_base64url(key.private_jwk()["d"])
    public = did_key(key).removeprefix("did:key:")
    secret = b"\x80\x26" + seed
    raw = base58.b58decode(public[1:])[2:]
    old = {"privateKeyMultibase": "z" + base58.b58encode(secret + raw).decode()}
    return {
        "publicKeyMultibase": public,
        "secretKeyMultibase": "z" + base58.b58encode(secret).decode(),
        **old,
    }


def ours(scene: Scene, kind: str, name: str) -> Any:
    """A credential of a type, signed by us."""
    values: dict[str, Any] = {"credential_type": name, "claims": CLAIMS[name]}
    return scene.jwt(**values) if kind == "VC-JWT" else scene.ldp(kind, **values)


def test_they_accept_what_we_sign(scene: Scene) -> None:
    tasks = [
        {"kind": kind, "document": ours(scene, kind, name)} for kind in KINDS for name in PROFILES
    ]
    spoilt = ours(scene, "Ed25519Signature2020", "SiteAccessCredential")
    spoilt["credentialSubject"]["site"] = "site_zoo"

    *verdicts, last = ask("verify", [*tasks, {"kind": "Ed25519Signature2020", "document": spoilt}])

    assert len(tasks) >= 20
    assert {str(verdict) for verdict in verdicts} == {"True"}
    assert last is not True


def test_we_accept_what_they_sign(scene: Scene) -> None:
    keys = [key_from_seed(f"foreign {number}".encode()) for number in range(10)]
    tasks = [
        {"kind": kind, "credential": draft_for(scene, kind, key), "key": as_sent(key)}
        for kind in KINDS
        for key in keys
    ]
    trust = read_trust({did_key(key): [did_key(key)] for key in keys})
    verifier = open_verifier("pure")

    documents = ask("sign", tasks)
    verdicts = [
        verifier.verify_generic(document, format="auto", trust=trust, at=scene.at)
        for document in documents
    ]

    assert len(documents) >= 20
    assert [
        (task["kind"], verdict.reasons, verdict.checks[-1])
        for task, verdict in zip(tasks, verdicts, strict=True)
        if not verdict.verified
    ] == []


def as_sent(key: SigningKey) -> dict[str, Any]:
    seed = from_base64url(key.private_jwk()["d"])
    return {"did": did_key(key), "seed": seed.hex(), "multikeys": multikeys(key)}


def draft_for(scene: Scene, kind: str, key: SigningKey) -> dict[str, Any]:
    """A credential as their libraries want to be given it."""
    issuer = did_key(key)
    if kind == "VC-JWT":
        draft = scene.draft(issuer=issuer, status=[])
        vc = {name: draft[name] for name in ("@context", "type")}
        subject = dict(draft["credentialSubject"])
        return {
            "sub": subject.pop("id"),
            "nbf": int(scene.at.timestamp()) - 60,
            "exp": int((scene.at + timedelta(days=1)).timestamp()),
            "vc": {**vc, "credentialSubject": subject},
        }
    model: Any = "1.1" if kind == "Ed25519Signature2020" else "2.0"
    draft = plain(scene.draft(issuer=issuer, status=[], model=model))
    if model == "1.1":
        draft["@context"].append("https://w3id.org/security/suites/ed25519-2020/v1")
        draft["issuanceDate"] = zulu(scene.at - timedelta(minutes=5))
    return draft
