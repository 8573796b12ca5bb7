"""Settings of `chatledger up`: the services' own, with a broker and a database that may be absent."""

from __future__ import annotations

import os
from typing import Annotated, TypeVar

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings

from chatledger.errors import ConfigurationError
from chatledger.settings import CommonSettings
from chatledger.topics import PARTITIONS


class UpSettings(CommonSettings):
    """What the supervisor needs; it hands its environment on to the services."""

    broker: str | None = None  # type: ignore[assignment]  # here it may be absent: then it is embedded
    """Bootstrap servers of a Kafka-compatible broker; unset, the embedded one."""
    database: Annotated[str | None, Field(validation_alias=AliasChoices("CHATLEDGER_DATABASE", "DATABASE_URL"))] = None
    """A Postgres URL; unset, the embedded one in the data folder."""
    host: Annotated[str, Field(validation_alias=AliasChoices("CHATLEDGER_HOST", "HOST"))] = "127.0.0.1"
    """The address to listen on. Beyond loopback every project needs a token or a signature."""
    port: Annotated[int, Field(ge=0, le=65535, validation_alias=AliasChoices("CHATLEDGER_PORT", "PORT"))] = 8000
    """The HTTP port; 0: a free one."""
    dialog_workers: Annotated[int, Field(ge=1)] = 1
    """Dialog processes. At most one per partition; one only on the embedded broker, which has no larger groups."""
    old_database_host: Annotated[str | None, Field(validation_alias="DATABASE_HOST")] = None
    """Users of the older bot know this name: a Postgres host, used where no URL is given."""

    @property
    def database_url(self) -> str | None:
        """The database that was asked for, None for the embedded one. libpq reads PGUSER and PGPASSWORD itself."""
        if self.database or not self.old_database_host:
            return self.database
        return f"postgresql://{self.old_database_host}/chatledger"

    @property
    def dialog_names(self) -> list[str]:
        """One instance name for each dialog worker."""
        workers = min(self.dialog_workers, PARTITIONS) if self.broker else 1
        return [f"dialog-{number}" for number in range(workers)]


Settings = TypeVar("Settings", bound=BaseSettings)


def read_settings(settings: type[Settings]) -> Settings:
    """Read settings from the environment. Raises ConfigurationError that names the first wrong variable."""
    try:
        return settings()
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        raise ConfigurationError(f"{_variable(settings, str(first['loc'][0]))}: {first['msg']}") from wrong


def _variable(settings: type[BaseSettings], place: str) -> str:
    """The variable that was meant: of a setting's names the one that is set."""
    for field in settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names = [str(choice) for choice in field.validation_alias.choices]
            if place in names:
                return next((name for name in names if name in os.environ), place)
    return place if place.isupper() else f"CHATLEDGER_{place.upper()}"
