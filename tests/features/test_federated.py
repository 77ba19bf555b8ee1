"""Federated rounds through HTTP: sites of this service, their updates, verdicts and model."""

import io
import json
import threading
from typing import Any

import numpy as np
import onnxruntime
import pytest

from backend.features.federated.models import FederatedWeights
from backend.features.jobs.service import await_all
from backend.federation.networks import predict, shapes
from backend.federation.weights import content_hash, from_npz
from tests.conftest import House
from tests.features.federated_sites import ON_SQLITE, ROUNDS, add_sites, experiment, train
from tests.tables import rows_of

# Who trains privately says nothing of its own data, so that the model stays a challenger.
UNJUDGED: dict[str, Any] = {
    "num_rounds": 1,
    "privacy": {"noise_multiplier": 4.0, "max_epsilon": 9.0},
}


def test_sites_train_together_and_every_update_has_hash_norm_score_and_verdict(
    house: House,
) -> None:
    names = add_sites(house)

    summary = train(house, num_rounds=2, experiment_id="first")

    listed = house.get(f"{ROUNDS}?limit=1").json()
    detail = house.get(f"{ROUNDS}/{listed['data'][0]['id']}").json()
    assert (summary["rounds_closed"], summary["participation"]) == (2, 1.0)
    assert (listed["has_more"], detail["number"], detail["state"]) == (True, 2, "closed")
    assert [one["participant"] for one in detail["updates"]] == names
    assert detail["model_sha256"] == experiment(house, summary)["model_sha256"]
    for one in detail["updates"]:
        assert one["is_signed"]
        assert one["verdict"] in ("accepted", "rejected_norm", "rejected_quality")
        assert one["norm"] > 0
        assert len(one["sha256"]) == 64
    assert len(detail["validations"]) == len(names)
    assert set(detail["phases"]) == {"opened", "collecting", "validating", "aggregating"}


def test_the_same_seed_gives_the_same_model_and_another_seed_another(house: House) -> None:
    add_sites(house)

    first, again, other = (experiment(house, train(house, seed=seed)) for seed in (7, 7, 8))

    assert first["model_sha256"] == again["model_sha256"] != other["model_sha256"]


@ON_SQLITE
def test_each_round_begins_with_the_model_of_the_one_before(house: House) -> None:
    add_sites(house)

    seen = experiment(house, train(house, num_rounds=3))

    rounds = house.get(f"{ROUNDS}?experiment_id={seen['id']}").json()["data"][::-1]
    parents = [one["parent_sha256"] for one in rounds]
    models = [one["model_sha256"] for one in rounds]
    assert parents == [seen["initial_sha256"], *models[:-1]]
    assert models[-1] == seen["model_sha256"]


@ON_SQLITE
def test_the_model_is_given_out_with_its_hash_as_npz_and_as_onnx(house: House) -> None:
    add_sites(house)
    train(house)

    npz = house.get("/federated/model?format=npz")
    onnx = house.get("/federated/model", headers={"Accept": "application/onnx"})

    weights = from_npz(npz.content, shapes("mlp"))
    rows = np.random.default_rng(1).normal(size=(50, 26)).astype(np.float32)
    session = onnxruntime.InferenceSession(onnx.content)
    (answers,) = session.run(None, {"rows": rows})
    assert content_hash(weights) == npz.headers["Tasco-Content-Hash"]
    np.testing.assert_allclose(answers[:, 0], predict("mlp", weights, rows), atol=1e-4)
    again = house.get("/federated/model", headers={"If-None-Match": npz.headers["ETag"]})
    assert again.status_code == 304


def test_the_model_in_service_is_given_out_and_not_a_newer_challenger(house: House) -> None:
    add_sites(house)
    first = experiment(house, train(house))
    newer = experiment(house, train(house, **UNJUDGED))
    by_hash = f"/federated/model?sha256={newer['model_sha256']}"
    of_first = f"{by_hash}&experiment_id={first['id']}"

    served = house.get("/federated/model")
    asked = [house.get(by_hash), house.get(f"/federated/model?experiment_id={newer['id']}")]
    refused = [house.get(of_first), house.get(f"/federated/model?sha256={'0' * 64}")]

    assert served.headers["Tasco-Model-Status"] == "champion"
    assert served.headers["Tasco-Experiment"] == first["id"]
    assert content_hash(from_npz(served.content, shapes("mlp"))) == first["model_sha256"]
    for one in asked:
        assert one.headers["Tasco-Model-Status"] == "challenger"
        assert one.headers["Tasco-Experiment"] == newer["id"]
        assert content_hash(from_npz(one.content, shapes("mlp"))) == newer["model_sha256"]
    assert {(one.status_code, one.json()["code"]) for one in refused} == {
        (404, "federated_model_not_found")
    }


