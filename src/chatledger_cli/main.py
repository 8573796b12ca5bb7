"""The command `chatledger`: every subcommand registers itself here, and errors become one line and an exit code.

Exit codes: 0 done; 1 something failed; 2 the configuration or the command line is not usable.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chatledger import __version__
from chatledger.errors import ChatledgerError, ConfigurationError
from chatledger_cli import demo, history, projects, send, tail, topic_list, up

HELP = """Chat webhooks become events on Kafka topics, conversations, orders, invoices and replies; a Postgres ledger
keeps every event and replays it.

Start with `chatledger demo`, or with `chatledger up` in one terminal and `chatledger send "hello" --follow` in another.
Where CHATLEDGER_BROKER and CHATLEDGER_DATABASE are not set, both are embedded and live in ./var.
"""

app = typer.Typer(
    name="chatledger",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatledger {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Nothing: the options do what is to be done, and the commands the rest."""


for command in (up, demo, send, tail, history, projects, topic_list):
    command.register(app)


def main() -> None:
    """Run the command line. Errors made on purpose are one line; anything else is a mistake of ours and shows whole."""
    try:
        app()
    except ConfigurationError as wrong:
        sys.exit(_said(wrong, 2))
    except ChatledgerError as wrong:
        sys.exit(_said(wrong, 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _said(wrong: ChatledgerError, code: int) -> int:
    typer.echo(f"error: {wrong}", err=True)
    return code


if __name__ == "__main__":
    main()
