"""Who may post: the tokens and signing secrets of each project's channels, read from the environment by name."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from chatledger.channels import CHANNELS
from chatledger.channels.base import InboundSecrets, Variables
from chatledger.errors import ConfigurationError
from chatledger.projects import Project


@dataclass(frozen=True, slots=True, order=True)
class Door:
    """One project on one channel: what a webhook is addressed to."""

    project: str
    channel: str


Secrets = Mapping[Door, InboundSecrets]


def read_secrets(projects: Mapping[str, Project], environment: Mapping[str, str]) -> dict[Door, InboundSecrets]:
    """Look up what the project files name. A variable may hold several secrets, by commas or spaces, for rotation."""
    secrets = {}
    for project in projects.values():
        for channel in project.channels:
            names = variables_of(project, channel)
            secrets[Door(project.name, channel)] = InboundSecrets(
                tokens=_listed(environment, names.webhook_token),
                hmac_secrets=_listed(environment, names.hmac_secret),
                verify_tokens=_listed(environment, names.verify_token),
            )
    return secrets


def variables_of(project: Project, channel: str) -> Variables:
    """Return the names of the variables that hold the secrets of a project's channel."""
    return CHANNELS[channel].variables_for(project.channels[channel])


def open_doors(projects: Mapping[str, Project], secrets: Secrets, *, host: str) -> list[Door]:
    """Return the doors that anybody may post to. Raises ConfigurationError when `host` is more than loopback.

    Where a channel's webhooks are always signed a door without secrets is shut, not open.
    """
    doors = [
        Door(project.name, channel)
        for project in projects.values()
        for channel in project.channels
        if not CHANNELS[channel].always_signed
    ]
    unguarded = [door for door in doors if not secrets.get(door, InboundSecrets()).any]
    if unguarded and not is_loopback(host):
        door = unguarded[0]
        names = variables_of(projects[door.project], door.channel)
        variables = " or ".join(name for name in (names.webhook_token, names.hmac_secret) if name)
        raise ConfigurationError(
            f"project {door.project}, channel {door.channel}: anybody at {host} could post; set {variables}"
            " to a secret, or listen on loopback (HOST=127.0.0.1)"
        )
    return unguarded


def shut_doors(projects: Mapping[str, Project], secrets: Secrets) -> list[Door]:
    """Return the doors that nobody can post to: webhooks there are always signed, and there is nothing to check by."""
    return [
        Door(project.name, channel)
        for project in projects.values()
        for channel in project.channels
        if CHANNELS[channel].always_signed and not secrets.get(Door(project.name, channel), InboundSecrets()).any
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(environment: Mapping[str, str], name: str | None) -> tuple[str, ...]:
    return tuple(environment.get(name, "").replace(",", " ").split()) if name else ()
