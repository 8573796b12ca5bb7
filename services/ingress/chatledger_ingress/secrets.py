"""Who may post: the tokens and signing secrets of each project's channels, read from the environment by name."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from chatledger.channels.base import InboundSecrets
from chatledger.errors import ConfigurationError
from chatledger.projects import ChannelSettings, Project


@dataclass(frozen=True, slots=True, order=True)
class Door:
    """One project on one channel: what a webhook is addressed to."""

    project: str
    channel: str


Secrets = Mapping[Door, InboundSecrets]


def read_secrets(projects: Mapping[str, Project], environment: Mapping[str, str]) -> dict[Door, InboundSecrets]:
    """Look up what the project files name. A variable may hold several secrets, by commas or spaces, for rotation."""
    return {
        Door(project.name, channel): InboundSecrets(
            tokens=_listed(environment, settings.webhook_token_env),
            hmac_secrets=_listed(environment, settings.hmac.secret_env) if settings.hmac else (),
        )
        for project in projects.values()
        for channel, settings in project.channels.items()
    }


def open_doors(projects: Mapping[str, Project], secrets: Secrets, *, host: str) -> list[Door]:
    """Return the doors that anybody may post to. Raises ConfigurationError when `host` is more than loopback."""
    doors = [Door(project.name, channel) for project in projects.values() for channel in project.channels]
    unguarded = [door for door in doors if not secrets.get(door, InboundSecrets()).any]
    if unguarded and not is_loopback(host):
        door = unguarded[0]
        variables = " or ".join(_variables(projects[door.project].channels[door.channel]))
        raise ConfigurationError(
            f"project {door.project}, channel {door.channel}: anybody at {host} could post; set {variables}"
            " to a secret, or listen on loopback (HOST=127.0.0.1)"
        )
    return unguarded


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(environment.get(name, "").replace(",", " ").split())


def _variables(settings: ChannelSettings) -> tuple[str, ...]:
    return (settings.webhook_token_env, *((settings.hmac.secret_env,) if settings.hmac else ()))
