"""Recorded demand: files, splits, pictures, the command."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.features.forecasts.recorded import RecordsUnreadable, read_hourly, read_windows
from backend.forecasting.class_profile import class_forecast
from backend.forecasting.history import SiteHistory

README = (
    "Test targets: alpha/beta 2026-04-01..2026-04-10, gamma-* 2026-04-05..2026-04-06. "
    "Calibration: the 14 days before. Train: the 60 days before that."
)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(*sites: str, days: int = 75, offset: str = "+00:00", skip: int = -1) -> Path:
        rng = np.random.default_rng(1)
        lines = ["site,timestamp,energy_kwh,sessions,occupancy"]
        for site in sites:
            for hour in range(24 * days):
                at = datetime(2026, 1, 31, tzinfo=UTC) + timedelta(hours=hour)
                if hour != skip:
                    busy = 6 <= at.hour < 16 and at.weekday() < 5
                    kwh = rng.gamma(4, 3) if busy else 0.0
                    lines.append(f"{site},{at:%Y-%m-%dT%H:%M:%S}{offset},{kwh:.3f},1,{kwh / 5:.3f}")
        (tmp_path / "sites_hourly.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return _write


def test_files_become_histories_and_missing_hours_are_unknown(write: Write) -> None:
    [history] = read_hourly(write("alpha", days=3, skip=30))

    assert (history.site_id, history.timezone, history.country) == ("alpha", "UTC", None)
    assert history.hours == 72
    assert np.flatnonzero(np.isnan(history.energy_kwh)).tolist() == [30]


def test_the_zone_follows_from_the_offsets(write: Write) -> None:
    [history] = read_hourly(write("alpha", days=3, offset="-08:00"))

    assert (history.timezone, history.country) == ("America/Los_Angeles", "US")
    assert history.start == datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("name", ["split.md", "split.json"])
def test_sentences_and_json_say_the_same(write: Write, name: str) -> None:
    folder = write("alpha", "beta", "gamma-one", "delta", days=2)
    split = folder / name
    given = {
        "calibration_days": 14,
        "train_days": 60,
        "test": {
            "alpha": ["2026-04-01", "2026-04-10"],
            "beta": ["2026-04-01", "2026-04-10"],
            "gamma-*": ["2026-04-05", "2026-04-06"],
        },
    }
    split.write_text(json.dumps(given) if name.endswith("json") else README)

    windows = read_windows(split, read_hourly(folder))

    assert set(windows) == {"alpha", "beta", "gamma-one"}
    assert windows["alpha"].test_from == datetime(2026, 4, 1, tzinfo=UTC)
    assert windows["alpha"].test_to == datetime(2026, 4, 11, tzinfo=UTC)
    assert windows["alpha"].calibrate_from == datetime(2026, 3, 18, tzinfo=UTC)


@pytest.mark.parametrize("text", ["nothing of use", "{}", '{"test": {"a": ["x", "y"]}}'])
def test_what_is_no_split_is_refused(write: Write, text: str) -> None:
    folder = write("alpha", days=2)
    split = folder / ("split.json" if text.startswith("{") else "split.md")
    split.write_text(text)

    with pytest.raises(RecordsUnreadable):
        read_windows(split, read_hourly(folder))


def test_a_folder_without_demand_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadable, match="_hourly"):
        read_hourly(tmp_path)
    (tmp_path / "x_hourly.csv").write_text("site,timestamp,energy_kwh\na,2026-01-01T00:00,1\n")
    with pytest.raises(RecordsUnreadable):
        read_hourly(tmp_path)


def test_the_command_measures_and_draws(write: Write) -> None:
    folder = write("alpha")
    split = folder / "split.md"
    split.write_text(README)
    out = folder / "alpha.svg"

    done = CliRunner().invoke(
        app, ["backtest", str(folder), "--split", str(split), "--out", str(out)]
    )

    assert done.exit_code == 0, done.output
    assert "alpha, 480," in done.output
    assert out.read_bytes().startswith(b"<?xml")
    refused = CliRunner().invoke(app, ["backtest", str(folder)])
    assert refused.exit_code == 2  # too short for the last eight weeks


def test_a_site_without_a_past_does_what_its_kind_does_by_charger(write: Write) -> None:
    [peer] = read_hourly(write("alpha"))
    nothing = np.zeros(0)
    newcomer = SiteHistory("new", "UTC", None, peer.end, nothing, nothing, nothing)

    made = class_forecast(newcomer, [(peer, 4)], chargers=8, origin=peer.end, hours_ahead=24)

    assert made is not None
    assert made.source == "site_class"
    work_days = peer.energy_kwh.reshape(-1, 24)[[d for d in range(19, 75) if (d + 5) % 7 < 5]]
    assert made.mean_kwh[10] == pytest.approx(2 * work_days[:, 10].mean(), rel=0.01)
    assert made.mean_kwh[2] == 0.0
    assert np.all(made.p10_kwh <= made.mean_kwh)
    assert class_forecast(newcomer, [], chargers=8, origin=peer.end, hours_ahead=24) is None
    short = peer.cut(since_h=0, until_h=100)
    assert (
        class_forecast(newcomer, [(short, 4)], chargers=8, origin=peer.end, hours_ahead=24) is None
    )
