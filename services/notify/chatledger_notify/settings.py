"""The notify service's settings, and the providers' addresses and tokens, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field

from chatledger.channels import CHANNELS
from chatledger.channels.base import Channel, OutboundSecrets
from chatledger.errors import ConfigurationError
from chatledger.projects import Project
from chatledger.settings import DatabaseSettings, PublicBaseUrl
from chatledger_notify.deliveries import Account
from chatledger_notify.failpoint import Failpoint
from chatledger_notify.schedule import RetrySchedule, SendingLimits

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
    notify_breaker_failures: Annotated[int, Field(ge=1)] = 5
    """After so many failures in a row a provider is left alone for a while."""
    notify_breaker_pause_s: Annotated[float, Field(gt=0)] = 30.0
    """For how long, in seconds; then one message probes whether it is back."""
    notify_ambiguous_pause_s: Annotated[float, Field(ge=0)] = 30.0
    """How long a provider that did not answer is given to report that it took the message, in seconds."""
    public_base_url: PublicBaseUrl = ""
    """What stands before the path in the address that providers report to; unset, they are not asked to."""
    failpoint: str = ""
    """For tests: where the process dies, e.g. notify.after_send."""
    failpoint_once: Path | None = None
    """For tests: a file that is made when the process dies there, and keeps it from dying again."""

    def sending_limits(self) -> SendingLimits:
        """How much is sent at once, the pauses between tries, and when a provider is left alone."""
        return SendingLimits(
            schedule=RetrySchedule(quick_s=self.notify_quick_retries_s, slow_s=self.notify_slow_retries_s),
            concurrency=self.notify_concurrency,
            breaker_failures=self.notify_breaker_failures,
            breaker_pause_s=self.notify_breaker_pause_s,
            ambiguous_pause_s=self.notify_ambiguous_pause_s,
        )

    def failpoint_or_none(self) -> Failpoint | None:
        """Where to die, in a test."""
        return Failpoint(name=self.failpoint, once=self.failpoint_once) if self.failpoint else None


def accounts_of(
    projects: Mapping[str, Project], environment: Mapping[str, str], *, public_base_url: str = ""
) -> dict[Account, OutboundSecrets | None]:
    """Return where and as whom each project sends over each of its channels; None where the token is not set.

    The project's own variable counts first, then the channel's. A base URL that was set by hand may do
    without a token: it is a stand-in. With a public base URL, channels that report are told where.
    Raises ConfigurationError for a token that no HTTP header can carry.
    """
    accounts: dict[Account, OutboundSecrets | None] = {}
    for project in projects.values():
        for name, settings in project.channels.items():
            channel = CHANNELS[name]
            names = channel.variables_for(settings)
            token = environment.get(names.api_token) or environment.get(channel.variables.api_token, "")
            if not (token.isascii() and token.isprintable()):
                raise ConfigurationError(f"{names.api_token}: has characters that no token has; set it anew")
            url = environment.get(channel.api_url_env) or channel.api_url
            usable = bool(token) or url != channel.api_url
            secrets = OutboundSecrets(
                api_url=url,
                token=token,
                account=environment.get(names.account or "", ""),
                sender=environment.get(names.sender or "", ""),
                callback_url=_callback_url(channel, project, public_base_url),
            )
            accounts[project.name, name] = secrets if usable else None
    return accounts


def templates_of(projects: Mapping[str, Project]) -> dict[Account, Mapping[str, str]]:
    """Return the providers' ids of each project's templates, by purpose, for each of its channels."""
    return {
        (project.name, name): settings.templates
        for project in projects.values()
        for name, settings in project.channels.items()
    }


def _callback_url(channel: Channel, project: Project, public_base_url: str) -> str:
    if not (channel.reports and public_base_url):
        return ""
    return f"{public_base_url.rstrip('/')}/webhook/{channel.name}/{project.name}"
