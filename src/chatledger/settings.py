"""Settings that every service shares, from the environment. deploy/settings.example.env has them all.

Read once, in each process's `__main__`; nothing else looks at the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """What every process needs. Names that users of earlier bots know are accepted as aliases."""

    model_config = SettingsConfigDict(env_prefix="CHATLEDGER_", extra="ignore", populate_by_name=True)

    broker: str
    """Bootstrap servers of a Kafka-compatible broker, e.g. localhost:9092."""
    incarnation: str | None = None
    """Which life of the broker this is; unset, the cluster id that the broker tells."""
    projects: Path = Path("projects")
    """The folder of project files."""
    data_dir: Path = Path("var")
    """Where the embedded default keeps its data."""
    log_level: Annotated[str, Field(validation_alias=AliasChoices("CHATLEDGER_LOG_LEVEL", "LOG_LEVEL"))] = "INFO"
    metrics_port: int = 0
    """Where a service without an HTTP API of its own serves GET /metrics; 0: nowhere."""


class DatabaseSettings(CommonSettings):
    """The same for a service that keeps something in Postgres."""

    database: Annotated[str, Field(validation_alias=AliasChoices("CHATLEDGER_DATABASE", "DATABASE_URL"))]
    """A Postgres 15+ URL, e.g. postgresql://user@localhost/chatledger."""
