"""What the tests of rebuilds start from: a ledger that records what is published, and read models as whole tables."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from chatledger import topics
from chatledger.adapters.ledger_reader import ROLE, PostgresLedgerReader
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.memory import MemoryBroker
from chatledger.adapters.postgres import open_pool
from chatledger.adapters.rebuilding.declared import Rebuildable
from chatledger.adapters.rebuilding.rebuild import Outcome, rebuild
from chatledger.events.envelope import Envelope
from chatledger.ports import TopicPartition
from chatledger.projects import Project
from chatledger_ledger.postgres_ledger import PostgresLedger

Rows = dict[str, list[dict[str, Any]]]

CATALOG = """
SELECT 'column', attname, format_type(atttypid, atttypmod), attnotnull::text, attidentity::text, attgenerated::text,
       pg_get_expr(adbin, adrelid), col_description(attrelid, attnum), attacl::text
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index', pg_get_indexdef(indexrelid), NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_index WHERE indrelid = %(table)s::regclass
UNION ALL
SELECT 'constraint', conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_constraint WHERE conrelid = %(table)s::regclass
UNION ALL
SELECT 'table', pg_get_userbyid(relowner), relacl::text, reloptions::text, obj_description(oid, 'pg_class'),
       relpersistence::text, NULL, NULL, NULL
FROM pg_class WHERE oid = %(table)s::regclass
UNION ALL
SELECT 'sequence', relname, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_class JOIN pg_depend ON objid = pg_class.oid
WHERE relkind = 'S' AND refobjid = %(table)s::regclass
ORDER BY 1, 2
"""


@dataclass
class RecordingPublisher:
    """The port Publisher: the ledger has at once what is published. While `is_held`, it gets it later, by `let_go`."""

    ledger: PostgresLedger
    is_held: bool = False
    waiting: list[tuple[str, Envelope]] = field(default_factory=list)
    offsets: Counter[str] = field(default_factory=Counter)

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Record it, or keep it."""
        self.waiting += [(topic, each) for each in envelopes]
        if not self.is_held:
            await self.let_go()

    async def let_go(self) -> None:
        """Record what was kept."""
        waiting, self.waiting = self.waiting, []
        records = []
        for topic, envelope in waiting:
            records.append(recorded(envelope, topic=topic, offset=self.offsets[topic]))
            self.offsets[topic] += 1
        if records:
            await self.ledger.append(records)


@asynccontextmanager
async def reader_on(url: str) -> AsyncIterator[PostgresLedgerReader]:
    """The ledger, to be read."""
    pool = await open_pool(url, connections_max=3, role=ROLE)
    try:
        yield PostgresLedgerReader(pool)
    finally:
        await pool.close()


async def remake(url: str, model: Rebuildable, projects: Mapping[str, Project], **options: Any) -> Outcome:
    """Rebuild a read model."""
    async with reader_on(url) as reader:
        return await rebuild(model, url=url, reader=reader, projects=projects, **options)


async def check(
    url: str, model: Rebuildable, projects: Mapping[str, Project]
) -> list[tuple[str, tuple[str, ...], str]]:
    """Compare a read model with the ledger: the tables, keys and kinds of the differences."""
    compared = (await remake(url, model, projects, check=True)).comparison
    assert compared is not None
    assert compared.count == len(compared.shown)
    return [(each.table, each.key, each.kind) for each in compared.shown]


async def rows_of(url: str, model: Rebuildable) -> Rows:
    """Every row of every table of a read model."""
    found: Rows = {}
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        for table in model.tables:
            name = sql.Identifier(model.schema, table.name)
            rows = await connection.execute(sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(name))
            found[table.name] = await rows.fetchall()
    return found


async def likeness_of(url: str, model: Rebuildable) -> list[Any]:
    """What Postgres knows of a read model's tables, beside their rows."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return [
            (name, await (await connection.execute(CATALOG, {"table": name})).fetchall()) for name in model.table_names
        ]


async def execute(url: str, *statements: str) -> None:
    """Do something to the database."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def leftovers(url: str) -> int:
    """How many schemas of rebuilds there are."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        query = "SELECT count(*) FROM pg_namespace WHERE nspname = 'chatledger_rebuild'"
        row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])


class Recorder:
    """Records what is on a broker in memory."""

    def __init__(self, broker: MemoryBroker, ledger: PostgresLedger) -> None:
        self._broker, self._ledger = broker, ledger
        self._seen: Counter[TopicPartition] = Counter()
        self._one_at_a_time = asyncio.Lock()

    async def catch_up(self) -> None:
        """Record what is there by now."""
        async with self._one_at_a_time:
            for at in (TopicPartition(topic, number) for topic in topics.ALL for number in range(topics.PARTITIONS)):
                records = self._broker.records(at, offset=self._seen[at])
                self._seen[at] += len(records)
                if records:
                    await self._ledger.append(records)

    @classmethod
    @asynccontextmanager
    async def at_work(cls, broker: MemoryBroker, ledger: PostgresLedger) -> AsyncIterator[Recorder]:
        """Record for the time of a `with`."""
        recorder = cls(broker, ledger)

        async def keep_up() -> None:
            while True:
                await recorder.catch_up()
                await asyncio.sleep(0.01)

        running = asyncio.create_task(keep_up())
        try:
            yield recorder
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
