"""`chatledger keys`: the keys of the HTTP API, made, listed and revoked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatledger.access import Scope
from chatledger.adapters import api_keys
from chatledger.adapters.api_keys import ApiKey, migrate_api_keys
from chatledger.errors import ConfigurationError
from chatledger.project_files import load_projects
from chatledger.settings import read_settings
from chatledger_cli.connect import server_url
from chatledger_cli.moments import shown
from chatledger_cli.up_settings import UpSettings

group = typer.Typer(help="API keys: who may use the HTTP API, and for what.", no_args_is_help=True)


class ScopeName(StrEnum):
    """The scopes, as they are written on the command line."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="keys")


@group.command("create")
def create(
    name: Annotated[str, typer.Option(help="Whose key it is, or what for; no two keys in use have one name.")],
    scope: Annotated[ScopeName, typer.Option(help="What it allows; each scope has those before it.")],
    project: Annotated[str | None, typer.Option(help="The only project that it is for; by default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with the key.")] = False,
) -> None:
    """Make a key, and print it: this once, because only its hash is kept.

    Example: chatledger keys create --name dashboard --scope read
    """
    if project is not None:
        _require_project(project)
    key, kept = asyncio.run(_create(name, Scope[scope.name], project))
    if as_json:
        typer.echo(orjson.dumps({"key": key, **asdict(kept)}, option=orjson.OPT_UTC_Z))
        return
    typer.echo(key)
    typer.echo("keep it now: it is not shown again. Send it as `Authorization: Bearer clk_...`", err=True)


@group.command("list")
def list_all(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the keys: their beginnings, names and scopes, and when each was made, last used and revoked.

    Example: chatledger keys list
    """
    found = asyncio.run(_list())
    if as_json:
        for key in found:
            typer.echo(orjson.dumps(key, option=orjson.OPT_UTC_Z))
    elif found:
        Console().print(_table(found))
    else:
        typer.echo("no keys: `chatledger keys create --name NAME --scope read` makes one", err=True)


@group.command("revoke")
def revoke(which: Annotated[str, typer.Argument(help="The key's name, or its beginning from `keys list`.")]) -> None:
    """Revoke a key. Whoever comes with it is refused within some seconds.

    Example: chatledger keys revoke dashboard
    """
    for key in asyncio.run(_revoke(which)):
        typer.echo(f"revoked {key.prefix} ({key.name})")


def _require_project(name: str) -> None:
    projects = load_projects(read_settings(UpSettings).projects)
    if name not in projects:
        raise ConfigurationError(f"--project: choose one of {', '.join(projects)}")


async def _create(name: str, scope: Scope, project: str | None) -> tuple[str, ApiKey]:
    async with server_url(read_settings(UpSettings)) as url:
        await migrate_api_keys(url)
        return await api_keys.create_key(url, name=name, scope=scope, project=project)


async def _list() -> list[ApiKey]:
    async with server_url(read_settings(UpSettings)) as url:
        await migrate_api_keys(url)
        return await api_keys.list_keys(url)


async def _revoke(which: str) -> list[ApiKey]:
    async with server_url(read_settings(UpSettings)) as url:
        await migrate_api_keys(url)
        revoked = await api_keys.revoke_keys(url, which)
    if not revoked:
        raise ConfigurationError(f"no key in use is called {which!r} or begins so: `chatledger keys list` shows them")
    return revoked


def _table(found: list[ApiKey]) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in ("key", "name", "scope", "project", "made", "last used", "revoked"):
        table.add_column(heading)
    for key in found:
        table.add_row(
            f"{key.prefix}...",
            Text(key.name),  # whoever chose it did not mean markup
            key.scope,
            key.project or "all",
            shown(key.created_at),
            str(key.last_used_on or "never"),
            shown(key.revoked_at) if key.revoked_at else "",
            style="dim" if key.revoked_at else None,
        )
    return table
