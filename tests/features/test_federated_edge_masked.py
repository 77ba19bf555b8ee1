"""Masked sums of gateways: the same model, letters at the door, dropouts, swapped keys, crashes."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import func, select

from backend.edge.asking import Headers, Reply, ServiceAway
from backend.edge.budget import Budget, BudgetRefused
from backend.edge.learning import (
    Done,
    Gateway,
    TaskRefused,
    mask_task_of,
    take_part,
    train_task_of,
)
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.federated import queries, service, stopping
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.database_exchange import DatabaseExchange
from backend.features.federated.models import FederatedLetter, FederatedRound
from backend.features.federated.schemas import RoundsNew
from backend.federation.masking_messages import MaskingRefused, coded, decoded
from backend.federation.signing import did_of, noise_key_of, signed
from backend.federation.sites import Site
from backend.federation.statements import statement_about
from backend.federation.tasks import Answer, MaskAnswer, MaskTask, Task
from backend.federation.weights import to_npz
from backend.masked_sums import Memory
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
from tests.features.test_federated_masked import Killed, conducted, unheard

Json = dict[str, Any]
SECURE: Json = {"mode": "secure", "num_rounds": 1, "family": "linear"}
Wrap = Callable[[DatabaseExchange], Any]


def federation(house: House, folder: Path, *, days: int = 28, count: int = 5) -> list[Gateway]:
    """Gateways that know each other, each with a memory of its own."""
    keys = {name: Ed25519PrivateKey.generate() for name in add_sites(house, count, days=days)}
    peers = {name: did_of(key) for name, key in keys.items()}
    return [
        gateway(
            house,
            name,
            data,
            key=keys[name],
            peers=peers,
            memory=Memory(folder / f"{name}.json", site_id=name),
        )
        for name, data in examples(house).items()
    ]


def without(one: Gateway, fault: str) -> Gateway:
    """A gateway whose requests fail where their address has this in it."""

    def _ask(method: str, url: str, body: bytes | None, headers: Headers) -> Reply:
        if fault in url:
            raise ServiceAway("no connection")
        return one.ask(method, url, body, headers)

    return replace(one, ask=_ask)


def newest(house: House) -> Json:
    """The round that was opened last."""
    round_id = house.get(ROUNDS).json()["data"][0]["id"]
    found: Json = house.get(f"{ROUNDS}/{round_id}").json()
    return found


def letters_kept(house: House) -> int:
    """Letters that lie in the database, in whatever place."""
    with house.parts.database.reading() as db:
        rows = db.scalar(select(func.count()).select_from(FederatedLetter)) or 0
        protocols = [one.protocol or {} for one in db.scalars(select(FederatedRound))]
        return rows + sum("letters" in one for one in protocols)


def begin(house: House, **terms: Any) -> str:
    """An experiment of gateways that nobody conducts yet."""
    new = RoundsNew(engine="edge", **{**SECURE, **terms})
    with house.parts.database.transaction() as db:
        return service.start(db, house.parts, new, holder=DEMO_HOLDER)


def conduct_on(
    house: House,
    experiment_id: str,
    *,
    wrap: Wrap = lambda exchange: exchange,
    passed: Callable[[str], None] = lambda _: None,
) -> FederatedRound:
    """Conduct it through an exchange of one's own; its round."""
    parts = house.parts
    exchange = wrap(DatabaseExchange(parts.database, engine="edge"))
    conduct(
        Chair(parts.database, exchange, parts.clock, unheard, parts.artifacts, passed),
        experiment_id,
    )
    with parts.database.reading() as db:
        return queries.rounds_of(db, experiment_id)[0]


class Changed(DatabaseExchange):
    """An exchange whose coordinator does something with what it is told."""

    def __init__(self, inner: DatabaseExchange, change: Callable[[Answer], Answer]) -> None:
        self._inner, self._change = inner, change

    def participants(self) -> Sequence[str]:
        """As the inner one."""
        return self._inner.participants()

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """What came, changed."""
        return [self._change(one) for one in self._inner.ask(tasks, timeout_s=timeout_s)]

    def missing(self) -> Mapping[str, str]:
        """As the inner one."""
        return self._inner.missing()


