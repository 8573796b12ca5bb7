"""A subscription that is resumed: with a position of the caller's own, or one that is kept in a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psycopg
import pytest

from chatledger.adapters.ledger_feed import PositionBeyondEnd
from chatledger.errors import ConfigurationError, OutsideUnavailable
from chatledger.history import subscription
from chatledger.history.subscription import PositionFile, subscribe
from chatledger.ports import LedgerEvent
from tests.support.ledger import as_records, history, open_ledger

pytestmark = pytest.mark.postgres
TIMEOUT_S = 20


async def test_a_subscription_tells_what_is_there_and_what_comes(postgres_url: str) -> None:
    stop = asyncio.Event()
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        seen = list[LedgerEvent]()
        async with asyncio.timeout(TIMEOUT_S), subscribe(postgres_url, after=0, stop=stop) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == len(history("77")):
                    await ledger.append(as_records(history("78"), first_offset=1_000))
                if len(seen) == 2 * len(history("77")):
                    stop.set()
        assert seen == [event async for event in ledger.read()]


async def test_filters_are_a_selection(postgres_url: str) -> None:
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records([*history("77"), *history("78")]))
        stream = "conversation-order-form/chat2desk/78"
        async with subscribe(postgres_url, types=["*.given"], project="order-form", stream=stream) as events:
            async for batch in events.batches():
                assert [each.envelope.data.type for each in batch.events] == [
                    "address.given",
                    "phone.given",
                    "quantity.given",
                ]
                assert batch.position == await ledger.last_position()
                return


async def test_with_a_file_what_was_handled_is_not_told_again(postgres_url: str, tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.position")
    assert await file.load() is None
    async with open_ledger(postgres_url) as ledger:
        seen = list[LedgerEvent]()
        for client in ("77", "78", "79"):
            await ledger.append(as_records(history(client), first_offset=1_000 * int(client)))
            last, stop = await ledger.last_position(), asyncio.Event()
            async with asyncio.timeout(TIMEOUT_S), subscribe(postgres_url, store=file, stop=stop) as events:
                async for event in events:
                    seen.append(event)
                    if event.position == last:
                        stop.set()
            assert await file.load() == last
        assert seen == [event async for event in ledger.read()]
    assert os.listdir(tmp_path) == ["seen.position"]


async def test_a_batch_that_was_not_handled_is_told_again(postgres_url: str, tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.position")
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        for _ in range(2):
            async with subscribe(postgres_url, store=file) as events:
                async for event in events:
                    assert event.position == 1
                    break
    assert await file.load() is None


async def test_the_position_of_what_is_left_out_is_saved_too(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "SAVE_EVERY_S", 0.01)
    file, stop = PositionFile(tmp_path / "seen.position"), asyncio.Event()
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records(history("77")))
        async with subscribe(postgres_url, store=file, project="another", stop=stop) as events:
            following = asyncio.create_task(anext(aiter(events), None))
            async with asyncio.timeout(TIMEOUT_S):
                while await file.load() != await ledger.last_position():  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(0.01)
            stop.set()
            assert await following is None


async def test_a_position_in_the_transaction_of_the_effect_has_each_event_once(postgres_url: str) -> None:
    """The caller fails after every third batch, whose effect and position are then both not there."""
    async with open_ledger(postgres_url) as ledger, await psycopg.AsyncConnection.connect(postgres_url) as own:
        await own.execute("CREATE TABLE told (position bigint PRIMARY KEY)")
        await own.commit()
        await ledger.append(as_records(history("77")))
        last, batches = await ledger.last_position(), 0
        kept = 0
        while kept < last:
            async with subscribe(postgres_url, after=kept, poll_s=0.05) as events:
                async for batch in events.batches():
                    batches += 1
                    for event in batch.events:
                        await own.execute("INSERT INTO told VALUES (%s)", (event.position,))
                    if batches % 3 == 1:
                        await own.rollback()
                        break
                    await own.commit()
                    kept = batch.position
                    if kept >= last:
                        break
        rows = await (await own.execute("SELECT position FROM told ORDER BY 1")).fetchall()
        assert [position for (position,) in rows] == [event.position async for event in ledger.read()]
        assert batches > 1


async def test_what_the_caller_can_mend_is_said(postgres_url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("soon")
    with pytest.raises(ConfigurationError, match="holds no position"):
        await PositionFile(broken).load()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await PositionFile(tmp_path).load()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await PositionFile(tmp_path / "nowhere" / "x").save(1)
    with pytest.raises(ConfigurationError, match="give one of them"):
        async with subscribe(postgres_url, after=1, store=PositionFile(broken)):
            pass
    with pytest.raises(ConfigurationError, match="is no Postgres URL"):
        async with subscribe("mysql://somewhere/else"):
            pass
    async with open_ledger(postgres_url), subscribe(postgres_url, after=5) as events:
        with pytest.raises(PositionBeyondEnd):
            await anext(aiter(events))


async def test_a_database_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutsideUnavailable):
        async with subscribe("postgresql://postgres@127.0.0.1:1/x?connect_timeout=1"):
            pass
