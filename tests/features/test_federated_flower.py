"""Rounds through a Flower SuperLink, from the request to the model in the registry."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from backend import cli
from backend.adapters.federation.superlink import SuperLink
from backend.database import Database
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.federated import enrolling, flower, queries
from backend.features.federated.models import (
    COLLECTING,
    FLOWER,
    FederatedExperiment,
    FederatedParticipant,
    FederatedRound,
)
from backend.features.federated.problems import ExperimentFailed
from backend.features.federated.schemas import RoundsNew
from backend.features.federated.service import write_down
from backend.features.forecasts.queries import history_of
from backend.features.sites.models import Site
from backend.federation.signing import did_of
from backend.settings import read_settings
from tests.adapters.federation.supernodes import (
    CA,
    HOURS_FILE,
    Node,
    end,
    free_port,
    new_node,
    open_superlink,
)
from tests.conftest import House, house_on
from tests.features.federated_sites import ROUNDS, add_sites, experiment, train
from tests.tables import rows_of

SITES, JOB_S = 3, 170
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
PARTICIPANTS = "/federated/participants"
ZONE = "Europe/Helsinki"
TERMS = {"num_rounds": 1, "min_available_clients": SITES}
needs_superlink = pytest.mark.skipif(
    "TASCO_TEST_SUPERLINK" not in os.environ, reason="python3 run.py services superlink"
)


@pytest.fixture
def link(sqlite_url: str, tmp_path: Path) -> Iterator[SuperLink]:
    """A SuperLink whose runs find this test's database."""
    variables = {
        "TASCO_PROFILE": "demo",
        "TASCO_DATABASE_URL": sqlite_url,
        "TASCO_ARTIFACTS_DIR": str(tmp_path / "artifacts"),
    }
    with open_superlink(tmp_path / "superlink", variables) as opened:
        yield opened


def write_history(house: House, site_id: str, file: Path) -> None:
    """The hours that the service knows of a site, as the file of the site's own node."""
    with house.parts.database.reading() as db:
        history = history_of(db, db.get_one(Site, site_id), until=house.clock.now())
    rows = [
        f"{(history.start + timedelta(hours=at)).isoformat()},{float(energy)!r}"
        for at, energy in enumerate(history.energy_kwh)
    ]
    file.write_text("\n".join(["timestamp,energy_kwh", *rows]) + "\n")


def result_of(house: House, job_id: str, *, patience_s: float = JOB_S) -> dict[str, Any]:
    """The job when it is over."""
    until = time.monotonic() + patience_s
    while True:
        job: dict[str, Any] = house.get(f"/jobs/{job_id}").json()
        if job["state"] in ("succeeded", "failed") or time.monotonic() > until:
            return job
        time.sleep(0.5)


def started_nodes(house: House, link: SuperLink, folder: Path, stack: ExitStack) -> list[Node]:
    """A SuperNode for each of some sites, let in and enrolled by itself."""
    nodes = [new_node(folder / name, name) for name in add_sites(house, SITES)]
    peers = {one.name: one.did for one in nodes}
    for one in nodes:
        write_history(house, one.name, one.folder / HOURS_FILE)
        link.register(one.name, one.public_key)
        house.post(PARTICIPANTS, {"site_id": one.name, "did": one.did, "engine": FLOWER})
        stack.callback(end, one.start(link, timezone=ZONE, peers=peers))
    return nodes


@needs_superlink
def test_supernodes_come_to_the_models_that_the_sites_of_this_service_come_to(
    link: SuperLink, sqlite_url: str, tmp_path: Path
) -> None:
    settings = {"federation_url": f"flower://{link.address}", "federation_ca_file": CA}
    with house_on(sqlite_url, tmp_path, **settings) as house, ExitStack() as stack:
        started_nodes(house, link, tmp_path, stack)
        for mode, patience_s in (("validated", JOB_S), ("secure", 2 * JOB_S)):
            here = experiment(house, train(house, engine="embedded", mode=mode, **TERMS))
            job = house.post(ROUNDS, {**TERMS, "mode": mode, "deadline_s": patience_s}).json()
            done = result_of(house, job["id"], patience_s=patience_s)

            log = tmp_path / "superlink" / "log"
            assert done["state"] == "succeeded", (done, log.read_text())
            there = experiment(house, done["result"])
            assert there["engine"] == FLOWER
            assert there["rounds"][0]["participation"] == 1.0
            assert there["rounds"][0]["accepted"] == here["rounds"][0]["accepted"]
            assert there["model_sha256"] == here["model_sha256"]
            assert all(one["is_signed"] for one in updates(house, there["id"]))


