"""What is not set in the environment, and what does not work until it is: said once, when the system starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chatledger.channels import CHANNELS, twilio
from chatledger.projects import Project
from chatledger_ingress.secrets import Door, open_doors, read_secrets, shut_doors, variables_of
from chatledger_notify.settings import accounts_of

PUBLIC_BASE_URL_NAMES = ("CHATLEDGER_PUBLIC_BASE_URL", "PUBLIC_BASE_URL")


def what_is_unset(projects: Mapping[str, Project], environment: Mapping[str, str], *, host: str) -> Iterator[str]:
    """Yield a sentence for each thing. Raises ConfigurationError when strangers beyond this machine could post.

    Where a door is shut nobody writes, so that nothing else of it matters yet.
    """
    secrets = read_secrets(projects, environment)
    for door in open_doors(projects, secrets, host=host):
        token = variables_of(projects[door.project], door.channel).webhook_token
        yield f"warning: anybody on this machine can post to {door.project} by {door.channel}: set {token}"
    shut = shut_doors(projects, secrets)
    for name in dict.fromkeys(door.project for door in shut):
        yield _takes_no_webhooks(projects[name], [door.channel for door in shut if door.project == name])
    served = {
        Door(name, channel): account
        for (name, channel), account in accounts_of(projects, environment).items()
        if Door(name, channel) not in shut
    }
    without_token = [door for door, account in served.items() if account is None]
    for token in dict.fromkeys(variables_of(projects[door.project], door.channel).api_token for door in without_token):
        yield f"warning: no reply reaches a client until {token} is set: they wait; --stand-in answers for the provider"
    for door, account in served.items():
        # A stand-in asks for no more than the message.
        if account is not None and account.api_url == CHANNELS[door.channel].api_url:
            yield from _of_account(projects[door.project], door.channel, environment)


def _takes_no_webhooks(project: Project, channels: Sequence[str]) -> str:
    until = [f"by {channel} until {variables_of(project, channel).webhook_token} is set" for channel in channels]
    return f"{project.name} takes no webhooks {', nor '.join(until)}"


def _of_account(project: Project, channel: str, environment: Mapping[str, str]) -> Iterator[str]:
    names = variables_of(project, channel)
    missing = [name for name in (names.account, names.sender) if name and not environment.get(name)]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        yield f"warning: {project.name} cannot send by {channel} until {' and '.join(missing)} {are} set"
    # Twilio signs the address that it posts to, and is told with each message where to report.
    if channel == twilio.NAME and not any(environment.get(name) for name in PUBLIC_BASE_URL_NAMES):
        yield (
            f"{project.name} hears from {channel} of no delivery until PUBLIC_BASE_URL is set; behind a proxy, of no"
            " message either"
        )
