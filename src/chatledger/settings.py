"""Settings that every service shares, from the environment. deploy/settings.example.env has them all.

Read once, in each process's `__main__`; nothing else looks at the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from chatledger.errors import ConfigurationError

PREFIX = "CHATLEDGER_"
Settings = TypeVar("Settings", bound=BaseSettings)
PublicBaseUrl = Annotated[
    str,
    Field(
        pattern=r"^(https?://[^?#\s]+)?$",
        validation_alias=AliasChoices("CHATLEDGER_PUBLIC_BASE_URL", "PUBLIC_BASE_URL"),
    ),
]
"""What stands before the path in the addresses by which providers know us; empty where they don't."""


class CommonSettings(BaseSettings):
    """What every process needs. Names that users of earlier bots know are accepted as aliases."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", populate_by_name=True)

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


def read_settings(settings: type[Settings]) -> Settings:
    """Read settings from the environment. Raises ConfigurationError that names each wrong or missing variable."""
    try:
        return settings()
    except ValidationError as wrong:
        said = "; ".join(_explained(settings, wrong, os.environ))
        raise ConfigurationError(f"{said} (deploy/settings.example.env has every setting)") from wrong


def _explained(settings: type[BaseSettings], wrong: ValidationError, environment: Mapping[str, str]) -> Iterator[str]:
    """Each error by its variable. Values are left out: some are secrets."""
    for each in wrong.errors(include_url=False, include_input=False):
        place = str(each["loc"][0]) if each["loc"] else "settings"
        yield f"{_variable(settings, place, environment)}: {each['msg']}"


def _variable(settings: type[BaseSettings], place: str, environment: Mapping[str, str]) -> str:
    """The variable that was meant: of a setting's names the one that is set."""
    for field in settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names = [str(choice) for choice in field.validation_alias.choices]
            if place in names:
                return next((name for name in names if name in environment), place)
    return place if place.isupper() else PREFIX + place.upper()
