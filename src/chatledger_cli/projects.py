"""`chatledger projects check`: are the project files right, and what do they say?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatledger.project_files import load_projects
from chatledger.settings import read_settings
from chatledger_cli.up_settings import UpSettings

group = typer.Typer(help="Look at project files.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="projects")


@group.callback()
def projects() -> None:
    """Look at project files.

    Example: chatledger projects check ./projects
    """


@group.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder of project files; by default CHATLEDGER_PROJECTS.")
    ] = None,
) -> None:
    """Check every project file of a folder, and name the file, the field and the mend where one is wrong.

    Example: chatledger projects check ./projects
    """
    found = load_projects(folder or read_settings(UpSettings).projects)
    for project in found.values():
        channels = ", ".join(
            f"{name} (token in {settings.webhook_token_env})" for name, settings in project.channels.items()
        )
        typer.echo(f"{project.name}: flow {project.flow}, {'/'.join(project.languages)}, channels: {channels}")
    typer.echo(f"{len(found)} project file{'s are' if len(found) > 1 else ' is'} right")
