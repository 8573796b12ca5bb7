"""`chatledger rebuild dialog`: another version of the dialog's table, made from the ledger beside the live one.

Workers go on with the old version meanwhile. One record on `topics.TABLE_VERSIONS` switches them: each ends, starts
again with the new version, and folds what was decided since it was made (docs/adr/0012).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import orjson
import typer
from aiokafka import AIOKafkaProducer

from chatledger.adapters.kafka import KafkaPublisher, cluster_id, start_producer
from chatledger.adapters.kafka_topics import create_topics
from chatledger.adapters.ledger_reader import PostgresLedgerReader
from chatledger.adapters.postgres import Pool, PostgresPositions
from chatledger.adapters.table_versions import TableVersions, switch_table
from chatledger.errors import ConfigurationError
from chatledger.ports import TopicPartition
from chatledger.settings import read_settings
from chatledger.topics import DIALOG, PARTITIONS, changelog
from chatledger_cli.connect import broker_address, ledger_pool, running_up
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.broker_view import dialog_workers
from chatledger_ledger.rebuild import rebuild_dialog
from chatledger_ledger.verification import BrokerAddress

PUBLISH_TIMEOUT_S = 60.0
TAKEN_OVER_TIMEOUT_S = 60.0
POLL_PAUSE_S = 0.2

LOCK = "SELECT pg_try_advisory_lock(hashtext('chatledger rebuild dialog'))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was done. `taken_over`: whether running workers have it in hand; None where none runs."""

    name: str = "dialog"
    conversations: int
    version: int
    taken_over: bool | None
    seconds: float


async def run(*, as_json: bool) -> None:
    """Rebuild, switch, and say so. Raises ConfigurationError, OutsideUnavailable."""
    settings = read_settings(UpSettings)
    broker = broker_address(settings)
    if broker is None:
        raise ConfigurationError("a rebuild needs a broker: set CHATLEDGER_BROKER; the embedded one rebuilds by itself")
    started_at = time.monotonic()
    versions = TableVersions(broker.bootstrap_servers)
    async with ledger_pool(settings) as pool, _only_one(pool):
        try:
            version = (await versions.open()).version + 1
            if settings.broker:
                # The embedded broker makes a topic that is written to, and takes no orders.
                await create_topics(
                    broker.bootstrap_servers, {changelog(version): (PARTITIONS, {"cleanup.policy": "compact"})}
                )
            async with _producer(broker) as producer:
                conversations = await _build_and_switch(broker, pool, producer, version)
            up_runs = running_up(settings) is not None
            taken_over = (
                await _taken_over(versions, version)
                if up_runs or await dialog_workers(broker.bootstrap_servers)
                else None
            )
        finally:
            await versions.stop()
    rebuilt = Rebuilt(
        conversations=conversations,
        version=version,
        taken_over=taken_over,
        seconds=round(time.monotonic() - started_at, 3),
    )
    typer.echo(orjson.dumps(asdict(rebuilt)) if as_json else _said(rebuilt))


async def _build_and_switch(broker: BrokerAddress, pool: Pool, producer: AIOKafkaProducer, version: int) -> int:
    incarnation = broker.incarnation or await cluster_id(broker.bootstrap_servers)
    # Before history is read: so whatever lies before these offsets is in what is read.
    positions = await PostgresPositions(pool, schema="ledger", incarnation=incarnation).load(
        [TopicPartition(DIALOG, number) for number in range(PARTITIONS)]
    )
    publisher = KafkaPublisher(producer, timeout_s=PUBLISH_TIMEOUT_S)
    count = await rebuild_dialog(PostgresLedgerReader(pool), publisher.publish_raw, topic=changelog(version))
    cuts = {number: positions.get(TopicPartition(DIALOG, number), 0) for number in range(PARTITIONS)}
    await switch_table(producer, version, cuts)
    return count


async def _taken_over(versions: TableVersions, version: int) -> bool:
    """Wait until workers have completed every partition of this version; False where that takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TAKEN_OVER_TIMEOUT_S):
            while True:
                live = await versions.refreshed()
                if live.version != version or len(live.caught_up) == PARTITIONS:
                    return live.version == version
                await asyncio.sleep(POLL_PAUSE_S)
    return False


def _said(rebuilt: Rebuilt) -> str:
    what = f"version {rebuilt.version} of the dialog's table is live, with {rebuilt.conversations:,} conversations"
    if rebuilt.taken_over is None:
        return f"{what}; no dialog worker runs: the next one starts with it"
    if rebuilt.taken_over:
        return f"{what}; the dialog workers have taken it over"
    return f"{what}; some dialog worker has yet to take it over: see its log for table.caught_up"


@contextlib.asynccontextmanager
async def _only_one(pool: Pool) -> AsyncIterator[None]:
    async with pool.connection() as connection:
        row = await (await connection.execute(LOCK)).fetchone()
        if row is None or not row[0]:
            raise ConfigurationError("the dialog's table is being rebuilt already: wait until that has ended")
        try:
            yield
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")


@contextlib.asynccontextmanager
async def _producer(broker: BrokerAddress) -> AsyncIterator[AIOKafkaProducer]:
    producer = await start_producer(broker.bootstrap_servers, linger_ms=5)
    try:
        yield producer
    finally:
        await producer.stop()