def test_gateways_come_to_the_model_of_a_secure_round_in_the_embedded_engine(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path)

    here = experiment(house, train(house, mode="secure", engine="embedded"))
    with at_work(gateways) as complaints:
        there = experiment(house, train(house, mode="secure", engine="edge"))

    detail = newest(house)
    assert there["model_sha256"] == here["model_sha256"]
    assert [one["participation"] for one in there["rounds"]] == [1.0, 1.0]
    means = [(one["participant"], one["is_signed"]) for one in detail["updates"]]
    assert means == [("all sites", True)]
    assert (detail["dropouts"], detail["refused"], complaints) == ([], {}, [])
    assert len(detail["validations"]) == 5
    assert letters_kept(house) == 0
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("site_*.json")} == {0o600}


@ON_SQLITE
def test_gateways_come_to_the_model_of_cells_in_the_embedded_engine(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path, count=9)
    terms = {"mode": "cells", "num_rounds": 1, "family": "linear"}

    here = experiment(house, train(house, engine="embedded", **terms))
    with at_work(gateways):
        there = experiment(house, train(house, engine="edge", **terms))

    assert there["model_sha256"] == here["model_sha256"]
    assert [one["participant"] for one in newest(house)["updates"]] == [
        "cell 01",
        "cell 02",
        "cell 03",
    ]
    assert newest(house)["dropouts"] == []


@ON_SQLITE
def test_a_gateway_that_drops_out_after_its_shares_leaves_the_sum_of_the_others(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path)
    data = {one.site_id: one.examples for one in gateways}

    def _without_last(one: Task) -> bool:
        return not (
            isinstance(one, MaskTask) and one.participant == "site_4" and one.stage == "mask"
        )

    here, _ = conducted(house, data, keeps=_without_last, mode="secure")
    with at_work([*gateways[:4], without(gateways[4], "stage=mask")]):
        there = experiment(house, train(house, engine="edge", deadline_s=16, **SECURE))

    assert there["model_sha256"] == here[0].model_sha256
    assert newest(house)["dropouts"] == ["site_4"]
    assert there["rounds"][0]["participation"] == pytest.approx(0.8)


@ON_SQLITE
def test_a_coordinator_that_swaps_a_participants_keys_is_refused_by_all_gateways(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path)
    own = coded(
        {
            name: X25519PrivateKey.generate().public_key().public_bytes_raw().hex()
            for name in ("seal_key", "mask_key", "own_mask")
        }
    )

    def _swap(said: Answer) -> Answer:
        if not isinstance(said, MaskAnswer) or said.stage != "hello":
            return said
        return replace(said, letter=own) if said.participant == "site_0" else said

    with at_work(gateways) as complaints:
        ended = conduct_on(
            house, begin(house, deadline_s=12), wrap=lambda inner: Changed(inner, _swap)
        )

    assert (ended.state, ended.reason) == ("failed", "0 shared their seeds; 4 are needed")
    assert sorted(complaints) == [  # each says so once, however often it is asked
        *["site_0 has signed other keys than these"] * 4,
        "the roster has another key for this participant, or none",
    ]
    assert letters_kept(house) == 0


@ON_SQLITE
def test_a_gateway_without_peers_says_so_once_and_the_others_sum_without_it(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path)

    with at_work([*gateways[:4], replace(gateways[4], peers={})]) as complaints:
        summary = train(house, engine="edge", deadline_s=12, **SECURE)

    assert summary["rounds_closed"] == 1
    assert newest(house)["dropouts"] == ["site_4"]
    assert complaints == ["masked sums need the DIDs of the other sites and a memory"]


@ON_SQLITE
def test_a_gateway_refuses_a_sum_with_a_site_it_does_not_know(house: House, tmp_path: Path) -> None:
    gateways = federation(house, tmp_path)
    known = {name: did for name, did in gateways[0].peers.items() if name != "site_4"}

    with at_work([replace(gateways[0], peers=known), *gateways[1:]]) as complaints:
        train(house, engine="edge", deadline_s=16, **SECURE)

    assert newest(house)["dropouts"] == ["site_0"]
    assert complaints == ["site_4 is not among those this participant sums with"]


