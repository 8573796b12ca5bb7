"""A resumable subscription: the ledger's events after a position, and then each one as it is recorded.

    async with subscribe("postgresql://localhost/chatledger", store=PositionFile("orders.position")) as events:
        async for event in events:
            print(event.position, event.envelope.conversation)

Nothing is missed. How often a thing is told depends on where its position is kept. With a PositionFile, or another
store, it is saved after the events of a batch were handled: after a crash that batch is told again. To have each
thing once, keep `batch.position` in the transaction of its effect, and begin with `after=` what is kept there.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Protocol

from chatledger.adapters.ledger_feed import POLL_S, LedgerFeed, Stretch
from chatledger.errors import ConfigurationError
from chatledger.ports import LedgerEvent, Selection

SAVE_EVERY_S = 5.0
"""So often the position is saved while nothing is selected, so that what is left out is not read again."""
DIGITS_MAX = 19


class SavedPosition(Protocol):
    """Where a subscriber's position is kept."""

    async def load(self) -> int | None:
        """The position that was saved last, None where none was."""
        ...

    async def save(self, position: int) -> None:
        """Keep `position` in place of the one before."""
        ...


class PositionFile:
    """A small file with a position in it. It is replaced whole, so that a crash leaves the one before."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    async def load(self) -> int | None:
        """The position that was saved last, None where there is no file. Raises ConfigurationError."""
        try:
            text = self._path.read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as wrong:
            raise ConfigurationError(f"{self._path} cannot be read as a position: {wrong}") from wrong
        if not (text.isdigit() and len(text) <= DIGITS_MAX):
            raise ConfigurationError(f"{self._path} holds no position: write one into it, or delete it to begin anew")
        return int(text)

    async def save(self, position: int) -> None:
        """Keep `position`, on the disk. Raises ConfigurationError when the folder cannot be written to."""
        await asyncio.to_thread(self._replace, position)

    def _replace(self, position: int) -> None:
        try:
            number, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(number, "w", encoding="ascii") as file:
                    file.write(f"{position}\n")
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as wrong:
            raise ConfigurationError(f"{self._path} cannot be written: {wrong}") from wrong


class Subscription:
    """What `subscribe` opens. It is read once, from one task: event by event, or in batches."""

    def __init__(self, feed: LedgerFeed, selection: Selection, store: SavedPosition | None) -> None:
        self._feed, self._selection, self._store = feed, selection, store

    async def __aiter__(self) -> AsyncIterator[LedgerEvent]:
        """Yield event after event. A store is told of a batch's position once all its events were handled."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for event in batch.events:
                    yield event

    async def batches(self) -> AsyncGenerator[Stretch, None]:
        """Yield batches of at most a thousand events; up to `batch.position` everything was looked at.

        A store is told of that position once the next batch is asked for.
        """
        silence_s = None if self._store is None else SAVE_EVERY_S
        saved = self._selection.after
        async with aclosing(self._feed.stretches(self._selection, silence_s=silence_s)) as stretches:
            async for batch in stretches:
                if batch.events:
                    yield batch
                if self._store is not None and batch.position > saved:
                    await self._store.save(batch.position)
                    saved = batch.position


@asynccontextmanager
async def subscribe(
    url: str,
    *,
    after: int | None = None,
    store: SavedPosition | None = None,
    types: Sequence[str] = (),
    project: str | None = None,
    stream: str | None = None,
    poll_s: float = POLL_S,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[Subscription]:
    """Open a subscription to the ledger in the database at `url`, with the rights of a reader.

    It begins after `after`, or after what `store` has saved, or else at the beginning; it ends when `stop` is set. In
    `types` a star stands for anything, as in `order.*`. An event is told within `poll_s` even where Postgres's
    notifications do not come through. Raises ConfigurationError for what the caller can mend, such as a position of
    another ledger, and OutsideUnavailable when Postgres does not answer; once it did, it is waited for.
    """
    if after is not None and store is not None:
        raise ConfigurationError("`after` and `store` are two ways to say where to begin: give one of them")
    begin = after if store is None else await store.load()
    selection = Selection(after=begin or 0, types=tuple(types), project=project, stream=stream)
    async with LedgerFeed(url, poll_s=poll_s, stop=stop) as feed:
        yield Subscription(feed, selection, store)
