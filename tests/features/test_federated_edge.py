"""Gateways that train over HTTP: equal to the embedded engine, and held to what they sign."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from backend.edge.asking import Headers, Reply, ServiceAway, ask_over_http
from backend.edge.budget import Budget, BudgetRefused
from backend.edge.learning import Done, Gateway, TaskRefused, train_task_of
from backend.edge.models import ModelRefused, fetch_model
from backend.features.credentials.models import AuditEvent
from backend.features.federated import standings
from backend.features.federated.models import FederatedExperiment, FederatedParticipant
from backend.features.federated.schemas import RoundsNew
from backend.features.federated.terms import Terms
from backend.features.jobs.service import await_all
from backend.federation.networks import shapes
from backend.federation.participant import train as train_on
from backend.federation.signing import did_of, signed
from backend.federation.statements import Statement, hash_of_update
from backend.federation.weights import Weights, content_hash, from_npz, to_npz
from tests.conftest import House
from tests.features.federated_sites import (
    ON_SQLITE,
    ROUNDS,
    add_sites,
    at_work,
    examples,
    experiment,
    gateway,
    train,
)

Json = dict[str, Any]


def test_gateways_come_to_the_same_model_as_the_embedded_engine(house: House) -> None:
    add_sites(house)
    gateways = [gateway(house, name, data) for name, data in examples(house).items()]

    here = experiment(house, train(house, engine="embedded"))
    with at_work(gateways):
        there = experiment(house, train(house, engine="edge"))

    assert there["model_sha256"] == here["model_sha256"]
    # Gateways judge the last model, too.
    for name in ("final_loss", "final_r2", "final_wape", "cost_saved_eur_per_mwh"):
        assert there["summary"][name] == pytest.approx(here["summary"][name], abs=1e-12)
    assert (here["keys_held_by"], there["keys_held_by"]) == ("service", "participants")
    detail = house.get(f"{ROUNDS}/{house.get(ROUNDS).json()['data'][0]['id']}").json()
    assert [one["verdict"] for one in detail["updates"]].count(None) == 0
    assert len(detail["validations"]) == 5
    assert detail["refused"] == {}


@ON_SQLITE
def test_who_does_not_send_before_the_deadline_drops_out_and_the_round_goes_on(
    house: House,
) -> None:
    add_sites(house)
    gateways = [gateway(house, name, data) for name, data in examples(house).items()]

    with at_work(gateways[:4]):
        summary = train(house, engine="edge", num_rounds=1, deadline_s=1.5)

    round_id = house.get(ROUNDS).json()["data"][0]["id"]
    assert house.get(f"{ROUNDS}/{round_id}").json()["dropouts"] == ["site_4"]
    assert summary["participation"] == pytest.approx(0.8)


@ON_SQLITE
def test_a_round_without_a_quorum_fails_with_its_reason(house: House) -> None:
    add_sites(house)
    for name, data in examples(house).items():
        gateway(house, name, data)

    body = {"engine": "edge", "num_rounds": 1, "deadline_s": 0.1}
    answer = house.post(f"{ROUNDS}?wait=true", body)

    assert (answer.status_code, answer.json()["code"]) == (409, "experiment_failed")
    assert answer.json()["detail"] == "0 updates came; 3 are needed"
    assert house.get(ROUNDS).json()["data"][0]["state"] == "failed"


@ON_SQLITE
def test_an_experiment_that_waits_for_gateways_can_be_stopped(house: House) -> None:
    add_sites(house)
    for name, data in examples(house).items():
        gateway(house, name, data)
    job = house.post(ROUNDS, {"engine": "edge", "deadline_s": 86_400, "experiment_id": "long"})
    path = "/api/v1/federated/experiments/long"

    stopped, again = (house.client.delete(path) for _ in range(2))
    unknown = house.client.delete("/api/v1/federated/experiments/none")

    await_all(house.parts.database, timeout_s=30)
    assert (stopped.status_code, stopped.json()["state"]) == (200, "failed")
    assert again.json()["finished_at"] == stopped.json()["finished_at"]
    assert stopped.json()["reason"] == "stopped by an operator"
    ended = house.get(f"/jobs/{job.json()['id']}").json()
    assert (ended["state"], ended["error"]["detail"]) == ("failed", "stopped by an operator")
    assert [one["state"] for one in house.get(ROUNDS).json()["data"]] in ([], ["failed"])
    assert train(house, engine="embedded", num_rounds=1)["rounds_closed"] == 1
    assert unknown.status_code == 404


class Scene:
    """A round that waits for three gateways, whose turns the test takes itself."""

    def __init__(self, house: House) -> None:
        self.house = house
        add_sites(house, 3)
        self.keys = [Ed25519PrivateKey.generate() for _ in range(3)]
        pairs = zip(examples(house).items(), self.keys, strict=True)
        self.gateways = [gateway(house, name, data, key=key) for (name, data), key in pairs]
        body = {"engine": "edge", "num_rounds": 1, "min_available_clients": 3, "deadline_s": 20}
        self._job = house.post(ROUNDS, {**body, "experiment_id": "scene"}).json()["id"]
        self.round_id = self._wait(lambda: self.task(0))["round_id"]

    def task(self, number: int) -> Json | None:
        """What a gateway is asked now."""
        answer = self.house.get(f"{ROUNDS}/current/task?site_id=site_{number}")
        return answer.json() if answer.status_code == 200 else None

    def _wait(self, look: Callable[[], Json | None]) -> Json:
        for _ in range(400):
            found = look()
            if found is not None:
                return found
            threading.Event().wait(0.02)
        raise AssertionError("nothing was asked")

    def update(self, number: int) -> Weights:
        """An honest update."""
        one: Gateway = self.gateways[number]
        task = self.task(number)
        assert task is not None
        return train_on(train_task_of(task, one.site_id), one.examples).delta

    def statement(self, number: int, delta: Weights, **changes: Any) -> str:
        """What an honest gateway would sign, but for the changes."""
        task = self.task(number) or self.task(2)
        assert task is not None
        key = changes.pop("key", self.keys[number])
        now = int(self.house.clock.now().timestamp())
        said = {
            "did": did_of(self.keys[number]),
            "site_id": f"site_{number}",
            "kind": "update",
            "round_id": self.round_id,
            "parent_hash": task["parent_sha256"],
            "content_hash": hash_of_update(delta),
            "num_examples": 100,
            "nonce": "x",
            "expires_at": now + 600,
            **changes,
        }
        return signed(Statement(**said), key)

    def send(self, body: bytes, statement: str, *, round_id: str | None = None) -> tuple[int, str]:
        """Status and code of the answer."""
        answer = self.house.client.post(
            f"/api/v1{ROUNDS}/{round_id or self.round_id}/updates",
            content=body,
            headers={"Tasco-Statement": statement, "Content-Type": "application/octet-stream"},
        )
        return answer.status_code, answer.json().get("code", "taken")

    def end(self) -> Json:
        """Let all gateways do their part; the round as it ended."""
        with at_work(self.gateways):
            self._wait(
                lambda: (
                    {"done": True}
                    if self.house.get(f"/jobs/{self._job}").json()["state"] == "succeeded"
                    else None
                )
            )
        detail: Json = self.house.get(f"{ROUNDS}/{self.round_id}").json()
        return detail


@pytest.fixture
def scene(house: House) -> Iterator[Scene]:
    """A round that is collecting; it is brought to its end."""
    made = Scene(house)
    yield made
    if house.get(f"{ROUNDS}/{made.round_id}").json()["state"] != "closed":
        made.end()


def test_every_bad_update_is_refused_with_its_reason_and_counted_and_the_round_goes_on(
    scene: Scene,
) -> None:
    good = scene.update(0)
    npz, key = to_npz(good), Ed25519PrivateKey.generate()
    poison = {name: np.full_like(array, np.nan) for name, array in good.items()}
    bent = {**good, "w1": good["w1"][:, :5]}
    now = int(scene.house.clock.now().timestamp())

    refused = {
        "stranger": scene.send(npz, scene.statement(0, good, did=did_of(key), key=key)),
        "NUL": scene.send(npz, scene.statement(0, good, did="did:key:\x00", key=key)),
        "half a letter": scene.send(npz, scene.statement(0, good, did="did:key:\ud800", key=key)),
        "no float holds it": scene.send(npz, scene.statement(0, good, metrics={"r2": 10**400})),
        "no name": scene.send(npz, scene.statement(0, good, metrics={"r2\x00": 1.0})),
        "signed by another": scene.send(npz, scene.statement(0, good, key=key)),
        "another's site": scene.send(npz, scene.statement(0, good, site_id="site_1")),
        "no statement": scene.send(npz, "nothing"),
        "expired": scene.send(npz, scene.statement(0, good, expires_at=now - 1)),
        "for ever": scene.send(npz, scene.statement(0, good, expires_at=now + 10**6)),
        "stale": scene.send(npz, scene.statement(0, good, parent_hash="0" * 64)),
        "replayed": scene.send(npz, scene.statement(0, good, round_id="frd_of_last_week")),
        "scores": scene.send(npz, scene.statement(0, good, kind="scores")),
        "other bytes": scene.send(to_npz(scene.update(1)), scene.statement(0, good)),
        "not a number": scene.send(to_npz(poison), scene.statement(0, poison)),
        "wrong shapes": scene.send(to_npz(bent), scene.statement(0, bent)),
        "pickle": scene.send(_pickled(), scene.statement(0, good)),
        "garbage": scene.send(b"\x00" * 100, scene.statement(0, good)),
        "too large": scene.send(b"\x00" * 500_000, scene.statement(0, good)),
        "no examples": scene.send(npz, scene.statement(0, good, num_examples=0)),
        "too many": scene.send(npz, scene.statement(0, good, num_examples=10**12)),
    }
    taken, twice = (scene.send(npz, scene.statement(0, good)) for _ in range(2))
    detail = scene.end()

    assert refused == {
        "stranger": (403, "stranger"),
        "NUL": (403, "stranger"),
        "half a letter": (403, "stranger"),
        "no float holds it": (422, "statement_refused"),
        "no name": (422, "statement_refused"),
        "signed by another": (403, "signed_by_another"),
        "another's site": (403, "signed_by_another"),
        "no statement": (422, "statement_refused"),
        "expired": (422, "statement_refused"),
        "for ever": (422, "statement_refused"),
        "stale": (409, "stale_update"),
        "replayed": (409, "stale_update"),
        "scores": (409, "stale_update"),
        "other bytes": (422, "not_what_was_signed"),
        "not a number": (422, "update_not_finite"),
        "wrong shapes": (422, "update_malformed"),
        "pickle": (422, "update_malformed"),
        "garbage": (422, "update_malformed"),
        "too large": (413, "update_too_large"),
        "no examples": (422, "count_impossible"),
        "too many": (422, "count_impossible"),
    }
    assert (taken, twice) == ((200, "taken"), (409, "update_repeated"))
    assert detail["state"] == "closed"
    assert len(detail["updates"]) == 3
    assert sum(detail["refused"].values()) == len(refused) + 1
    assert detail["refused"]["update_malformed"] == 3


def _pickled() -> bytes:
    """An npz that would run code if it were unpickled."""
    import io  # noqa: PLC0415 - this case alone

    file = io.BytesIO()
    np.savez(file, w1=np.array([{"a": object()}], dtype=object), allow_pickle=True)
    return file.getvalue()


@ON_SQLITE
def test_who_was_not_drawn_cannot_send(scene: Scene) -> None:
    key = Ed25519PrivateKey.generate()
    data = scene.gateways[0].examples
    late = gateway(scene.house, "site_late", data, key=key)
    delta = scene.update(0)
    scene.keys.append(key)

    sent = scene.send(
        to_npz(delta), scene.statement(0, delta, did=late.own_did, site_id="site_late", key=key)
    )

    assert sent == (409, "not_selected")


@ON_SQLITE
def test_a_faked_count_of_examples_does_not_buy_the_model(scene: Scene) -> None:
    delta = scene.update(0)
    loud = {name: np.asarray(-3 * array, dtype=np.float32) for name, array in delta.items()}

    taken = scene.send(to_npz(loud), scene.statement(0, loud, num_examples=10**9))
    detail = scene.end()

    assert taken == (200, "taken")
    assert detail["state"] == "closed"
    fake = detail["updates"][0]
    assert (fake["participant"], fake["num_examples"]) == ("site_0", 10**9)
    assert fake["clip_factor"] < 1


@ON_SQLITE
def test_a_round_that_is_over_takes_nothing_more(scene: Scene) -> None:
    delta = scene.update(0)
    statement = scene.statement(0, delta)
    scene.end()

    assert scene.send(to_npz(delta), statement) == (409, "round_over")
    assert scene.send(to_npz(delta), statement, round_id="frd_unknown") == (404, "round_not_found")


@ON_SQLITE
def test_a_committee_member_is_not_told_whose_update_it_scores(scene: Scene) -> None:
    for number in range(3):
        delta = scene.update(number)
        assert scene.send(to_npz(delta), scene.statement(number, delta))[0] == 200

    task = scene._wait(lambda: scene.task(0))  # noqa: SLF001 - this file's own

    assert task["kind"] == "score"
    assert all(len(name) == 64 for name in task["candidates"])
    assert "site_1" not in json.dumps(task)


@ON_SQLITE
def test_a_gateway_with_a_budget_of_its_own_sends_nothing_without_noise(
    scene: Scene, tmp_path: Path
) -> None:
    own = Budget(tmp_path / "privacy.json", site_id="site_0", max_epsilon=2.0)
    strict = replace(scene.gateways[0], budget=own)

    with pytest.raises(BudgetRefused, match="without noise"):
        strict.step(Done())

    task = scene.task(0)
    assert task is not None
    assert task["kind"] == "train"  # still: nothing was sent
    with pytest.raises(BudgetRefused, match="no figures"):
        strict._judge(task)  # noqa: SLF001 - what it would do if it were asked


@ON_SQLITE
def test_a_site_has_one_voice(house: House) -> None:
    body = {"site_id": "site_a", "did": did_of(Ed25519PrivateKey.generate())}
    other = {"site_id": "site_a", "did": did_of(Ed25519PrivateKey.generate())}

    first, again, taken = (
        house.post("/federated/participants", one) for one in (body, body, other)
    )

    assert (first.status_code, again.status_code) == (200, 200)
    assert (taken.status_code, taken.json()["code"]) == (409, "site_taken")
    listed = house.get("/federated/participants").json()["participants"]
    assert [(one["site_id"], one["engine"], one["assurance"]) for one in listed] == [
        ("site_a", "edge", "simulated")
    ]
    assert "did" not in listed[0]


def test_of_two_that_enrol_for_a_site_at_once_one_is_its_voice(house: House) -> None:
    dids = [did_of(Ed25519PrivateKey.generate()) for _ in range(2)] * 2
    gate, codes = threading.Barrier(len(dids)), list[tuple[str, int]]()

    def _enrol(did: str) -> None:
        gate.wait()
        answer = house.post("/federated/participants", {"site_id": site_id, "did": did})
        codes.append((did, answer.status_code))

    for number in range(5):
        site_id = f"site_{number}"
        threads = [threading.Thread(target=_enrol, args=(did,)) for did in dids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(code for _, code in codes) == [200] * 10 + [409] * 10
    assert [len(told_of(house, f"site_{number}")) for number in range(5)] == [1] * 5


def told_of(house: House, site_id: str) -> list[str]:
    """What the audit trail has of a site."""
    with house.parts.database.reading() as db:
        query = select(AuditEvent.action).where(AuditEvent.object_id == site_id)
        return sorted(db.scalars(query))


def test_what_an_update_cost_stays_entered_if_its_site_is_reinstated_meanwhile(
    house: House,
) -> None:
    body = {"site_id": "site_a", "did": did_of(Ed25519PrivateKey.generate())}
    assert house.post("/federated/participants", body).status_code == 200
    with house.parts.database.transaction() as db:
        row = db.get_one(FederatedParticipant, ("site_a", "edge"))
        row.state, row.strikes, row.standing = "suspended", 3, {"failures": []}
    terms = Terms.of(
        FederatedExperiment(id="exp", engine="edge", terms=RoundsNew().model_dump(mode="json"))
    )
    path = "/federated/participants/site_a/reinstate"

    with house.parts.database.transaction() as db:
        standings.spend(db, terms, "site_a", 100)
        db.flush()
        meanwhile = threading.Thread(target=house.post, args=(path, {}))
        meanwhile.start()
        meanwhile.join(0.5)  # it waits for this transaction
    meanwhile.join()

    with house.parts.database.reading() as db:
        row = db.get_one(FederatedParticipant, ("site_a", "edge"))
        assert (row.state, row.standing) == ("active", {"updates_without_noise": 1})


@ON_SQLITE
def test_a_site_that_has_left_is_not_asked_and_may_come_back_with_another_key(
    house: House,
) -> None:
    bodies = [{"site_id": "site_a", "did": did_of(Ed25519PrivateKey.generate())} for _ in range(2)]
    assert house.post("/federated/participants", bodies[0]).status_code == 200

    left = house.client.delete("/api/v1/federated/participants/site_a").json()
    too_few = house.post(ROUNDS, {"engine": "edge", "min_available_clients": 1})
    back = house.post("/federated/participants", bodies[1])
    unknown = house.client.delete("/api/v1/federated/participants/nobody")

    assert left["state"] == "left"
    assert "There are 0 participants" in too_few.json()["detail"]
    assert (back.status_code, back.json()["state"]) == (200, "active")
    enrolled, withdrawn = "federated.enrolled", "federated.withdrawn"
    assert told_of(house, "site_a") == [enrolled, enrolled, withdrawn]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "participant_not_found")


@ON_SQLITE
def test_leaving_and_coming_back_lifts_no_suspension(house: House) -> None:
    body = {"site_id": "site_a", "did": did_of(Ed25519PrivateKey.generate())}
    house.post("/federated/participants", body)
    with house.parts.database.transaction() as db:
        row = db.get_one(FederatedParticipant, ("site_a", "edge"))
        row.state, row.strikes = "suspended", 3

    house.client.delete("/api/v1/federated/participants/site_a")
    back = house.post("/federated/participants", body).json()
    lifted = house.post("/federated/participants/site_a/reinstate").json()

    assert (back["state"], back["strikes"]) == ("suspended", 3)
    assert (lifted["state"], lifted["strikes"]) == ("active", 0)


@ON_SQLITE
def test_a_gateway_takes_the_registered_model_and_no_other(house: House) -> None:
    names = add_sites(house)
    older, newer = (experiment(house, train(house, seed=seed)) for seed in (7, 8))
    ask = gateway(house, names[0], examples(house)[names[0]]).ask

    def _ask_for_any(method: str, url: str, body: bytes | None, headers: Headers) -> Reply:
        """A service that gives the model it likes."""
        return ask(method, url.partition("?")[0], body, headers)

    for one in (older, newer):
        data = fetch_model("http://testserver", sha256=one["model_sha256"], ask=ask)
        assert content_hash(from_npz(data, shapes("mlp"))) == one["model_sha256"]
    with pytest.raises(ServiceAway, match="No experiment ended with a model of this hash"):
        fetch_model("http://testserver", sha256="0" * 64, ask=ask)
    for wanted in ("0" * 64, older["model_sha256"]):
        with pytest.raises(ModelRefused, match="not the one"):
            fetch_model("http://testserver", sha256=wanted, ask=_ask_for_any)


@ON_SQLITE
def test_a_gateway_refuses_a_task_whose_model_is_not_the_one_it_names(scene: Scene) -> None:
    task = scene.task(0)
    assert task is not None

    for changes, reason in (
        ({"parent_sha256": "0" * 64}, "not the one"),
        ({"participant": "site_1"}, "the task is for"),
        ({"weights": "AAAA"}, "not an npz"),
    ):
        with pytest.raises(TaskRefused, match=reason):
            train_task_of({**task, **changes}, "site_0")


@ON_SQLITE
def test_what_makes_no_sense_as_a_task_is_refused_and_ends_no_gateway(scene: Scene) -> None:
    task = scene.task(0)
    assert task is not None
    changes: list[Json] = [
        {"kind": "dance"},
        {"settings": None},
        {"settings": {"local_epochs": "many"}},
        {"settings": {"batch_size": 0}},
        {"settings": {"colour": "red"}},
        {"family": []},
        {"weights": 7},
        {"asked_at": "yesterday"},
        {"kind": "score", "candidates": []},
        {"kind": "score", "candidates": {"a": None}},
    ]
    pages = [json.dumps({**task, **one}).encode() for one in changes]

    for page in (*pages, b"<html>Please log in</html>", b"[" * 100_000, b"[]"):
        reply = Reply(200, page)
        with pytest.raises(TaskRefused, match="makes no sense"):
            replace(scene.gateways[0], ask=lambda *_, reply=reply: reply).step(Done())


@pytest.mark.parametrize("status", ["200 OK", "503 Away"])
def test_an_answer_that_breaks_off_is_one_of_a_service_that_is_away(status: str) -> None:
    def _break_off(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4_096)
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\n[1".encode())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        service = threading.Thread(target=_break_off, args=(listening,))
        service.start()
        with pytest.raises(ServiceAway, match="IncompleteRead"):
            ask_over_http("GET", f"http://127.0.0.1:{listening.getsockname()[1]}/", None, {})
        service.join(10)
