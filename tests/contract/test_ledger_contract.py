"""What every ledger must do, over the one in memory and the one on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.memory_ledger import MemoryLedger
from chatledger.conversation import Status
from chatledger.dead_letters import UNKNOWN_CONVERSATION
from chatledger.events import UnknownEvent
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived
from chatledger.events.letters import RecordDeadLettered
from chatledger.ports import Appended, ConsumedRecord, Ledger, LedgerEvent, Selection
from chatledger.replay import fold, fold_ledger, state_hash
from tests.support.dialog import message
from tests.support.ledger import as_records, conversation_of, history, open_ledger


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger(incarnation="tests")
        return
    async with open_ledger(request.getfixturevalue("postgres_url")) as opened:
        yield opened


async def everything(ledger: Ledger, **bounds) -> list[LedgerEvent]:
    return [event async for event in ledger.read(Selection(**bounds))]


async def test_what_is_appended_comes_back_in_its_order(ledger):
    placed = history("77")
    assert await ledger.append(as_records(placed)) == Appended(recorded=len(placed), duplicates=0)
    events = await everything(ledger)
    assert [event.envelope for event in events] == [envelope for _, envelope in placed]
    assert [event.topic for event in events] == [topic for topic, _ in placed]
    assert [event.source_offset for event in events] == list(range(len(placed)))
    assert [event.position for event in events] == sorted({event.position for event in events})


async def test_a_batch_twice_is_a_batch_once(ledger):
    records = as_records(history("77"))
    await ledger.append(records)
    assert await ledger.append(records) == Appended(recorded=0, duplicates=len(records))
    assert len(await everything(ledger)) == len(records)


async def test_an_event_at_another_offset_is_known_by_its_id(ledger):
    placed = history("77")
    await ledger.append(as_records(placed[:3]))
    appended = await ledger.append(as_records(placed, first_offset=100))
    assert appended == Appended(recorded=len(placed) - 3, duplicates=3)
    assert [event.envelope for event in await everything(ledger)] == [envelope for _, envelope in placed]


async def test_an_event_twice_in_one_batch_is_there_once(ledger):
    placed = history("77")
    appended = await ledger.append(as_records([*placed, *placed]))
    assert appended == Appended(recorded=len(placed), duplicates=len(placed))


async def test_what_lies_below_the_position_is_left_out(ledger):
    first, second = message("77", 1, "hi"), message("78", 1, "hi")
    await ledger.append([recorded(first, topic=topics.INBOUND, offset=5)])
    assert await ledger.append([recorded(second, topic=topics.INBOUND, offset=4)]) == Appended(recorded=0, duplicates=1)
    other_partition = recorded(second, topic=topics.INBOUND, partition=1, offset=0)
    assert await ledger.append([other_partition]) == Appended(recorded=1, duplicates=0)


async def test_reading_keeps_within_its_bounds(ledger):
    placed = history("77")
    await ledger.append(as_records(placed[:4]))
    middle = (await everything(ledger))[-1]
    await ledger.append(as_records(placed[4:], first_offset=4))
    whole = await everything(ledger)
    assert await everything(ledger, until_position=middle.position) == whole[:4]
    assert await everything(ledger, until_time=middle.recorded_at) == whole[:4]
    assert await everything(ledger, after=middle.position) == whole[4:]
    assert await everything(ledger, after=whole[1].position, until_position=whole[5].position) == whole[2:6]
    assert await everything(ledger, after=whole[-1].position) == []


async def test_recorded_time_rises_with_position(ledger):
    for start, client in enumerate("abc"):
        await ledger.append(as_records(history(client), first_offset=start * 100))
    times = [event.recorded_at for event in await everything(ledger)]
    assert times == sorted(times)
    assert len(set(times)) > 1


async def test_a_stream_is_read_alone(ledger):
    await ledger.append(as_records([*history("77"), *history("78")]))
    stream = f"conversation-{conversation_of('78')}"
    events = await everything(ledger, stream=stream)
    assert {event.envelope.stream for event in events} == {stream}
    assert [each.envelope for each in events] == [each for _, each in history("78") if each.stream == stream]
    assert await everything(ledger, stream="conversation-nobody") == []


async def test_the_fold_of_what_was_recorded_is_the_fold_of_what_happened(ledger):
    placed = [*history("77"), *history("78", ["hi", "Baker Street 221b"])]
    await ledger.append(as_records(placed))
    states = await fold_ledger(ledger.read())
    assert state_hash(states) == state_hash(fold(envelope for _, envelope in placed))
    stream = f"conversation-{conversation_of('78')}"
    one = await fold_ledger(ledger.read(Selection(stream=stream)))
    assert {conversation: state.status for conversation, state in one.items()} == {
        conversation_of("78"): Status.WAITING_PHONE
    }
    assert await everything(ledger, stream=stream, until_position=0) == []


async def test_an_event_of_an_unknown_type_is_kept_whole(ledger):
    known = message("77", 1, "hi")
    stranger = replace(
        known, data=UnknownEvent(type_name="moon.risen", schema_version=3, data={"phase": [1, None, "½"]})
    )
    await ledger.append([recorded(stranger, topic=topics.INBOUND)])
    assert [event.envelope for event in await everything(ledger)] == [stranger]


async def test_data_that_does_not_fit_its_schema_is_kept_as_unknown(ledger):
    record = recorded(message("77", 1, "hi"), topic=topics.INBOUND)
    await ledger.append([replace(record, value=b'{"text": 5}')])
    (event,) = await everything(ledger)
    assert event.envelope.data == UnknownEvent(
        type_name="message.received", schema_version=MessageReceived.version, data={"text": 5}
    )


async def test_a_second_event_in_one_place_of_a_stream_becomes_a_dead_letter(ledger):
    placed = [(topic, each) for topic, each in history("77", ["hi"]) if topic == topics.DIALOG]
    forged = replace(placed[1][1], id=derive_id("forged"))
    appended = await ledger.append(as_records([*placed, (topics.DIALOG, forged)]))
    assert appended == Appended(recorded=len(placed) + 1, duplicates=0)
    letter = (await everything(ledger))[-1]
    assert isinstance(letter.envelope.data, RecordDeadLettered)
    assert "has a version 2 already" in letter.envelope.data.reason
    assert letter.topic == topics.DEAD
    assert letter.envelope.data.headers["ce_id"] == forged.id


def broken_records() -> list[ConsumedRecord]:
    good = recorded(message("77", 1, "hi"), topic=topics.INBOUND)

    def without(name: str) -> tuple[tuple[str, bytes], ...]:
        return tuple((each, value) for each, value in good.headers if each != name)

    def with_header(name: str, value: bytes | None) -> ConsumedRecord:
        return replace(good, headers=(*without(name), (name, value)))  # type: ignore[arg-type]  # brokers allow None

    return [
        replace(good, headers=()),
        replace(good, headers=(), key=None, value=None),
        replace(good, headers=without("ce_id")),
        with_header("ce_id", b"not a uuid"),
        with_header("ce_id", None),
        with_header("ce_time", b"yesterday"),
        with_header("ce_time", b"0001-01-01T00:00:00+14:00"),
        with_header("ce_streamversion", b"0"),
        with_header("ce_streamversion", b"99999999999"),
        with_header("ce_stream", b"x" * 5_000),
        with_header("ce_stream", b"a\x1fb"),
        with_header("ce_subject", b"order-form/chat2desk/7\x00"),
        with_header("ce_type", b""),
        with_header("ce_source", b"\xff"),
        replace(good, value=b"{not json"),
        replace(good, value=b"[1]"),
        replace(good, value=b'{"text": "\xff"}'),
        replace(good, value=b'{"text": "\\ud800"}'),
        replace(good, value=b'{"text": "a\x1fb"}'),
        replace(good, value=b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        replace(good, value=None),
    ]


async def test_what_is_no_event_becomes_a_dead_letter_and_holds_nothing_up(ledger):
    broken = [replace(record, offset=offset) for offset, record in enumerate(broken_records())]
    before, after = message("78", 1, "hi"), message("79", 1, "hi")
    batch = [
        recorded(before, topic=topics.DIALOG, offset=0),
        *broken,
        recorded(after, topic=topics.DIALOG, offset=1),
    ]
    assert await ledger.append(batch) == Appended(recorded=len(batch), duplicates=0)
    events = await everything(ledger)
    letters = [event.envelope.data for event in events[1:-1]]
    assert events[0].envelope == before
    assert events[-1].envelope == after
    assert [letter.offset for letter in letters if isinstance(letter, RecordDeadLettered)] == list(range(len(broken)))
    assert events[2].envelope.conversation == UNKNOWN_CONVERSATION
    assert await ledger.append(batch) == Appended(recorded=0, duplicates=len(batch))


async def test_what_cannot_be_kept_takes_no_id_from_what_can(ledger):
    good = recorded(message("77", 1, "hi"), topic=topics.INBOUND, offset=1)
    poison = replace(good, value=b"{not json", offset=0)
    assert await ledger.append([poison, good]) == Appended(recorded=2, duplicates=0)
    assert [event.envelope.id for event in await everything(ledger)][1] == good_id(good)


def good_id(record: ConsumedRecord) -> str:
    return dict(record.headers)["ce_id"].decode()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (rb"\u0000", "�"),
        (rb"a\u0000\u0000b", "a��b"),
        (rb"\\u0000", r"\u0000"),
        (rb"\\\u0000", "\\�"),
        (rb"\n\t\\N\\.", "\n\t\\N\\."),
    ],
)
async def test_characters_that_a_database_minds_are_kept_as_well_as_they_can_be(ledger, written, kept):
    record = recorded(
        replace(message("77", 1, "hi"), data=UnknownEvent(type_name="any", schema_version=1, data={})),
        topic=topics.INBOUND,
    )
    await ledger.append([replace(record, value=b'{\n\t"text":\r\n"%b"}' % written)])
    (event,) = await everything(ledger)
    assert isinstance(event.envelope.data, UnknownEvent)
    assert event.envelope.data.data == {"text": kept}
