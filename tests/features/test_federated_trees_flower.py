"""Trees among nodes that keep their rows: what they say is checked, and what comes of it stored."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from backend import cli
from backend.adapters.federation.embedded import EmbeddedExchange
from backend.adapters.federation.superlink import SuperLink
from backend.features.federated import flower
from backend.features.federated.models import FLOWER
from backend.features.federated.signatures import Checked
from backend.features.federated.trees_conducting import Conducted, conduct
from backend.features.federated.trees_finishing import NoTreesAccepted
from backend.features.federated.trees_flower_app import SILENT, grow_among, outcome_of
from backend.features.federated.trees_grouping import TooFewForTrees
from backend.features.federated.trees_rows import FEATURES, rows_by_participant, settings_of
from backend.features.federated.trees_schemas import TreesRunNew, TreeTarget
from backend.features.forecasts.vehicles_queries import gathered
from backend.federation.signing import Signer
from backend.federation.tree_models import TreeModel
from backend.federation.tree_participant import part_loss, unfederated
from backend.federation.tree_rounds import TreeRound, TreeRun, advance, among
from backend.federation.tree_rows import Part, SiteRows, from_npz, to_npz
from backend.federation.trees import loss
from tests.adapters.federation.supernodes import CA, ROWS_FILE, end, free_port, new_node
from tests.conftest import NOON, House, house_on
from tests.features.fleets import commuters
from tests.features.test_federated_flower import link, needs_superlink, result_of
from tests.features.test_sessions import refused
from tests.tables import rows_of

__all__ = ["link"]  # a fixture

Json = dict[str, Any]
Keys = Mapping[str, Ed25519PrivateKey]
RUNS, RUN = "/federated/trees/runs", "trr_flower"
TARGET: TreeTarget = "plug_availability"
SETTINGS = settings_of(TARGET, trees=2, seed=7)
ASKED: Json = {"target": TARGET, "rounds": 2, "trees_per_round": 2, "engine": FLOWER}
NAMES = ("site_canal", "site_depot", "site_north")
ZONE = "Europe/Helsinki"


def site_rows(number: int) -> SiteRows:
    """The rows that a site makes of three weeks of its own commuters."""
    traces = commuters(until=NOON, days=21, vehicles=3, seed=number)
    fleet = gathered(traces, home=(ZONE, "FI"), now=NOON, gap_min=240)
    rows = rows_by_participant({"own": fleet}, TARGET, seed=number)["own"]
    assert isinstance(rows, SiteRows)
    return rows


SITES = {name: site_rows(number) for number, name in enumerate(NAMES)}
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in NAMES}


def enrol(house: House, dids: Mapping[str, str]) -> None:
    for name, did in dids.items():
        house.site(name, chargers=1)
        with house.parts.database.transaction() as db:
            flower.enrol(db, name, did, now=house.clock.now())


@pytest.fixture
def enrolled(house: House) -> House:
    enrol(house, {name: Signer(key).did for name, key in KEYS.items()})
    return house


def grown(house: House, sites: Mapping[str, SiteRows], keys: Keys) -> Json:
    """A run among threads that stand for the nodes of sites."""
    signers = {name: Signer(key) for name, key in keys.items()}
    rows = {name: {str(TARGET): own} for name, own in sites.items()}
    parts = house.parts
    with closing(EmbeddedExchange({}, signers=signers, rows=rows)) as threads:
        checked = Checked(threads, parts.database, engine=FLOWER, clock=parts.clock)
        grow_among(
            checked,
            parts.database,
            parts.artifacts,
            TreesRunNew.model_validate(ASKED),
            run_id=RUN,
            clock=parts.clock,
        )
    result: Json = house.get(f"{RUNS}/{RUN}").json()
    return result


def directly(sites: Mapping[str, SiteRows]) -> str:
    """The hash of the model that functions called on all rows come to."""
    run, model = TreeRun("test", TARGET, SETTINGS), TreeModel()
    for number in (1, 2):
        model = advance(model, list(sites), run, among(sites), number=number).model
    return model.content_hash(SETTINGS)


def test_nodes_come_to_a_registered_model_and_say_what_it_is_worth(enrolled: House) -> None:
    result = grown(enrolled, SITES, KEYS)

    assert result["model_sha256"] == directly(SITES)
    assert (result["engine"], result["grouped_by"]) == (FLOWER, "node")
    assert [one["participant"] for one in result["participants"]] == list(NAMES)
    for one in result["participants"]:
        own = SITES[one["participant"]]
        assert one["vehicles"] is None
        assert one["rows_train"] == len(own.train.targets)
        assert own.simple is not None
        alone = unfederated(own.train, SETTINGS, rounds=2)
        assert one["alone"]["log_loss"] == part_loss(alone, own.test, SETTINGS)
        assert one["simple_rule"]["log_loss"] == loss(own.simple, own.test.targets, SETTINGS)
        assert one["central"]["log_loss"] is None
    rows = [one["rows_test"] for one in result["participants"]]
    each = [one["together"]["log_loss"] for one in result["participants"]]
    assert result["over_all"]["together"]["log_loss"] == pytest.approx(
        np.average(each, weights=rows)
    )
    [version] = rows_of(enrolled.parts.database, "model_versions")
    assert (version["kind"], version["content_hash"]) == (
        "federated_availability",
        result["model_sha256"],
    )


def test_who_signs_with_another_key_or_has_no_rows_is_left_out(house: House) -> None:
    more = {**SITES, "site_other": SITES["site_depot"], "site_empty": SITES["site_depot"]}
    keys = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in more}
    enrol(house, {name: Signer(key).did for name, key in keys.items()})
    keys["site_other"] = Ed25519PrivateKey.generate()
    narrow = Part(np.zeros((60, 2)), np.zeros(60))
    more["site_empty"] = SiteRows(narrow, narrow, narrow)

    result = grown(house, more, keys)

    assert result["model_sha256"] == directly(SITES)
    assert [one["participant"] for one in result["participants"]] == list(NAMES)
    reasons = {one["participant"]: one["reason"] for one in result["left_out"]}
    assert reasons["site_other"] == "stranger"
    assert "rows of 2 features" in reasons["site_empty"]


def test_fewer_than_three_nodes_grow_nothing(enrolled: House) -> None:
    two = {name: SITES[name] for name in NAMES[:2]}

    with pytest.raises(TooFewForTrees, match="2 nodes are connected"):
        grown(enrolled, two, KEYS)
    assert rows_of(enrolled.parts.database, "model_versions") == []


def test_where_all_are_silent_the_reasons_are_told(enrolled: House) -> None:
    others = dict.fromkeys(NAMES, Ed25519PrivateKey.generate())

    with pytest.raises(NoTreesAccepted, match=r"0 of 3 sent trees.*site_canal: stranger"):
        grown(enrolled, SITES, others)


class Odd(EmbeddedExchange):
    """Nodes that fail with words which no database keeps."""

    def missing(self) -> Mapping[str, str]:
        return dict.fromkeys(super().missing(), "no\x00 w\ud800ay")


def test_what_nodes_say_of_their_failure_can_be_stored(house: House) -> None:
    run = TreeRun("test", TARGET, SETTINGS)
    with closing(Odd({})) as nobody:
        done = conduct(
            nobody, NAMES, run, rounds=1, alone=0, clock=house.clock, report=lambda *_: None
        )

    assert done.missing == dict.fromkeys(NAMES, "no  w ay")


def said(**figures: float) -> Conducted:
    """A run of which three sites say these losses, each one row, of which one boasts."""
    each = {"rows_test": 100.0, **figures}
    boast = {"simple_rule": 9.0, "alone": 9.0, "together": 0.0, "rows_test": 1e12}
    judged = TreeRound(TreeModel(), (), None, 0)
    return Conducted((judged,), {"a": each, "b": each, "c": boast}, {})


def test_a_model_is_named_only_if_most_sites_say_that_it_is_better() -> None:
    worse = outcome_of(said(simple_rule=2.0, alone=1.0, together=1.1), TARGET, names="abc")
    better = outcome_of(said(simple_rule=2.0, alone=1.2, together=1.1), TARGET, names="abcd")

    assert (worse.is_better, better.is_better) == (False, True)
    assert [one.participant for one in worse.left_out] == []
    assert [(one.participant, one.reason) for one in better.left_out] == [("d", SILENT)]
    weighted = (100 * 1.1 + 100 * 1.1 + 2_000 * 0.0) / 2_200
    assert better.over_all.together.log_loss == pytest.approx(weighted)


def test_without_a_superlink_or_three_enrolled_sites_the_refusal_comes_at_once(
    sqlite_url: str, tmp_path: Path, house: House
) -> None:
    refused(house.post(RUNS, ASKED), 409, "engine_away")

    settings = {"federation_url": f"flower://127.0.0.1:{free_port()}", "federation_ca_file": CA}
    with house_on(sqlite_url, tmp_path / "other", **settings) as other:
        problem = refused(other.post(RUNS, ASKED), 409, "too_few_for_trees")
        assert problem["detail"].startswith("0 sites with nodes are enrolled")
        assert rows_of(other.parts.database, "jobs") == []


def test_a_superlink_that_does_not_answer_fails_the_job(sqlite_url: str, tmp_path: Path) -> None:
    settings = {"federation_url": f"flower://127.0.0.1:{free_port()}", "federation_ca_file": CA}
    with house_on(sqlite_url, tmp_path, **settings) as house:
        enrol(house, {name: Signer(key).did for name, key in KEYS.items()})

        done = result_of(house, house.post(RUNS, ASKED).json()["id"])

        assert (done["state"], done["error"]["code"]) == ("failed", "trees_run_lost")


@pytest.fixture
def behind(link: SuperLink, sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """A house whose federation is a SuperLink that finds its database."""
    settings = {"federation_url": f"flower://{link.address}", "federation_ca_file": CA}
    with house_on(sqlite_url, tmp_path, **settings) as house:
        yield house


@needs_superlink
def test_supernodes_come_to_the_model_that_functions_come_to(
    behind: House, link: SuperLink, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        for name, own in SITES.items():
            node = new_node(tmp_path / name, name)
            (node.folder / ROWS_FILE).write_bytes(to_npz({TARGET: own}))
            link.register(name, node.public_key)
            enrol(behind, {name: node.did})
            stack.callback(end, node.start(link, timezone=ZONE))
        time.sleep(5)  # until they are connected
        done = result_of(behind, behind.post(RUNS, ASKED).json()["id"])

    assert done["state"] == "succeeded", (done, (tmp_path / "superlink" / "log").read_text())
    assert done["result"]["model_sha256"] == directly(SITES)
    assert done["result"] == behind.get(f"{RUNS}/{done['result']['run_id']}").json()


@needs_superlink
def test_a_run_that_is_refused_there_is_refused_here_with_its_reason(behind: House) -> None:
    enrol(behind, {name: Signer(key).did for name, key in KEYS.items()})

    done = result_of(behind, behind.post(RUNS, ASKED).json()["id"])

    assert (done["state"], done["error"]["code"]) == ("failed", "too_few_for_trees")
    assert done["error"]["detail"].startswith("0 nodes are connected")


def telemetry(file: Path, *, days: int) -> Path:
    """Three commuters' telemetry as a site exports it."""
    lines = ["vehicle_did,battery_capacity_kwh,at,is_plugged_in,soc_percent,power_kw"]
    for trace in commuters(until=NOON, days=days, vehicles=3):
        columns = trace.at_s, trace.is_plugged_in, trace.soc_percent, trace.power_kw
        for at_s, state, soc, power in zip(*columns, strict=True):
            moment = (NOON + timedelta(seconds=int(at_s) - NOON.timestamp())).isoformat()
            truth = "true" if state else "false"
            lines.append(f"{trace.vehicle_id},60,{moment},{truth},{float(soc)!r},{float(power)!r}")
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_sites_telemetry_becomes_the_rows_that_the_service_would_make(tmp_path: Path) -> None:
    file, out = telemetry(tmp_path / "telemetry.csv", days=21), tmp_path / "rows.npz"

    done = CliRunner().invoke(
        cli.app, ["supernode", "rows", str(file), "--timezone", ZONE, "--out", str(out)]
    )

    assert done.exit_code == 0, done.output
    traces = commuters(until=NOON, days=21, vehicles=3)
    last_s = max(int(one.at_s[-1]) for one in traces)
    end_at = NOON + timedelta(seconds=last_s - NOON.timestamp())
    fleet = gathered(traces, home=(ZONE, None), now=end_at, gap_min=240)
    found = from_npz(out.read_bytes())
    assert set(found) == set(FEATURES)
    for target in FEATURES:
        wanted = rows_by_participant({"own": fleet}, target, seed=7)["own"]
        assert isinstance(wanted, SiteRows)
        np.testing.assert_array_equal(found[target].train.rows, wanted.train.rows)
        np.testing.assert_array_equal(found[target].test.targets, wanted.test.targets)
        np.testing.assert_array_equal(found[target].simple, wanted.simple)


def test_too_little_telemetry_makes_no_file(tmp_path: Path) -> None:
    file, out = telemetry(tmp_path / "telemetry.csv", days=3), tmp_path / "rows.npz"

    done = CliRunner().invoke(
        cli.app, ["supernode", "rows", str(file), "--timezone", ZONE, "--out", str(out)]
    )

    assert done.exit_code == 2
    assert "are needed" in done.output
    assert not out.exists()