@ON_SQLITE
def test_while_none_is_in_service_the_newest_challenger_is_given_out_as_such(house: House) -> None:
    add_sites(house)
    early = house.get("/federated/model")
    train(house, **UNJUDGED, seed=1)
    newest = experiment(house, train(house, **UNJUDGED, seed=2))

    given = house.get("/federated/model")

    assert (early.status_code, early.json()["code"]) == (409, "no_model_yet")
    assert given.headers["Tasco-Model-Status"] == "challenger"
    assert given.headers["Tasco-Content-Hash"] == newest["model_sha256"]


@ON_SQLITE
def test_the_former_champion_is_told_as_retired(house: House) -> None:
    add_sites(house)
    former, served = (experiment(house, train(house, seed=seed)) for seed in (1, 2))

    given = [
        house.get(f"/federated/model{query}")
        for query in ("", f"?experiment_id={former['id']}", f"?sha256={served['model_sha256']}")
    ]

    assert [one.headers["Tasco-Model-Status"] for one in given] == [
        "champion", "retired", "champion",
    ]  # fmt: skip
    assert [one.headers["Tasco-Experiment"] for one in given] == [
        served["id"], former["id"], served["id"],
    ]  # fmt: skip


@ON_SQLITE
def test_a_model_whose_bytes_were_altered_is_not_given_out(house: House) -> None:
    add_sites(house)
    sha256 = experiment(house, train(house))["model_sha256"]
    with house.parts.database.transaction() as db:
        row = db.get_one(FederatedWeights, sha256)
        arrays = dict(np.load(io.BytesIO(row.data)))
        file = io.BytesIO()
        np.savez(file, **{name: array + np.float32(1) for name, array in arrays.items()})
        row.data = file.getvalue()

    answer = house.get("/federated/model")

    assert (answer.status_code, answer.json()["code"]) == (409, "weights_altered")


@ON_SQLITE
def test_too_few_participants_are_refused_with_how_many_there_are(house: House) -> None:
    add_sites(house, 2)

    answer = house.post(ROUNDS, {})

    assert (answer.status_code, answer.json()["code"]) == (409, "too_few_participants")
    assert "2 participants; 5 are needed" in answer.json()["detail"]


@ON_SQLITE
def test_a_site_with_little_history_does_not_take_part(house: House) -> None:
    add_sites(house, 3)
    house.site("site_young")

    summary = train(house, min_available_clients=3)

    selected = house.get(ROUNDS).json()["data"][0]["selected"]
    assert selected == ["site_0", "site_1", "site_2"]
    assert summary["rounds_closed"] == 2


@ON_SQLITE
def test_a_fraction_of_the_participants_is_drawn_by_the_seed(house: House) -> None:
    add_sites(house, 6)

    drawn = [
        train(house, num_rounds=3, fraction_fit=0.5, seed=seed, experiment_id=f"seed_{seed}_{n}")
        for n, seed in enumerate((1, 1, 2))
    ]

    chosen = [
        [one["selected"] for one in house.get(f"{ROUNDS}?experiment_id={name}").json()["data"]]
        for name in (one["experiment_id"] for one in drawn)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert {len(one) for one in chosen[0]} == {3}
    assert len({tuple(one) for one in chosen[0]}) > 1


@ON_SQLITE
@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "median", "trimmed_mean", "krum"])
def test_other_strategies_can_be_compared(house: House, strategy: str) -> None:
    add_sites(house, 3)

    seen = experiment(house, train(house, strategy=strategy, min_available_clients=3, num_rounds=1))

    assert seen["terms"]["strategy"] == strategy
    assert seen["rounds"][0]["accepted"] == 3


