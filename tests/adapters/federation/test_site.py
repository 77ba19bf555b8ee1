"""What a SuperNode finds out about its site from its settings and files."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict, UserConfig

from backend.adapters.federation.site import SeriesRefused, hourly_series, site_of_node
from tests.adapters.federation.scene import START, ZONE, examples_of, write_series


def row(timestamp: str, energy: str = "1.5") -> dict[str, str]:
    return {"timestamp": timestamp, "energy_kwh": energy}


def test_a_nodes_file_gives_the_examples_of_its_hours(tmp_path: Path) -> None:
    series = write_series(tmp_path / "hours.csv", 4)
    (tmp_path / "key").write_bytes(b"n" * 32)
    config: UserConfig = {
        "participant": "depot",
        "series": str(series),
        "timezone": ZONE,
        "noise-key": str(tmp_path / "key"),
    }

    site = site_of_node(Context(1, 1, config, RecordDict(), {}))

    expected = examples_of(4)
    assert (site.name, site.noise_key) == ("depot", b"n" * 32)
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
    (tmp_path / "key").write_bytes(b"short")
    config: UserConfig = {
        "participant": "depot",
        "series": str(write_series(tmp_path / "hours.csv", 4)),
        "timezone": ZONE,
        "noise-key": str(tmp_path / "key"),
    }

    with pytest.raises(ValueError, match="too short"):
        site_of_node(Context(1, 1, config, RecordDict(), {}))
