"""The one place that reads the environment."""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Profile = Literal["demo", "production"]
EMBEDDED = "memory://"


class Settings(BaseSettings):
    """Everything that can be set, read once; `.env.example` describes each field."""

    model_config = SettingsConfigDict(
        env_prefix="TASCO_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    profile: Profile
    database_url: str = "sqlite:///.data/tasco.db"
    artifacts_dir: Path = Path("ml_artifacts")
    compute_workers: int = Field(default=2, ge=0, le=64)
    plan_timeout_s: float = Field(default=1.5, gt=0, le=30)
    site_queue_s: float = Field(default=2.0, gt=0, le=30)
    replan_interval_s: float = Field(default=300.0, gt=0)
    sweep_interval_s: float = Field(default=5.0, gt=0)
    relay_interval_s: float = Field(default=0.25, gt=0)
    telemetry_gap_min: float = Field(default=240.0, ge=1, le=10_080)
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    cors_origins: tuple[str, ...] = ()
    verifier: Literal["both", "pure"] = "both"
    verifier_workers: int = Field(default=2, ge=1, le=64)
    verifier_timeout_s: float = Field(default=2.0, gt=0, le=30)
    did_web_hosts: tuple[str, ...] = ()
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/?#\s]+$")
    token_key_file: Path = Path(".data/token_key.json")
    issuer_key_file: Path = Path(".data/issuer_key.json")
    ledger_url: SecretStr | None = None  # it may hold a key
    ledger_chain_id: int | None = Field(default=None, ge=1)
    ledger_keystore_file: Path | None = None
    ledger_keystore_password: SecretStr | None = None
    ledger_key: SecretStr | None = None
    ledger_confirmations: int | None = Field(default=None, ge=0, le=10_000)
    ledger_max_fee_gwei: float = Field(default=100.0, gt=0, le=1_000_000)
    ledger_stuck_s: float = Field(default=90.0, ge=1)
    ledger_block_s: float | None = Field(default=None, ge=0)
    anchor_interval_s: float = Field(default=2.0, gt=0)
    anchor_batch_size: int = Field(default=1_000, ge=1, le=100_000)
    anchor_batch_age_s: float | None = Field(default=None, ge=0)
    federation_url: str = Field(default="memory://", pattern=r"^(memory|https?|flower)://[^\s]*$")
    federation_ca_file: Path | None = None
    audit_head_s: float = Field(default=3_600.0, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @model_validator(mode="after")
    def _require_address(self) -> Self:
        """Proofs are made for an address: taken from the request it would be the caller's word."""
        if self.profile == "production" and self.public_url is None:
            raise ValueError("production needs TASCO_PUBLIC_URL, such as https://tasco.example")
        return self

    @model_validator(mode="after")
    def _require_witness(self) -> Self:
        """A ledger in our own process is no witness."""
        if self.profile == "production" and self.ledger_address == EMBEDDED:
            raise ValueError("production takes no ledger in its own process; set a node's URL")
        return self

    @property
    def ledger_address(self) -> str | None:
        """Where the ledger is; the demo has one in its process, production none by default."""
        if self.ledger_url is not None:
            return self.ledger_url.get_secret_value()
        return EMBEDDED if self.profile == "demo" else None


class ProfileMissing(RuntimeError):
    """No profile is set, so the application does not know whom to trust."""


@lru_cache(maxsize=1)
def read_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        ProfileMissing: If `TASCO_PROFILE` is not set; the message names the two profiles.
        pydantic.ValidationError: If a value does not fit its field.
    """
    import os  # noqa: PLC0415 - only this function reads the environment

    from dotenv import dotenv_values  # noqa: PLC0415 - as pydantic-settings reads the file

    if not (os.environ.get("TASCO_PROFILE") or dotenv_values(".env").get("TASCO_PROFILE")):
        raise ProfileMissing(
            "Set TASCO_PROFILE to 'demo' (simulated identities, loopback only) "
            "or 'production' (callers prove who they are)."
        )
    return Settings()