@needs_superlink
def test_a_serverapp_that_is_killed_in_a_round_is_replaced_and_ends_at_the_same_model(
    link: SuperLink, sqlite_url: str, tmp_path: Path
) -> None:
    settings = {"federation_url": f"flower://{link.address}", "federation_ca_file": CA}
    terms = {**TERMS, "experiment_id": "killed", "deadline_s": JOB_S}
    with house_on(sqlite_url, tmp_path, **settings) as house, ExitStack() as stack:
        started_nodes(house, link, tmp_path, stack)
        here = experiment(house, train(house, engine="embedded", **TERMS))
        job = house.post(ROUNDS, terms).json()
        until = time.monotonic() + JOB_S
        while not (found := rounds(house, "killed")) or found[0]["state"] != COLLECTING:
            assert time.monotonic() < until
            time.sleep(0.1)

        killed = [one.pid for one in serverapps(link)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        done = result_of(house, job["id"], patience_s=2 * JOB_S)

        log = tmp_path / "superlink" / "log"
        assert killed
        assert done["state"] == "succeeded", (done, log.read_text())
        there = experiment(house, done["result"])
        assert [one["state"] for one in rounds(house, "killed")] == ["closed"]
        assert there["model_sha256"] == here["model_sha256"]


def serverapps(link: SuperLink) -> list[psutil.Process]:
    """The processes in which a SuperLink runs what conducts."""
    port = link.address.rpartition(":")[2]
    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        is_serverapp = any("flwr-serverapp" in word for word in words)
        if is_serverapp and any(port in word for word in words):
            found.append(one)
    return found


def rounds(house: House, experiment_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.get(f"{ROUNDS}?experiment_id={experiment_id}").json()[
        "data"
    ]
    return found


def updates(house: House, experiment_id: str) -> list[dict[str, Any]]:
    """What came in the first round of an experiment."""
    [first] = rounds(house, experiment_id)
    found: list[dict[str, Any]] = house.get(f"{ROUNDS}/{first['id']}").json()["updates"]
    assert found
    return found


def test_a_superlink_that_does_not_answer_fails_the_job_and_leaves_the_experiment(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = {"federation_url": f"flower://127.0.0.1:{free_port()}", "federation_ca_file": CA}
    with house_on(sqlite_url, tmp_path, **settings) as house:
        for name in add_sites(house, SITES):
            with house.parts.database.transaction() as db:
                flower.enrol(db, name, f"did:key:{name}", now=house.clock.now())

        job = house.post(ROUNDS, {**TERMS, "experiment_id": "waiting"}).json()
        done = result_of(house, job["id"])

        assert (done["state"], done["error"]["code"]) == ("failed", "super_link_away")
        assert house.get("/federated/experiments/waiting").json()["state"] == "running"


def begun(house: House, *, rounds: int) -> None:
    """An experiment named `cut` whose run has come so far."""
    now = house.clock.now()
    with house.parts.database.transaction() as db:
        write_down(db, RoundsNew(experiment_id="cut"), engine=FLOWER, now=now)
        initial = db.get_one(FederatedExperiment, "cut").initial_sha256
        for number in range(rounds):
            db.add(
                FederatedRound(
                    id=f"frd_{number}",
                    experiment_id="cut",
                    number=number + 1,
                    state=COLLECTING,
                    parent_sha256=initial,
                    selected=[],
                    committee=[],
                    quorum=3,
                    opened_at=now,
                    phases={},
                )
            )


def test_an_experiment_whose_run_was_killed_goes_on_later(house: House) -> None:
    begun(house, rounds=1)

    with pytest.raises(flower.SuperLinkAway, match="taken up again"):
        flower.outcome(house.parts, "cut", "finished:failed")

    assert house.get("/federated/experiments/cut").json()["state"] == "running"


def test_an_experiment_whose_run_never_began_has_failed(house: House) -> None:
    begun(house, rounds=0)

    with pytest.raises(ExperimentFailed, match="has not begun"):
        flower.outcome(house.parts, "cut", "finished:failed")

    seen = house.get("/federated/experiments/cut").json()
    assert (seen["state"], "finished:failed" in seen["reason"]) == ("failed", True)


def test_a_superlink_without_its_authority_is_refused_before_anything_starts(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = {"federation_url": "flower://127.0.0.1:9"}
    with house_on(sqlite_url, tmp_path, **settings) as house:
        add_sites(house, SITES)

        answer = house.post(ROUNDS, TERMS)

        assert (answer.status_code, answer.json()["code"]) == (409, "engine_away")


def test_a_site_is_enrolled_on_the_operators_word_until_it_enrols_itself(house: House) -> None:
    house.site("site_depot")
    did = did_of(Ed25519PrivateKey.generate())
    with house.parts.database.transaction() as db:
        flower.enrol(db, "site_depot", did, now=house.clock.now())
    [before] = rows_of(house.parts.database, "federated_participants")

    own = {"site_id": "site_depot", "did": did, "engine": FLOWER}
    answers = [house.post(PARTICIPANTS, own) for _ in range(2)]
    other = house.post(PARTICIPANTS, {**own, "did": did_of(Ed25519PrivateKey.generate())})

    [after] = rows_of(house.parts.database, "federated_participants")
    assert [one.status_code for one in answers] == [200, 200]
    assert (other.status_code, other.json()["code"]) == (409, "site_taken")
    assert (before["assurance"], after["assurance"]) == ("registered", "simulated")
    assert (after["engine"], after["did"]) == (FLOWER, did)


def test_enrolling_anew_lifts_no_suspension(house: House) -> None:
    with house.parts.database.transaction() as db:
        flower.enrol(db, "site_a", "did:key:zA", now=NOW)
        row = db.get_one(FederatedParticipant, ("site_a", FLOWER))
        row.state, row.strikes = "suspended", 3

        flower.enrol(db, "site_a", "did:key:zB", now=NOW)

        assert (row.state, row.did) == ("suspended", "did:key:zB")
        assert enrolling.entitled_names(db, FLOWER, now=NOW) == []


def test_a_sites_node_is_withdrawn_without_its_gateway(house: House) -> None:
    house.site("site_depot")
    for engine in ("edge", FLOWER):
        did = did_of(Ed25519PrivateKey.generate())
        house.post(PARTICIPANTS, {"site_id": "site_depot", "did": did, "engine": engine})

    with house.parts.database.transaction() as db:
        now = house.clock.now()
        left = enrolling.withdraw(db, "site_depot", FLOWER, holder=DEMO_HOLDER, now=now)
        states = {one.engine: one.state for one in queries.participants(db)}

    assert (left.engine, left.state) == (FLOWER, "left")
    assert states == {"edge": "active", FLOWER: "left"}


@pytest.mark.parametrize(
    ("assurance", "credentials", "asked"),
    [
        ("verified", [], ["site_a"]),  # another issuer's: nothing is known of it here
        ("verified", [{}], ["site_a"]),
        ("verified", [{"revoked_at": NOW}], []),
        ("verified", [{"suspended_at": NOW}], []),
        ("verified", [{"valid_until": NOW}], []),
        ("verified", [{"revoked_at": NOW}, {}], ["site_a"]),
        ("verified", [{"revoked_at": NOW}, {"site_id": "site_b"}], []),
        ("verified", [{"revoked_at": NOW, "credential_type": "OperatorCredential"}], ["site_a"]),
        ("registered", [{"revoked_at": NOW}], ["site_a"]),
    ],
)
def test_a_node_is_asked_as_long_as_the_credential_of_its_site_is_in_force(
    house: House, assurance: str, credentials: list[dict[str, Any]], asked: list[str]
) -> None:
    with house.parts.database.transaction() as db:
        flower.enrol(db, "site_a", "did:key:zA", now=NOW)
        db.get_one(FederatedParticipant, ("site_a", FLOWER)).assurance = assurance
        for number, changes in enumerate(credentials):
            db.add(credential(number, **changes))

    with house.parts.database.reading() as db:
        assert enrolling.entitled_names(db, FLOWER, now=NOW) == asked


def credential(number: int, **changes: Any) -> IssuedCredential:
    """A credential of this service for a site's participant, in force now."""
    usual: dict[str, Any] = {
        "credential_type": "FederatedParticipantCredential",
        "subject_did": "did:key:zA",
        "site_id": "site_a",
        "valid_until": NOW + timedelta(days=1),
    }
    return IssuedCredential(
        id=f"urn:uuid:{number}",
        issuer_did="did:x:issuer",
        issued_by="did:x:operator",
        issued_at=NOW,
        valid_from=NOW,
        credential_hash=f"{number:064}",
        commitment=f"{number:064}",
        is_demo=False,
        **{**usual, **changes},
    )


@pytest.fixture
def own_settings() -> Iterator[None]:
    """Settings are read once in a process; this test has its own."""
    read_settings.cache_clear()
    yield
    read_settings.cache_clear()


@needs_superlink
@pytest.mark.usefixtures("own_settings")
def test_the_operators_command_lets_a_node_in_and_enrols_its_site(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "TASCO_PROFILE": "demo",
        "TASCO_DATABASE_URL": sqlite_url,
        "TASCO_FEDERATION_URL": os.environ["TASCO_TEST_SUPERLINK"],
        "TASCO_FEDERATION_CA_FILE": str(CA),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    node = new_node(tmp_path / "node", "site_depot")
    words = ["supernode", "register", "site_depot", str(node.public_key), "--did", node.did]

    done, again = (CliRunner().invoke(cli.app, words) for _ in range(2))

    assert (done.exit_code, done.output) == (0, f"site_depot takes part as {node.did}\n")
    assert (again.exit_code, "already in use" in again.output) == (2, True)
    with closing(Database(sqlite_url)) as database, database.reading() as db:
        assert queries.active_names(db, FLOWER) == ["site_depot"]


def test_another_kind_of_key_is_no_key_for_a_node(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== someone")

    with pytest.raises(flower.KeyNotForNode, match="P-384"):
        flower.require_node_key(tmp_path / "key.pub")