@ON_SQLITE
@pytest.mark.parametrize("stage", ["hello", "share", "mask", "reveal"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_sums_whose_conductor_was_killed_come_to_the_same_model(
    house: House, tmp_path: Path, stage: str, *, is_kept: bool
) -> None:
    gateways = federation(house, tmp_path)
    expected = experiment(house, train(house, engine="embedded", **SECURE))["model_sha256"]
    experiment_id, stages = begin(house), ["hello", "share", "mask", "reveal"]
    points: list[str] = []

    def _after_keeping(point: str) -> None:
        points.append(point)
        if is_kept and points.count("masked") == stages.index(stage) + 1:
            raise Killed

    def _before_keeping(said: Answer) -> Answer:
        if not is_kept and isinstance(said, MaskAnswer) and said.stage == stage:
            raise Killed
        return said

    with at_work(gateways):
        with pytest.raises(Killed):
            conduct_on(
                house,
                experiment_id,
                wrap=lambda inner: Changed(inner, _before_keeping),
                passed=_after_keeping,
            )
        house.clock.advance(minutes=10)
        ended = conduct_on(house, experiment_id)

    assert (ended.state, ended.model_sha256) == ("closed", expected)


@ON_SQLITE
def test_memories_that_are_lost_before_anything_was_revealed_change_nothing(
    house: House, tmp_path: Path
) -> None:
    gateways = federation(house, tmp_path)
    expected = experiment(house, train(house, engine="embedded", **SECURE))["model_sha256"]
    points: list[str] = []

    def _lose(point: str) -> None:
        points.append(point)
        if points.count("masked") == 2:  # the shares are kept, no vector is asked for yet
            raise Killed

    experiment_id = begin(house)
    with pytest.raises(Killed), at_work(gateways):
        conduct_on(house, experiment_id, passed=_lose)
    for file in tmp_path.glob("site_*.json"):
        file.unlink()
    house.clock.advance(minutes=10)
    with at_work(gateways):
        ended = conduct_on(house, experiment_id)

    assert ended.model_sha256 == expected


class Scene:
    """A masked round that waits for four gateways, whose turns the test takes itself."""

    def __init__(self, house: House, folder: Path, **terms: Any) -> None:
        self.house, self.gateways = house, federation(house, folder, count=4)
        body = {"engine": "edge", "min_available_clients": 4, **SECURE, "deadline_s": 20, **terms}
        self.job_id = house.post(ROUNDS, {**body, "experiment_id": "scene"}).json()["id"]
        self.round_id = self.wait(lambda: self.task(0))["round_id"]

    def wait(self, look: Callable[[], Json | None]) -> Json:
        """What is there to see after a while."""
        for _ in range(1_000):
            found = look()
            if found is not None:
                return found
            threading.Event().wait(0.02)
        raise AssertionError("nothing was asked")

    def task(self, number: int, stage: str | None = None) -> Json | None:
        """What a gateway is asked now, if it is of this stage."""
        answer = self.house.get(f"{ROUNDS}/current/task?site_id=site_{number}")
        task: Json | None = answer.json() if answer.status_code == 200 else None
        return task if task is None or stage in (None, task["stage"]) else None

    def letter(self, number: int, **changes: Any) -> MaskAnswer:
        """What an honest gateway would send, but for changes of what it says of it."""
        one, said = self.gateways[number], self.task(number) or self.task(3)
        assert said is not None
        key = changes.pop("key", one.key)
        mine = mask_task_of({**said, "participant": one.site_id}, one.site_id)
        answer, _ = Site(one.site_id, one.examples, noise_key_of(one.key)).mask(mine, None)
        statement = statement_about(mine, answer, did=one.own_did, nonce="x")
        return replace(answer, signature=signed(replace(statement, **changes), key))

    def send(
        self, said: MaskAnswer, *, what: str = "letters?stage=hello", body: bytes | None = None
    ) -> tuple[int, str]:
        """Status and code of the answer."""
        answer = self.house.client.post(
            f"/api/v1{ROUNDS}/{self.round_id}/{what}",
            content=said.letter if body is None else body,
            headers={
                "Tasco-Statement": said.signature,
                "Content-Type": "application/octet-stream",
            },
        )
        return answer.status_code, answer.json().get("code", "taken")

    def end(self) -> Json:
        """Let all gateways do their part; the round as it ended."""
        with at_work(self.gateways):
            self.wait(self._ended)
        return newest(self.house)

    def _ended(self) -> Json | None:
        job: Json = self.house.get(f"/jobs/{self.job_id}").json()
        return job if job["state"] in ("succeeded", "failed") else None


@pytest.fixture
def scene(house: House, tmp_path: Path) -> Iterator[Scene]:
    """A masked round that waits for hellos; it is brought to its end."""
    made = Scene(house, tmp_path)
    yield made
    made.end()


@ON_SQLITE
def test_every_bad_letter_is_refused_with_its_reason_and_counted_and_the_round_goes_on(
    scene: Scene,
) -> None:
    key, good = Ed25519PrivateKey.generate(), scene.letter(0)
    now = int(scene.house.clock.now().timestamp())
    task = scene.task(0)
    assert task is not None
    own = train_task_of(task, "site_0")
    other_stage = statement_about(
        mask_task_of(task, "site_0"),
        replace(good, stage="share"),
        did=scene.gateways[0].own_did,
        nonce="x",
    )
    other_group = statement_about(
        replace(mask_task_of(task, "site_0"), group="cell 01"),
        good,
        did=scene.gateways[0].own_did,
        nonce="x",
    )
    late = gateway(scene.house, "site_late", scene.gateways[0].examples, key=key)

    refused = {
        "stranger": scene.send(scene.letter(0, did=f"{did_of(key)}x", key=key)),
        "signed by another": scene.send(scene.letter(0, key=key)),
        "another's site": scene.send(scene.letter(0, site_id="site_1")),
        "not drawn": scene.send(scene.letter(0, did=late.own_did, site_id="site_late", key=key)),
        "no statement": scene.send(replace(good, signature="nothing")),
        "expired": scene.send(scene.letter(0, expires_at=now - 1)),
        "another parent": scene.send(scene.letter(0, parent_hash="0" * 64)),
        "another round": scene.send(scene.letter(0, round_id="frd_of_last_week")),
        "an update's statement": scene.send(scene.letter(0, kind="update")),
        "other bytes": scene.send(good, body=good.letter + b" "),
        "signed for another stage": scene.send(
            replace(good, signature=signed(other_stage, scene.gateways[0].key))
        ),
        "signed for another group": scene.send(
            replace(good, signature=signed(other_group, scene.gateways[0].key))
        ),
        "sent to another stage": scene.send(good, what="letters?stage=share"),
        "too large": scene.send(good, body=b"\x00" * 100_000),
        "a plain update": scene.send(
            scene.letter(0, kind="update", num_examples=9), what="updates", body=to_npz(own.weights)
        ),
    }
    unknown = scene.send(good, what="letters?stage=dance")
    taken, twice = scene.send(good), scene.send(scene.letter(0))
    asked = scene.task(0)
    detail = scene.end()

    assert refused == {
        "stranger": (403, "stranger"),
        "signed by another": (403, "signed_by_another"),
        "another's site": (403, "signed_by_another"),
        "not drawn": (409, "not_selected"),
        "no statement": (422, "statement_refused"),
        "expired": (422, "statement_refused"),
        "another parent": (409, "stale_update"),
        "another round": (409, "stale_update"),
        "an update's statement": (409, "stale_update"),
        "other bytes": (422, "not_what_was_signed"),
        "signed for another stage": (422, "not_what_was_signed"),
        "signed for another group": (422, "not_what_was_signed"),
        "sent to another stage": (409, "round_over"),
        "too large": (413, "update_too_large"),
        "a plain update": (409, "round_over"),
    }
    assert unknown[0] == 422
    assert (taken, twice) == ((200, "taken"), (409, "update_repeated"))
    assert asked is None
    assert (detail["state"], detail["dropouts"]) == ("closed", [])
    assert sum(detail["refused"].values()) == len(refused) + 1
    assert scene.send(good) == (409, "round_over")


@ON_SQLITE
def test_who_missed_a_stage_is_not_asked_in_the_next_and_not_heard(
    house: House, tmp_path: Path
) -> None:
    scene = Scene(house, tmp_path, deadline_s=60, min_fit_clients=3)
    for number in range(3):
        assert scene.gateways[number].step(Done())

    scene.wait(lambda: scene.task(0, "share"))
    late = scene.letter(3) if scene.task(3) else None
    said = scene.letter(0)
    sent = scene.send(
        replace(said, signature=_signed_by(scene, 3, said)), what="letters?stage=share"
    )
    again = scene.send(said)
    detail = scene.end()

    assert late is None
    assert sent == (409, "not_selected")
    assert again == (409, "round_over")
    assert (detail["state"], detail["dropouts"]) == ("closed", ["site_3"])


@ON_SQLITE
def test_a_gateway_may_send_masked_updates_only(house: House, tmp_path: Path) -> None:
    scene = Scene(house, tmp_path, mode="validated")
    careful = replace(scene.gateways[0], is_masked_only=True)

    with pytest.raises(MaskingRefused, match="masked sums only"):
        careful.step(Done())


def _signed_by(scene: Scene, number: int, said: MaskAnswer) -> str:
    """A statement by one participant about what is another's letter."""
    task, one = scene.task(0), scene.gateways[number]
    assert task is not None
    statement = statement_about(mask_task_of(task, "site_0"), said, did=one.own_did, nonce="x")
    return signed(replace(statement, site_id=one.site_id), one.key)


@ON_SQLITE
def test_rounds_of_plain_updates_take_no_letters(house: House, tmp_path: Path) -> None:
    scene = Scene(house, tmp_path, mode="validated")
    task, one = scene.task(0), scene.gateways[0]
    assert task is not None
    step = {"stage": "hello", "group": "all sites", "clip_norm": 2.0}
    mine = mask_task_of({**task, **step}, "site_0")

    said, _ = one._site.mask(mine, None)  # noqa: SLF001 - what it would say if it were asked

    assert task["kind"] == "train"
    assert scene.send(said) == (409, "round_over")
    assert scene.end()["state"] == "closed"


@ON_SQLITE
def test_letters_of_a_sum_that_is_stopped_are_erased(house: House, tmp_path: Path) -> None:
    scene = Scene(house, tmp_path)
    for one in scene.gateways:
        assert one.step(Done())
    scene.wait(lambda: scene.task(0, "share"))
    assert scene.gateways[0].step(Done())
    before = letters_kept(house)

    house.client.delete("/api/v1/federated/experiments/scene")

    assert (before, letters_kept(house)) == (2, 0)
    scene.end()


@ON_SQLITE
def test_an_experiment_that_is_given_up_leaves_no_open_round_and_no_letters_and_tells(
    house: House, tmp_path: Path
) -> None:
    scene, parts = Scene(house, tmp_path), house.parts
    for one in scene.gateways:
        assert one.step(Done())
    scene.wait(lambda: scene.task(0, "share"))
    assert scene.gateways[0].step(Done())

    for reason in ("the disk is full", "much later"):
        stopping.give_up(parts.database, "scene", ValueError(reason), now=parts.clock.now())

    ended = newest(house)
    assert letters_kept(house) == 0
    assert (ended["state"], ended["reason"]) == ("failed", "ValueError: the disk is full")
    scene.end()
    house.settle()
    path = "/api/v1/federated/experiments/scene/events"
    with house.client.stream("GET", path, headers={"Last-Event-ID": "0"}) as stream:
        told = [line[7:] for line in stream.iter_lines() if line.startswith("event: ")]
    assert told[-2:] == ["federated.round.failed", "federated.experiment.failed"]


@ON_SQLITE
def test_a_gateway_remembers_before_it_sends_and_takes_no_others_memory(
    scene: Scene, tmp_path: Path
) -> None:
    first, second = scene.gateways[:2]
    cut = without(first, "letters")
    mixed = replace(second, memory=Memory(tmp_path / "site_0.json", site_id="site_1"))
    torn = replace(second, memory=Memory(tmp_path / "torn.json", site_id="site_1"))
    (tmp_path / "torn.json").write_text("{")

    with pytest.raises(ServiceAway):
        cut.step(Done())
    kept = decoded((tmp_path / "site_0.json").read_bytes())
    with pytest.raises(MaskingRefused, match="the memory of site_0"):
        mixed.step(Done())
    with pytest.raises(MaskingRefused, match="no memory of masked sums"):
        torn.step(Done())

    assert kept["name"] == "site_0"
    assert "scene" in kept["context"]


@ON_SQLITE
def test_of_two_steps_at_once_from_one_memory_one_is_taken(house: House, tmp_path: Path) -> None:
    """Both would hide their vectors with the same masks; the difference would be the update."""
    scene = Scene(house, tmp_path)
    for stage in ("hello", "share"):
        scene.wait(partial(scene.task, 0, stage))
        for one in scene.gateways:
            assert one.step(Done())
    task = scene.wait(partial(scene.task, 0, "mask"))
    replies = [Reply(200, json.dumps(_trained(task, epochs)).encode()) for epochs in (0, 2)]
    sent, complaints = list[bytes | None](), list[str]()

    def _step(reply: Reply) -> None:
        def _ask(method: str, _url: str, body: bytes | None, _headers: Headers) -> Reply:
            if method == "POST":
                sent.append(body)
            return reply if method == "GET" else Reply(200, b"{}")

        try:
            replace(scene.gateways[0], ask=_ask).step(Done())
        except MaskingRefused as refused:
            complaints.append(str(refused))

    threads = [threading.Thread(target=_step, args=(reply,)) for reply in replies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(sent), complaints) == (1, ["another vector than before"])
    scene.end()


def _trained(task: Json, epochs: int) -> Json:
    return {**task, "settings": {**task["settings"], "local_epochs": epochs}}


@ON_SQLITE
def test_a_gateway_that_is_refused_pauses_before_it_tries_again(
    scene: Scene, tmp_path: Path
) -> None:
    key, pauses = Ed25519PrivateKey.generate(), list[float]()
    memory = Memory(tmp_path / "stranger.json", site_id="site_0")
    stranger = replace(scene.gateways[0], key=key, memory=memory)

    def _pause(seconds: float) -> None:
        pauses.append(seconds)
        threading.Event().wait(seconds)

    done = take_part(stranger, idle_s=0.5, poll_s=0.1, sleep=_pause)

    assert len(pauses) <= 5
    assert done.refused == ["stranger"] * len(pauses)


@ON_SQLITE
def test_a_gateway_with_a_budget_takes_part_in_no_masked_sum(scene: Scene, tmp_path: Path) -> None:
    own = Budget(tmp_path / "privacy.json", site_id="site_0", max_epsilon=2.0)

    with pytest.raises(BudgetRefused, match="without noise"):
        replace(scene.gateways[0], budget=own).step(Done())

    assert not (tmp_path / "site_0.json").exists()
    assert scene.task(0) is not None  # still: nothing was sent


@ON_SQLITE
def test_a_gateway_refuses_a_step_of_a_sum_that_it_cannot_read(scene: Scene) -> None:
    task = scene.task(0)
    assert task is not None

    for changes, reason in (
        ({"stage": "dance"}, "no such stage"),
        ({"letters": {"roster": "é"}}, "ASCII"),
        ({"parent_sha256": "0" * 64}, "not the one"),
    ):
        with pytest.raises(TaskRefused, match=reason):
            mask_task_of({**task, **changes}, "site_0")
