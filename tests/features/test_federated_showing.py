"""What an experiment shows: newcomers side by side, plots, exports; gateways in production."""

import csv
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from backend.cli import app
from backend.edge.asking import Headers, Reply
from backend.edge.learning import Gateway
from backend.edge.proofs import Pass
from backend.edge.series import DataRefused, hours_in
from backend.features.credentials.holder import Holder
from backend.features.federated import enrolling
from backend.features.federated.finishing import convergence
from backend.features.federated.judging import cost_saved
from backend.features.federated.models import FederatedExperiment, FederatedParticipant
from backend.features.federated.schemas import RoundsNew
from backend.features.federated.terms import Terms
from backend.features.forecasts.models import DemandInterval
from backend.features.jobs.service import await_all
from backend.settings import read_settings
from tests.conftest import House, house_on
from tests.features.federated_sites import (
    ROUNDS,
    add_sites,
    at_work,
    examples,
    experiment,
    gateway,
    train,
)
from tests.identities import Caller, administrator_of, trusted_issuer

KIND = "FederatedParticipantCredential"


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on SQLite: which database it is plays no part here."""
    with house_on(sqlite_url, tmp_path) as made:
        yield made


@pytest.fixture
def run(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs `python -m backend …` on the house's database."""
    monkeypatch.setenv("TASCO_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    read_settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    read_settings.cache_clear()


def test_a_newcomer_does_better_with_the_others_than_alone(house: House) -> None:
    add_sites(house, days=56)

    seen = house.get("/federated/newcomer?site_id=site_2&history_days=7").json()

    assert (seen["site_id"], seen["history_h"], seen["is_simulated"]) == ("site_2", 168, False)
    assert seen["federated_r2"] > seen["alone_r2"]
    assert seen["personalised_r2"] > seen["alone_r2"]


def test_a_site_without_a_past_cannot_play_the_newcomer(house: House) -> None:
    add_sites(house, days=21)

    too_long = house.get("/federated/newcomer?history_days=60")
    unknown = house.get("/federated/newcomer?site_id=nowhere")

    assert (too_long.status_code, too_long.json()["code"]) == (409, "site_too_young")
    assert (unknown.status_code, unknown.json()["code"]) == (409, "site_too_young")
    assert unknown.json()["detail"] == "nowhere has no two weeks of history here."


def test_a_site_whose_history_is_not_known_yet_does_not_teach_a_newcomer(house: House) -> None:
    add_sites(house, 5)
    later = house.clock.now() + timedelta(days=1)
    with house.parts.database.transaction() as db:
        unknown = update(DemandInterval).where(DemandInterval.site_id == "site_1")
        db.execute(unknown.values(available_at=later))

    seen = house.get("/federated/newcomer?site_id=site_2")

    assert seen.status_code == 200


def test_an_experiment_is_drawn_and_exported_from_the_command_line(
    house: House, run: Any, tmp_path: Path
) -> None:
    add_sites(house)
    seen = experiment(house, train(house, experiment_id="drawn"))

    drawn = run("plot", "federated", "drawn", "--out", tmp_path / "x.png")
    table = run("federated", "export", "drawn", "--out", tmp_path / "x.csv")
    whole = run("federated", "export", "drawn", "--out", tmp_path / "x.json")
    unknown = run("plot", "federated", "nothing")
    nowhere = run("federated", "export", "drawn", "--out", tmp_path / "no" / "x.csv")
    formless = [
        run(*words, "drawn", "--out", tmp_path / "x.xls")
        for words in (("plot", "federated"), ("federated", "export"))
    ]

    assert [one.exit_code for one in (drawn, table, whole, unknown)] == [0, 0, 0, 2]
    assert [one.exit_code for one in (nowhere, *formless)] == [2, 2, 2]
    assert "cannot be written: No such file or directory." in nowhere.stderr
    assert [one.stderr for one in formless] == [
        "x.xls has to end in .png or .svg.\n",
        "x.xls has to end in .csv or .json.\n",
    ]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    for name in ("r2", "cost_saved_eur_per_mwh", "bytes_moved", "cpu_s", "rss_mb"):
        assert [float(row[name]) for row in rows] == [one[name] for one in seen["rounds"]]
    assert {row["epsilon"] + row["noise_scale"] + row["gas_used"] for row in rows} == {""}
    assert json.loads((tmp_path / "x.json").read_text())["summary"] == seen["summary"]


def test_the_picture_of_a_private_experiment_says_what_it_spent_and_what_nobody_told(
    house: House, run: Any, tmp_path: Path
) -> None:
    add_sites(house)
    privacy = {"clip_norm": 0.5, "noise_multiplier": 4.0, "max_epsilon": 50.0}

    seen = experiment(house, train(house, experiment_id="private", privacy=privacy))
    run("plot", "federated", "private", "--out", tmp_path / "x.svg")

    shown = [(one["noise_scale"], one["cost_saved_eur_per_mwh"]) for one in seen["rounds"]]
    epsilons = [one["epsilon"] for one in seen["rounds"]]
    assert shown == [(2.0, None), (2.0, None)]
    assert epsilons == sorted(epsilons)
    assert (seen["summary"]["noise_scale"], seen["summary"]["epsilon"]) == (2.0, epsilons[-1])
    assert seen["summary"]["cost_saved_eur_per_mwh"] is None
    picture = (tmp_path / "x.svg").read_text()
    for text in (
        "largest epsilon, at noise scale 2",
        "no site said its figures",
        "no site said its errors",
        "nothing in a block yet",
        "usual days at 0.05 €/kWh",
        "kB moved",
        "memory, MB",
    ):
        assert text in picture


def test_what_a_better_forecast_is_worth_is_that_of_the_median_site() -> None:
    terms = _terms(imbalance_eur_per_kwh=0.1)
    said: list[dict[str, Any]] = [
        {"wape": 0.2, "usual_wape": 0.3},
        {"wape": 0.4, "usual_wape": 0.45},
        {"wape": 0.9, "usual_wape": 0.8},
        {"wape": 0.1},  # an older gateway
        {"wape": float("nan"), "usual_wape": 1e9},
    ]

    assert cost_saved(said, terms) == pytest.approx(1_000 * 0.05 * 0.1)
    assert cost_saved(said[2:], terms) == pytest.approx(1_000 * -0.1 * 0.1)
    assert cost_saved(said[3:], terms) is None


def _terms(**values: Any) -> Terms:
    kept = RoundsNew(**values).model_dump(mode="json", exclude={"experiment_id", "engine"})
    return Terms.of(FederatedExperiment(id="x", engine="embedded", terms=kept))


def test_terms_that_were_stored_without_a_price_have_the_usual_one() -> None:
    kept = RoundsNew(imbalance_eur_per_kwh=0.2).model_dump(mode="json")
    del kept["imbalance_eur_per_kwh"]

    terms = Terms.of(FederatedExperiment(id="x", engine="embedded", terms=kept))

    assert terms.imbalance_eur_per_kwh == 0.05


@pytest.mark.parametrize("price", [-0.01, 10.5, "free"])
def test_a_price_that_nobody_pays_is_refused(house: House, price: object) -> None:
    answer = house.post(ROUNDS, {"imbalance_eur_per_kwh": price})

    assert (answer.status_code, answer.json()["code"]) == (422, "malformed_request")


def test_cost_saved_follows_from_what_sites_said_and_the_price_that_was_asked_for(
    house: House,
) -> None:
    add_sites(house)

    seen = experiment(house, train(house, imbalance_eur_per_kwh=0.2))

    for number, row in enumerate(house.get(ROUNDS).json()["data"][::-1]):
        updates = house.get(f"{ROUNDS}/{row['id']}").json()["updates"]
        said = [one["metrics"] for one in updates]
        fallen = np.median([one["usual_wape"] - one["wape"] for one in said])
        shown = seen["rounds"][number]
        assert shown["cost_saved_eur_per_mwh"] == pytest.approx(1_000 * 0.2 * fallen)
        assert shown["wape"] == np.median([one["wape"] for one in said])
    # Trained models are nearer than the one before the first round, usual days stay as they are.
    summary = seen["summary"]
    worth = "cost_saved_eur_per_mwh"
    assert summary["final_wape"] < seen["rounds"][0]["wape"]
    assert summary["usual_wape"] == pytest.approx(seen["rounds"][0]["usual_wape"])
    assert summary[worth] > seen["rounds"][0][worth]
    assert summary["imbalance_eur_per_kwh"] == 0.2


def test_an_older_gateway_judges_without_errors(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_sites(house)
    gateways = [gateway(house, name, data) for name, data in examples(house).items()]
    monkeypatch.setattr("backend.edge.learning.forecast_errors", lambda *_: {})

    with at_work(gateways):
        summary = train(house, engine="edge", num_rounds=1)

    assert summary["final_loss"] > 0
    assert (summary["final_wape"], summary["cost_saved_eur_per_mwh"]) == (None, None)


def test_a_site_that_has_left_judges_no_model(house: House) -> None:
    add_sites(house)
    gateways = [gateway(house, name, data) for name, data in examples(house).items()]
    replies: list[Reply] = []

    def _leave(method: str, url: str, body: bytes | None, headers: Headers) -> Reply:
        if not url.endswith("/judgement"):
            return gateways[4].ask(method, url, body, headers)
        house.client.delete("/api/v1/federated/participants/site_4")
        replies.append(gateways[4].ask(method, url, body, headers))
        return replies[-1]

    with at_work([*gateways[:4], replace(gateways[4], ask=_leave)]):
        summary = train(house, engine="edge", num_rounds=1, family="linear", deadline_s=4)

    assert summary["rounds_closed"] == 1
    assert replies[0].json()["code"] == "not_selected"


def test_convergence_is_where_the_curve_stays_near_its_end() -> None:
    assert convergence([0.1, 0.5, 0.49, 0.5]) == 1
    assert convergence([0.1, 0.5, 0.2, 0.5]) == 3
    assert convergence([0.1, None]) is None
    assert convergence([-1.0, -0.5, -0.501]) == 1


def _trainer(house: House, issuer: Caller, site_id: str) -> Caller:
    caller = Caller()
    claims = {"site": site_id, "federation": "demand"}
    caller.credentials = [issuer.say(caller.did, KIND, claims, now=house.clock.now())]
    return caller.log_in(house)


def test_in_production_a_gateway_needs_the_credential_of_its_site(
    closed_house: House,
) -> None:
    administrator = administrator_of(closed_house)
    issuer = trusted_issuer(closed_house, administrator, KIND)
    trainer, other = (_trainer(closed_house, issuer, name) for name in ("site_a", "site_b"))
    path = "/federated/participants"

    stranger = closed_house.post(path, {"site_id": "site_a"})
    own = trainer.post(closed_house, path, {"site_id": "site_a"})
    foreign = trainer.post(closed_house, path, {"site_id": "site_b"})
    named = other.post(closed_house, path, {"site_id": "site_b", "did": trainer.did})

    assert stranger.status_code == 401
    assert (own.status_code, own.json()["assurance"]) == (200, "verified")
    assert [one.json()["code"] for one in (foreign, named)] == ["not_its_site"] * 2


def test_in_production_verified_gateways_train_and_another_cannot_send_for_them(
    closed_house: House,
) -> None:
    house = closed_house
    administrator = administrator_of(house)
    issuer = trusted_issuer(house, administrator, KIND)
    data = _town_data(house)
    gateways = []
    for name, mine in data.items():
        caller = _trainer(house, issuer, name)
        key: Any = caller.key.private
        made = gateway(
            house, name, mine, key=key, holder=_pass(caller.token, key), clock=house.clock.now
        )
        gateways.append(made)

    body = {"engine": "edge", "num_rounds": 1, "min_available_clients": 3, "deadline_s": 30}
    answer = administrator.post(house, ROUNDS, body)
    stolen = replace(gateways[0], holder=gateways[1].holder)  # its key, but another's token
    task = _task_of(gateways[0])
    unseen, refused = stolen._task(), stolen._train(task)  # noqa: SLF001 - step by step
    with at_work(gateways):
        await_all(house.parts.database, timeout_s=30)
    listed = administrator.get(house, ROUNDS).json()["data"][0]

    assert answer.status_code == 202, answer.text
    assert unseen is None
    assert (refused.status, refused.json()["code"]) == (403, "signed_by_another")
    assert (listed["state"], listed["metrics"]["received"]) == ("closed", 3)


def _task_of(one: Gateway) -> dict[str, Any]:
    """What a gateway is asked, as soon as it is."""
    for _ in range(400):
        task = one._task()  # noqa: SLF001 - a gateway's own loop would do it at once
        if task is not None:
            return task
        threading.Event().wait(0.02)
    raise AssertionError("nothing was asked")


@pytest.mark.parametrize(
    ("state", "sites", "seen"),
    [
        ("active", {"site_a"}, ["site_a"]),
        ("active", {"site_b"}, []),
        ("suspended", {"site_a"}, []),
        ("left", {"site_a"}, []),
    ],
)
def test_only_who_still_trains_for_a_site_is_shown_its_task(
    house: House, state: str, sites: set[str], seen: list[str]
) -> None:
    enrolled = {"site_id": "site_a", "engine": "edge", "did": "did:x", "state": state}
    kept = {"assurance": "verified", "strikes": 0, "standing": {}, "enrolled_at": house.clock.now()}
    holder = Holder("did:x", frozenset(), "verified", training_sites=frozenset(sites))

    with house.parts.database.transaction() as db:
        db.add(FederatedParticipant(**enrolled, **kept))
        db.flush()
        assert enrolling.asked_for(db, holder) == seen


def _pass(token: str, key: Any) -> Any:
    return lambda: Pass(token, key)


def _town_data(house: House) -> dict[str, Any]:
    """Three sites' examples, made in a house of the demo beside."""
    import numpy as np  # noqa: PLC0415 - this helper alone

    from backend.federation.demand import hourly_examples  # noqa: PLC0415

    rng = np.random.default_rng(1)
    start = house.clock.now().astimezone(UTC)
    return {
        f"site_{n}": hourly_examples(rng.gamma(2, 3, 24 * 28), start, timezone="UTC")
        for n in range(3)
    }


def test_a_file_of_hours_is_read_with_its_gaps_and_refused_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "hours.csv"
    file.write_text(
        "site,timestamp,energy_kwh\n"
        "a,2026-01-01T00:00+02:00,1.5\n"
        "b,2026-01-01T01:00+02:00,9\n"
        "a,2026-01-01T02:00+02:00,2.5\n"
    )

    start, energy = hours_in(file, series="a")

    assert start.isoformat() == "2025-12-31T22:00:00+00:00"
    assert [energy[0], energy[2]] == [1.5, 2.5]
    assert str(energy[1]) == "nan"
    for line, reason in (
        ("2026-01-01T00:00,1", "needs an offset"),
        ("2026-01-01T00:00Z,-1", "-1.0 kWh"),
        ("2026-01-01T00:00Z,nan", "nan kWh"),
        ("yesterday,1", "Invalid isoformat"),
    ):
        file.write_text(f"timestamp,energy_kwh\n{line}\n")
        with pytest.raises(DataRefused, match=re.escape(reason)):
            hours_in(file, series=None)