def test_progress_comes_as_events_and_ends_with_the_experiment(house: House) -> None:
    add_sites(house)
    job = house.post(ROUNDS, {"num_rounds": 1, "experiment_id": "live"})
    assert job.status_code == 202
    assert job.headers["Link"].startswith("</api/v1/federated/experiments/live>")
    _await(house, job.json()["id"])
    house.settle()
    assert house.get("/federated/experiments/live").json()["job_id"] == job.json()["id"]

    path = "/api/v1/federated/experiments/live/events"
    with house.client.stream("GET", path, headers={"Last-Event-ID": "0"}) as stream:
        types = [line[7:] for line in stream.iter_lines() if line.startswith("event: ")]

    arrows = ["opened", "collecting", "validating", "aggregating", "closed"]
    told = [one for one in types if one.startswith("federated.round.")]
    assert told == [f"federated.round.{one}" for one in arrows]
    assert types[-1] == "federated.experiment.closed"


def test_a_closed_round_and_its_model_enter_the_anchor_queue_without_names(house: House) -> None:
    names = add_sites(house)
    train(house, num_rounds=1)

    house.settle()

    records = [one["record"] for one in rows_of(house.parts.database, "anchor_items")]
    told = {one["event"]: one["facts"] for one in records if one and "event" in one}
    closed = told["federated.round.closed"]
    assert len(closed["updates"]) == len(names)
    assert {"sha256", "verdict", "score"} <= set(closed["updates"][0])
    assert closed["model_sha256"] == told["model.registered"]["content_hash"]
    said = json.dumps(records)
    assert not any(name in said for name in names)
    assert "did:" not in said


@ON_SQLITE
def test_the_model_stands_in_the_registry_with_its_metrics(house: House) -> None:
    add_sites(house)
    summary = train(house)

    found = house.get("/forecasts/models").json()["data"][0]

    assert found["kind"] == "federated_demand"
    assert found["content_hash"] == experiment(house, summary)["model_sha256"]
    assert found["metrics"]["final_r2"] == pytest.approx(summary["final_r2"])
    assert (found["status"] == "champion") == (summary["final_r2"] > summary["initial_r2"])


def test_a_repeated_request_with_its_key_finds_the_same_experiment(house: House) -> None:
    add_sites(house)
    headers = {"Idempotency-Key": "once"}

    first, again = (
        house.post(f"{ROUNDS}?wait=true", {"num_rounds": 1}, headers=headers) for _ in range(2)
    )

    assert first.json()["experiment_id"] == again.json()["experiment_id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(house.get(ROUNDS).json()["data"]) == 1


def test_of_starts_at_once_one_is_let_through(house: House) -> None:
    add_sites(house)
    gate, codes = threading.Barrier(4), list[int]()

    def _start() -> None:
        gate.wait()
        codes.append(house.post(ROUNDS, {"num_rounds": 1, "experiment_id": "mine"}).status_code)

    threads = [threading.Thread(target=_start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    await_all(house.parts.database, timeout_s=30)
    assert sorted(codes) == [202, 409, 409, 409]
    assert len(house.get(ROUNDS).json()["data"]) == 1


@ON_SQLITE
def test_everything_in_the_body_may_be_left_out(house: House) -> None:
    add_sites(house)

    answer = house.client.post(f"/api/v1{ROUNDS}")

    await_all(house.parts.database, timeout_s=30)
    assert answer.status_code == 202
    assert len(house.get(ROUNDS).json()["data"]) == 10


@ON_SQLITE
def test_a_name_is_given_once(house: House) -> None:
    add_sites(house)
    train(house, num_rounds=1, experiment_id="mine")

    answer = house.post(ROUNDS, {"experiment_id": "mine"})

    assert (answer.status_code, answer.json()["code"]) == (409, "experiment_known")


@ON_SQLITE
def test_the_curve_is_exported_as_a_table_of_the_same_figures(house: House) -> None:
    add_sites(house)
    seen = experiment(house, train(house))

    table = house.get(f"/federated/experiments/{seen['id']}/curve.csv").text.splitlines()

    assert len(table) == 1 + len(seen["rounds"])
    first = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    assert float(first["loss"]) == seen["rounds"][0]["loss"]
    assert int(first["accepted"]) == seen["rounds"][0]["accepted"]


def _await(house: House, job_id: str) -> None:
    from backend.features.jobs.service import await_all  # noqa: PLC0415

    await_all(house.parts.database, timeout_s=30)
    assert house.get(f"/jobs/{job_id}").json()["state"] == "succeeded"
