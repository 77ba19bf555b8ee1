"""Settings: read once, from the environment or `.env`; without a profile nothing starts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.components import ROOT
from backend.settings import ProfileMissing, Settings, read_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting from outside, and a folder without `.env`."""
    for name in list(os.environ):
        if name.startswith("TASCO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    yield
    read_settings.cache_clear()


def test_without_a_profile_the_message_names_both() -> None:
    with pytest.raises(ProfileMissing, match=r"'demo'.*'production'"):
        read_settings()


def test_a_profile_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "demo")

    settings = read_settings()

    assert settings.profile == "demo"
    assert settings.database_url.startswith("sqlite:///")


def test_the_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = (
        "TASCO_PROFILE=production",
        "TASCO_PUBLIC_URL=https://a.example",
        "TASCO_COMPUTE_WORKERS=7",
    )
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("TASCO_COMPUTE_WORKERS", "3")

    settings = read_settings()

    assert (settings.profile, settings.compute_workers) == ("production", 3)


def test_production_needs_the_address_that_proofs_are_made_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "production")

    with pytest.raises(ValidationError, match="TASCO_PUBLIC_URL"):
        read_settings()


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    first = read_settings()
    monkeypatch.setenv("TASCO_PROFILE", "production")

    assert read_settings() is first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROFILE", "test"),
        ("COMPUTE_WORKERS", "-1"),
        ("PLAN_TIMEOUT_S", "0"),
        ("MAX_BODY_BYTES", "10"),
        ("CORS_ORIGINS", "https://app.example"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    monkeypatch.setenv(f"TASCO_{name}", value)

    with pytest.raises((ValidationError, ValueError)):
        read_settings()


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASCO_PROFILE", "demo")
    settings = read_settings()

    with pytest.raises(ValidationError):
        settings.profile = "production"  # type: ignore[misc]


def test_the_example_names_every_setting_and_gives_the_demo(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(example)
    named = {line.split("=")[0] for line in example.splitlines() if line.startswith("TASCO_")}
    with_defaults = Settings(profile="demo", _env_file=None)

    from_example = read_settings()

    assert named == {f"TASCO_{field.upper()}" for field in Settings.model_fields}
    assert from_example == with_defaults


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in an empty folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TASCO_", "COV_"))}
    return subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_application_without_a_profile_ends_with_one_sentence(tmp_path: Path) -> None:
    ended = _python("from backend.main import app", tmp_path)

    assert ended.returncode == 1
    assert "'demo'" in ended.stderr
    assert "'production'" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_importing_the_factory_does_nothing(tmp_path: Path) -> None:
    ended = _python("from backend.main import create_app", tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
