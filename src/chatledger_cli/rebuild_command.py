"""`chatledger rebuild dialog`: the dialog's table from the ledger, unless a worker is at it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from chatledger.adapters.kafka import KafkaPublisher, cluster_id, start_producer
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import PostgresPositions
from chatledger.errors import ConfigurationError
from chatledger.ports import TopicPartition
from chatledger.settings import read_settings
from chatledger.topics import DIALOG, PARTITIONS
from chatledger_cli.connect import broker_address, ledger_pool, running_up
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.rebuild import rebuild_dialog, rebuild_hindrance

PUBLISH_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    commands = typer.Typer(help="Make anew, from the ledger, what was made from the topics.", no_args_is_help=True)
    commands.command("dialog")(rebuild_dialog_table)
    app.add_typer(commands, name="rebuild")


def rebuild_dialog_table(
    force: Annotated[bool, typer.Option("--force", help="Even while a dialog worker may be running.")] = False,
) -> None:
    """Write the dialog's table anew: every conversation's state, folded from the ledger, to its changelog topic."""
    asyncio.run(run(force=force))


async def run(*, force: bool) -> None:
    """Rebuild, and say for how many conversations. Raises ConfigurationError while it must not be done."""
    settings = read_settings(UpSettings)
    broker = broker_address(settings)
    if broker is None:
        raise ConfigurationError("a rebuild needs a broker: set CHATLEDGER_BROKER; the embedded one rebuilds by itself")
    if running_up(settings) is not None and not force:
        raise ConfigurationError("`chatledger up` runs a dialog worker: stop it first, or insist with --force")
    async with ledger_pool(settings) as pool:
        incarnation = broker.incarnation or await cluster_id(broker.bootstrap_servers)
        positions = await PostgresPositions(pool, schema="ledger", incarnation=incarnation).load(
            [TopicPartition(DIALOG, number) for number in range(PARTITIONS)]
        )
        hindrance = None if force else await rebuild_hindrance(broker.bootstrap_servers, positions)
        if hindrance is not None:
            raise ConfigurationError(f"{hindrance}; or insist with --force")
        producer = await start_producer(broker.bootstrap_servers, linger_ms=5)
        try:
            publisher = KafkaPublisher(producer, timeout_s=PUBLISH_TIMEOUT_S)
            count = await rebuild_dialog(PostgresLedgerReader(pool), publisher.publish_raw)
        finally:
            await producer.stop()
    typer.echo(f"{count:,} conversations are in the dialog's table")
