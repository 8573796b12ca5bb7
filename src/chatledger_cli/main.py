"""The command `chatledger`: finds the subcommand's module, and turns errors into one line and an exit code.

Exit codes: 0 done; 1 something failed; 2 the configuration or the command line is not usable.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from chatledger import __version__
from chatledger.errors import ChatledgerError, ConfigurationError

HELP = """Chat webhooks become events on Kafka topics, conversations, orders, invoices and replies; a Postgres ledger
keeps every event and replays it.

Start with `chatledger demo`, or with `chatledger up --stand-in` in one terminal and `chatledger send "hello" --follow`
in another. Where CHATLEDGER_BROKER and CHATLEDGER_DATABASE are not set, both are embedded and live in ./var.
"""

COMMANDS = {
    "up": "chatledger_cli.up",
    "demo": "chatledger_cli.demo",
    "send": "chatledger_cli.send",
    "tail": "chatledger_cli.tail",
    "state": "chatledger_cli.time_travel",
    "diff": "chatledger_cli.diff_command",
    "replay": "chatledger_cli.replay_command",
    "export": "chatledger_cli.export_command",
    "what-if": "chatledger_cli.what_if_command",
    "verify": "chatledger_cli.verify_command",
    "rebuild": "chatledger_cli.rebuild_command",
    "restore": "chatledger_cli.restore_command",
    "dead": "chatledger_cli.dead",
    "keys": "chatledger_cli.keys",
    "projects": "chatledger_cli.projects",
    "topics": "chatledger_cli.topic_list",
}
"""Each command and the module that registers it. Only the one that is asked for is loaded: all take a second."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line with the command that `arguments` begin with, or with all of them."""
    app = typer.Typer(
        name="chatledger",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    asked_for = COMMANDS.get(arguments[0]) if arguments else None
    for module in [asked_for] if asked_for else dict.fromkeys(COMMANDS.values()):
        import_module(module).register(app)
    return app


def main() -> None:
    """Run the command line. Errors made on purpose are one line; anything else is a mistake of ours and shows whole."""
    # What the client library has to say about a broker that is away comes in our error.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        build(sys.argv[1:])()
    except ConfigurationError as wrong:
        sys.exit(_said(wrong, 2))
    except ChatledgerError as wrong:
        sys.exit(_said(wrong, 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatledger {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Nothing: the options do what is to be done, and the commands the rest."""


def _said(wrong: ChatledgerError, code: int) -> int:
    typer.echo(f"error: {'; '.join(line.strip() for line in str(wrong).splitlines())}", err=True)
    return code


if __name__ == "__main__":
    main()
