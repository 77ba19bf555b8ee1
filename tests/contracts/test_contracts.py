"""Contracts: what is committed is what compiles, its gas, its own tests, three languages agree."""

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from backend.proofs.merkle import DOMAIN, Kind, build, leaf_of
from benchmarks import _contract_gas

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
NODE = os.environ.get("TASCO_TEST_NODE", "")
SLITHER = os.environ.get("TASCO_TEST_SLITHER", "")
VECTORS = CONTRACTS / "cache" / "vectors.bin"
needs_tools = pytest.mark.skipif(not NODE, reason="needs `run.py services contracts`")
NAMES = ["AnchorRegistry", "ChargeLedger", "CredentialStatus", "Directory", "ModelRegistry"]
TREES = 1_000
TIMEOUT_S = 300


def run(*command: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool in the folder of the contracts, with our Node.js first on the path."""
    forge = Path(next(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge")))
    path = os.pathsep.join([str(Path(NODE).parent), str(forge.parent), os.environ["PATH"]])
    return subprocess.run(  # noqa: S603 - tools that the lock files name
        [str(one) for one in command],
        cwd=CONTRACTS,
        env={**os.environ, "PATH": path, "PYTHONPATH": SLITHER},
        input=given,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@needs_tools
def test_the_artifacts_are_what_the_sources_compile_to() -> None:
    checked = run(NODE, "scripts/build.mjs", "--check")

    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="module")
def vectors() -> Iterator[list[dict[str, Any]]]:
    """Random trees as the Solidity test reads them; gone afterwards."""
    made = [_vector(random.Random(i)) for i in range(TREES)]  # noqa: S311 - test data
    kind = "(bytes32,uint32,uint16,bytes32,bytes32,bytes32[])[]"
    rows = [
        (one["root"], len(one["items"]), *one["items"][one["shown"]][1:], one["proof"])
        for one in made
    ]
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_bytes(encode([kind], [rows]))
    yield made
    VECTORS.unlink()


def _vector(rng: random.Random) -> dict[str, Any]:
    count = rng.choice([1, 2, 3, rng.randint(4, 70)])
    kinds = [rng.choice(list(Kind)) for _ in range(count)]
    items = [(DOMAIN, int(kind), rng.randbytes(32), rng.randbytes(32)) for kind in kinds]
    leaves = [leaf_of(kind, item[2], item[3]) for kind, item in zip(kinds, items, strict=True)]
    tree, shown = build(leaves), rng.randrange(count)
    proof = tree.proof(leaves[shown])
    return {"root": tree.root, "items": items, "shown": shown, "proof": proof}


@needs_tools
def test_their_own_tests_pass_and_the_other_driver_compiles_the_same(
    vectors: list[dict[str, Any]],
) -> None:
    tested = run("forge", "test")

    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr[-3000:]
    assert "test_trees_made_elsewhere_verify_here" in tested.stdout
    assert len(vectors) == TREES
    for name in NAMES:
        ours = json.loads((CONTRACTS / "artifacts" / f"{name}.json").read_text())
        theirs = json.loads((CONTRACTS / "out" / f"{name}.sol" / f"{name}.json").read_text())
        assert ours["bytecode"] == theirs["bytecode"]["object"], name


@needs_tools
def test_javascript_builds_the_same_trees(vectors: list[dict[str, Any]]) -> None:
    asked = [
        {"items": [_texts(item) for item in one["items"]], "shown": one["shown"]} for one in vectors
    ]

    answered = run(NODE, "scripts/trees.mjs", given=json.dumps(asked))

    assert json.loads(answered.stdout) == [
        {"root": "0x" + one["root"].hex(), "proof": ["0x" + node.hex() for node in one["proof"]]}
        for one in vectors
    ]


def _texts(item: tuple[bytes, int, bytes, bytes]) -> list[str]:
    domain, kind, item_id, item_hash = item
    return ["0x" + domain.hex(), str(kind), "0x" + item_id.hex(), "0x" + item_hash.hex()]


@pytest.mark.parametrize("name", NAMES)
def test_every_function_that_changes_something_is_fuzzed_for_role_and_pause(name: str) -> None:
    abi = json.loads((CONTRACTS / "artifacts" / f"{name}.json").read_text())["abi"]
    fuzzed = (CONTRACTS / "test" / "Access.t.sol").read_text()

    changing = {
        one["name"]
        for one in abi
        if one["type"] == "function" and one["stateMutability"] not in {"view", "pure"}
    }

    assert changing
    assert [one for one in sorted(changing) if f".{one}, (" not in fuzzed] == []


@needs_tools
def test_every_line_and_branch_is_tested() -> None:
    covered = run("forge", "coverage", "--report", "summary")

    rows = [line for line in covered.stdout.splitlines() if line.startswith("| src/")]
    assert len(rows) == len(NAMES) + 1
    assert all(row.count("100.00%") == 4 for row in rows), "\n".join(rows)


@needs_tools
def test_the_static_analyser_finds_nothing_of_high_or_medium_concern(tmp_path: Path) -> None:
    found, out = tmp_path / "found.json", tmp_path / "out"
    run("forge", "build", "--build-info", "--out", out, "--cache-path", tmp_path / "cache")
    chosen = ["--ignore-compile", "--foundry-out-directory", str(out)]
    where = ["--filter-paths", "node_modules|test", "--json", str(found)]
    python = Path(NODE).parent / "python"

    analysed = run(python, "-m", "slither", ".", *chosen, *where)

    assert found.exists(), analysed.stderr[-3000:]
    impacts = {one["impact"] for one in json.loads(found.read_text())["results"]["detectors"]}
    assert not impacts & {"High", "Medium"}


def test_gas_has_not_grown() -> None:
    before = json.loads((Path(__file__).parent / "gas.json").read_text())

    measured = _contract_gas.measure()

    grown = {name: gas for name, gas in measured.items() if gas > 1.02 * before[name]}
    assert not grown
    assert measured["anchor_per_item_1000"] <= 70
    assert measured["anchor_per_item_100"] <= 700
    assert measured["revoke_dense_100_each"] <= 3_000
    assert measured["model_verdict_10x5"] <= 100_000
    assert measured["model_verdict_50x5"] <= 40_000


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_names_its_sources(name: str) -> None:
    artifact = json.loads((CONTRACTS / "artifacts" / f"{name}.json").read_text())
    source = (CONTRACTS / "src" / f"{name}.sol").read_bytes()

    assert artifact["sources"][f"{name}.sol"] == hashlib.sha256(source).hexdigest()
    assert artifact["settings"]["evmVersion"] == "cancun"
