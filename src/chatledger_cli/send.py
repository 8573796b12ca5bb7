"""`chatledger send`: one test webhook as the provider would send it, signed, and on request the reply to it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated

import httpx
import psycopg
import typer

from chatledger.channels import CHANNELS
from chatledger.errors import ChatledgerError, ConfigurationError, OutsideUnavailable
from chatledger.project_files import default_project, load_projects
from chatledger.projects import ChannelSettings
from chatledger.settings import PublicBaseUrl, read_settings
from chatledger_cli.connect import database_url
from chatledger_cli.places import http_port
from chatledger_cli.up_settings import UpSettings
from chatledger_cli.webhooks import DEFAULT_CLIENTS, Webhook, webhook_of

REPLY_TIMEOUT_S = 15.0
POLL_PAUSE_S = 0.05
REPLY_QUERY = """
SELECT data->>'text' FROM ledger.events
WHERE type = 'reply.requested' AND stream = %(stream)s AND metadata->>'correlationid' = %(id)s
ORDER BY position
"""
"""By correlation: an order is answered because billing reported its invoice, two causes later."""


class SendSettings(UpSettings):
    """The settings of the system that is sent to."""

    public_base_url: PublicBaseUrl = ""
    """What it takes for its own address, which a signature may cover; unset, the address that is posted to."""


class Refused(ChatledgerError):
    """The webhook was refused."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(send)


def send(
    text: Annotated[str, typer.Argument(help="What the client writes.")],
    project: Annotated[str | None, typer.Option(help="The project; by default the channel's default project.")] = None,
    client: Annotated[
        str | None, typer.Option(help="The client's id at the provider; on WhatsApp the phone number.")
    ] = None,
    channel: Annotated[str, typer.Option(help=f"The channel: {', '.join(CHANNELS)}.")] = "chat2desk",
    url: Annotated[
        str | None, typer.Option(help="Where chatledger listens; by default the one that runs here.")
    ] = None,
    message_id: Annotated[
        int | None, typer.Option(help="The provider's message id; the same one again is a duplicate.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for the reply, and print it.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for a system that is still starting.")] = 0.0,
) -> None:
    """Send one webhook to the system that runs here, signed with the token or secret from the environment.

    Example: chatledger send "hello" --follow

    Example: chatledger send "100 cement" --channel twilio --client +919900000001

    Example: chatledger send "Baker Street 221b, London" --client 4711 --project order-form
    """
    if wait_s:
        _wait_until_healthy(url, wait_s)
    base = _base(url)
    name, settings = _project(project, channel)
    path = f"/webhook/{channel}/{name}"
    webhook = webhook_of(
        channel,
        text,
        client=client or DEFAULT_CLIENTS[channel],
        message_id=message_id or time.time_ns() // 1_000,
        url=(read_settings(SendSettings).public_base_url.rstrip("/") or base) + path,
        settings=settings,
        environment=os.environ,
    )
    token_env = CHANNELS[channel].variables_for(settings).webhook_token
    event_id, elapsed_ms = _post(base + path, webhook, token_env=token_env)
    conversation = f"{name}/{channel}/{webhook.client_id}"
    typer.echo(f"200 acknowledged in {elapsed_ms:.1f} ms: event {event_id}, conversation {conversation}")
    if follow:
        typer.echo("\n\n".join(asyncio.run(_replies(conversation, event_id))))


def _base(url: str | None) -> str:
    return (url or f"http://127.0.0.1:{http_port()}").rstrip("/")


def _wait_until_healthy(url: str | None, wait_s: float) -> None:
    """Return when the system answers that it is healthy. Raises OutsideUnavailable when it does not in time."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{_base(url)}/health", trust_env=False, timeout=5.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass  # it is not there yet, which is what is waited for
        time.sleep(POLL_PAUSE_S)
    raise OutsideUnavailable(f"{_base(url)} was not healthy within {wait_s:g} s: does `chatledger up` run?")


def _project(name: str | None, channel: str) -> tuple[str, ChannelSettings]:
    projects = load_projects(read_settings(SendSettings).projects)
    project = projects.get(name) if name else default_project(projects, channel)
    if project is None or channel not in project.channels:
        choices = ", ".join(each.name for each in projects.values() if channel in each.channels)
        raise ConfigurationError(f"--project: choose one that uses {channel}: {choices or 'none does'}")
    return project.name, project.channels[channel]


def _post(url: str, webhook: Webhook, *, token_env: str) -> tuple[str, float]:
    """The event's id, and how long the answer took in ms. Raises Refused, OutsideUnavailable."""
    try:
        with httpx.Client(trust_env=False, timeout=10.0) as client:
            started = time.monotonic()
            answer = client.post(url, content=webhook.body, headers={**webhook.headers})
            elapsed_ms = (time.monotonic() - started) * 1000
    except httpx.ConnectError as wrong:
        raise OutsideUnavailable(f"nothing listens at {url}: start `chatledger up`, or give --url") from wrong
    except httpx.HTTPError as wrong:
        raise OutsideUnavailable(f"{url} does not answer: {wrong}") from wrong
    if answer.status_code == 200:
        return str(answer.headers.get("x-event-id", "")), elapsed_ms
    try:
        said = answer.json().get("detail") or answer.text
    except ValueError:
        said = answer.text
    hint = f"; set {token_env} to what `chatledger up` was started with" if answer.status_code == 401 else ""
    raise Refused(f"{answer.status_code} {said}{hint}")


async def _replies(conversation: str, event_id: str) -> list[str]:
    """The texts of the replies, from the ledger. Raises OutsideUnavailable when none comes in time."""
    wanted = {"stream": f"conversation-{conversation}", "id": event_id}
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    try:
        async with (
            database_url(read_settings(SendSettings)) as url,
            await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        ):
            while time.monotonic() < deadline:
                rows = await (await connection.execute(REPLY_QUERY, wanted)).fetchall()
                if rows:
                    return [str(row[0]) for row in rows]
                await asyncio.sleep(POLL_PAUSE_S)
    except psycopg.Error as wrong:
        raise OutsideUnavailable(f"the ledger does not answer: {wrong}") from wrong
    raise OutsideUnavailable(
        f"no reply within {REPLY_TIMEOUT_S:g} s; the message is safe, `chatledger tail` shows what happens to it"
    )
