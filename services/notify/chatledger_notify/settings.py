"""The notify service's settings, and the providers' addresses and tokens, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field

from chatledger.channels import CHANNELS
from chatledger.channels.base import OutboundSecrets
from chatledger.errors import ConfigurationError
from chatledger.projects import Project
from chatledger.settings import DatabaseSettings
from chatledger_notify.failpoint import Failpoint
from chatledger_notify.provider import Account
from chatledger_notify.schedule import RetrySchedule

_DEFAULT = RetrySchedule()


class NotifySettings(DatabaseSettings):
    """What this service needs beside what all need. Lists are written as JSON, e.g. `[1, 2, 4]`."""

    notify_concurrency: Annotated[
        int, Field(ge=1, le=1_000, validation_alias=AliasChoices("CHATLEDGER_NOTIFY_CONCURRENCY", "WORKER_CONCURRENCY"))
    ] = 64
    """How many clients are sent to at once."""
    notify_quick_retries_s: tuple[float, ...] = _DEFAULT.quick_s
    """Pauses before the quick tries, in seconds."""
    notify_slow_retries_s: tuple[float, ...] = _DEFAULT.slow_s
    """Pauses before the tries after those, in seconds; then the message has failed."""
    notify_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a provider may take to answer, in seconds."""
    failpoint: str = ""
    """For tests: where the process dies, e.g. notify.after_send."""
    failpoint_once: Path | None = None
    """For tests: a file that is made when the process dies there, and keeps it from dying again."""

    def schedule(self) -> RetrySchedule:
        """The pauses between tries."""
        return RetrySchedule(quick_s=self.notify_quick_retries_s, slow_s=self.notify_slow_retries_s)

    def failpoint_or_none(self) -> Failpoint | None:
        """Where to die, in a test."""
        return Failpoint(name=self.failpoint, once=self.failpoint_once) if self.failpoint else None


def accounts_of(
    projects: Mapping[str, Project], environment: Mapping[str, str]
) -> dict[Account, OutboundSecrets | None]:
    """Return where and as whom each project sends over each of its channels; None where the token is not set.

    The project's own variable counts first, then `<CHANNEL>_API_TOKEN`. A base URL that was set by hand may do
    without a token: it is a stand-in. Raises ConfigurationError for a token that no HTTP header can carry.
    """
    accounts: dict[Account, OutboundSecrets | None] = {}
    for project in projects.values():
        for name, settings in project.channels.items():
            channel = CHANNELS[name]
            token = environment.get(settings.api_token_env) or environment.get(f"{name.upper()}_API_TOKEN", "")
            if not (token.isascii() and token.isprintable()):
                raise ConfigurationError(f"{settings.api_token_env}: has characters that no token has; set it anew")
            url = environment.get(channel.api_url_env) or channel.api_url
            usable = bool(token) or url != channel.api_url
            accounts[project.name, name] = OutboundSecrets(api_url=url, token=token) if usable else None
    return accounts
