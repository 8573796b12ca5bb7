"""Which partitions' clients this worker sends to: those that the group gave it, once it holds their locks.

The lock of a partition is a Postgres advisory lock on a connection of its own, so it ends with the process, and two
workers never send for one client. It covers the rows of every incarnation of the broker: a conversation has the same
partition in each, as long as chat.dialog keeps its number of partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import structlog
from psycopg import AsyncConnection

from chatledger.adapters.postgres import KEEPALIVES, Connection
from chatledger.errors import OutsideUnavailable
from chatledger.ports import Positions, PositionStore, TopicPartition
from chatledger_notify.queues import ClientQueues

LOOK_EVERY_S = 0.25
"""How soon a lock that somebody else gave back is taken, and a broken connection noticed."""
QUIET_PAUSE_S = 0.01
LOCK = "chatledger notify"
"""The name of the partitions' locks; beside it stands the partition's number."""

_log = structlog.get_logger()


class Ownership:
    """Follows what the group assigns. `acquired` is awaited with each partition whose lock was taken."""

    def __init__(
        self, *, queues: ClientQueues, folding: Callable[[], bool], acquired: Callable[[int], Awaitable[None]]
    ) -> None:
        """`folding` tells whether rows are being changed by reports at this moment."""
        self._queues, self._folding = queues, folding
        self._acquired = acquired
        self._wanted: frozenset[int] = frozenset()
        self._locked: set[int] = set()
        self._changed = asyncio.Event()
        self._stopping = False

    def want(self, partitions: Sequence[int]) -> None:
        """The group assigned exactly these partitions; the others are given back as soon as nothing is being sent."""
        self._wanted = frozenset(partitions)
        self._changed.set()

    def stop(self) -> None:
        """Let `run` give everything back and end."""
        self._stopping = True
        self.want(())

    async def run(self, url: str) -> None:
        """Take and give back locks until `stop`. Raises OutsideUnavailable when they may be lost: end the process."""
        try:
            async with await AsyncConnection.connect(url, autocommit=True, options=KEEPALIVES) as connection:
                while not (self._stopping and not self._locked):
                    self._changed.clear()
                    await self._give_back(connection)
                    await self._take(connection)
                    await self._wait()
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"the connection that holds the partitions' locks is gone: {wrong}") from wrong

    async def _give_back(self, connection: Connection) -> None:
        for partition in sorted(self._locked - self._wanted):
            self._queues.disown(partition)
            while self._folding() or not self._queues.is_quiet(partition):  # noqa: ASYNC110  # rare, and cheaper than a signal per message
                await asyncio.sleep(QUIET_PAUSE_S)
            await connection.execute("SELECT pg_advisory_unlock(hashtext(%s), %s)", (LOCK, partition))
            self._locked.discard(partition)
            _log.info("partition.given_back", partition=partition)

    async def _take(self, connection: Connection) -> None:
        await connection.execute("SELECT 1")
        for partition in sorted(self._wanted - self._locked):
            row = await connection.execute("SELECT pg_try_advisory_lock(hashtext(%s), %s)", (LOCK, partition))
            if (await row.fetchall())[0][0]:
                self._locked.add(partition)
                await self._acquired(partition)
                _log.info("partition.taken", partition=partition)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            return


class OwnedPositions:
    """A position store that tells the ownership of each assignment, which begins with the loading of positions."""

    def __init__(self, positions: PositionStore, ownership: Ownership) -> None:
        self._positions = positions
        self._ownership = ownership

    async def load(self, partitions: Sequence[TopicPartition]) -> Positions:
        """The next offsets of `partitions`, which are all that the group has given us."""
        # Loaded before the partitions' rows are: what the owner before us commits in between is read again from the
        # topic, and found to be there. The other way round nobody would look for its rows.
        positions = await self._positions.load(partitions)
        self._ownership.want([each.partition for each in partitions])
        return positions
