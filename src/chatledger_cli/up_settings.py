"""Settings of `chatledger up`: the services' own, with a broker and a database that may be absent."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field

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
