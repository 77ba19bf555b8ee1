"""What a SuperNode finds out about its site from its settings and files."""

from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, RecordDict, UserConfig

from backend.adapters.federation.site import (
    SeriesRefused,
    hourly_series,
    key_in,
    peers_in,
    site_of_node,
)
from backend.federation.signing import did_of
from tests.adapters.federation.scene import START, ZONE, examples_of, write_series
from tests.adapters.federation.supernodes import pem_of, write_key


def row(timestamp: str, energy: str = "1.5") -> dict[str, str]:
    return {"timestamp": timestamp, "energy_kwh": energy}


def test_a_nodes_file_gives_the_examples_of_its_hours(tmp_path: Path) -> None:
    series = write_series(tmp_path / "hours.csv", 4)
    (tmp_path / "noise").write_bytes(b"n" * 32)
    key = write_key(tmp_path / "key.pem")
    (tmp_path / "peers.json").write_text('{"canal": "did:key:z6MkCanal"}')
    config: UserConfig = {
        "participant": "depot",
        "series": str(series),
        "timezone": ZONE,
        "key": str(tmp_path / "key.pem"),
        "peers": str(tmp_path / "peers.json"),
        "noise-key": str(tmp_path / "noise"),
    }

    site = site_of_node(Context(1, 1, config, RecordDict(), {}))

    expected = examples_of(4)
    assert site.examples is not None
    assert (site.name, site.noise_key) == ("depot", b"n" * 32)
    assert site.signer is not None
    assert site.signer.did == did_of(key)
    assert site.peers == {"canal": "did:key:z6MkCanal"}
    np.testing.assert_array_equal(site.examples.train.x, expected.train.x)
    np.testing.assert_array_equal(site.examples.holdout.y, expected.holdout.y)


def test_hours_in_any_zone_and_order_become_one_series_with_gaps() -> None:
    rows = [
        row("2025-01-06T05:00+01:00", "3"),
        row("2025-01-06T00:00+00:00", "1"),
        row("2025-01-06T01:00+00:00", ""),
    ]

    start, energy_kwh = hourly_series(rows)

    assert start == START
    np.testing.assert_array_equal(energy_kwh, [1, np.nan, np.nan, np.nan, 3])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no rows"),
        ([{"time": "2025-01-06T00:00Z"}], "timestamp"),
        ([row("2025-01-06T00:00")], "zone"),
        ([row("2025-01-06T00:30Z")], "timestamp"),
        ([row("2025-01-06T00:00Z", "much")], "energy_kwh"),
        ([row("2025-01-06T00:00Z"), row("2025-01-06T01:00+01:00")], "twice"),
        ([row("1900-01-01T00:00Z"), row("2025-01-06T00:00Z")], "far apart"),
    ],
    ids=["empty", "other columns", "no zone", "half hours", "no number", "twice", "a century"],
)
def test_what_is_no_hourly_series_is_refused(rows: list[dict[str, str]], reason: str) -> None:
    with pytest.raises(SeriesRefused, match=reason):
        hourly_series(rows)


def test_a_short_noise_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"short")
    write_key(tmp_path / "key.pem")
    config: UserConfig = {
        "participant": "depot",
        "series": str(write_series(tmp_path / "hours.csv", 4)),
        "timezone": ZONE,
        "key": str(tmp_path / "key.pem"),
        "noise-key": str(tmp_path / "noise"),
    }

    with pytest.raises(ValueError, match="too short"):
        site_of_node(Context(1, 1, config, RecordDict(), {}))


def test_a_node_without_a_list_of_peers_sums_with_nobody() -> None:
    assert peers_in(None) == {}


@pytest.mark.parametrize("text", ["[]", '{"depot": 7}', "no json"])
def test_what_is_no_list_of_peers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "peers.json").write_text(text)

    with pytest.raises(ValueError, match=r"Peers|Expecting"):
        peers_in(str(tmp_path / "peers.json"))


def test_another_kind_of_key_signs_for_no_site(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem_of(ec.generate_private_key(ec.SECP384R1())))

    with pytest.raises(ValueError, match="Ed25519"):
        key_in(tmp_path / "key.pem")
