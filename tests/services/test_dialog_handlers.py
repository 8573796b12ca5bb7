"""The dialog's batches without a broker: the same records give the same outputs, however they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatledger import topics
from chatledger.adapters.kafka_batches import OutgoingRecord
from chatledger.dead_letters import VALUE_BYTES_MAX
from chatledger.dialog_table import Entry, decode_entry, encode_entry
from chatledger.errors import BrokerUnavailable, LostOwnership
from chatledger.events.codec import Headers, from_wire, to_wire
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import DeliveryReported
from chatledger.events.letters import RecordDeadLettered
from chatledger.project_files import load_projects
from chatledger_dialog.handlers import BatchHandler, BatchResult, fold_batch
from chatledger_dialog.states import States
from tests.support.dialog import PROJECTS, message, orders, reference

LOADED = load_projects(PROJECTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as Faust's message shows it."""

    topic: str = topics.INBOUND
    partition: int = 1
    offset: int
    timestamp: float | None = 1_772_445_600.5
    key: bytes | None
    value: bytes | None
    headers: Headers | None


def records(envelopes: Sequence[Envelope], *, first_offset: int = 0) -> list[Record]:
    wires = [to_wire(envelope) for envelope in envelopes]
    return [
        Record(offset=first_offset + index, key=wire.key, value=wire.value, headers=wire.headers)
        for index, wire in enumerate(wires)
    ]


def fold(batch: Sequence[Record], stored: dict[bytes, Entry]) -> BatchResult:
    return fold_batch(batch, stored.get, LOADED, incarnation="one")


def fold_in_batches(batches: Sequence[Sequence[Record]]) -> tuple[list[Envelope], list[Envelope], dict[bytes, bytes]]:
    stored: dict[bytes, Entry] = {}
    outputs: list[Envelope] = []
    dead: list[Envelope] = []
    for batch in batches:
        result = fold(batch, stored)
        outputs += [envelope for _, envelope in result.outputs]
        dead += [envelope for _, envelope in result.dead]
        stored |= {key: entry for key, (_, entry) in result.entries.items()}
    return outputs, dead, {key: encode_entry(entry.state, entry.offset) for key, entry in stored.items()}


def test_an_order_comes_out_of_a_conversation():
    result = fold(records(orders(["77"])), {})
    types = [envelope.data.type for _, envelope in result.outputs]
    assert types[-2:] == ["order.placed", "reply.requested"]
    assert [envelope.stream_version for _, envelope in result.outputs] == list(range(1, 12))
    assert {partition for partition, _ in result.outputs} == {1}
    [(partition, entry)] = result.entries.values()
    assert (partition, entry.offset, entry.state.status) == (1, 4, "COMPLETED")


def test_what_was_folded_is_passed_over_when_it_is_read_again():
    line = records(orders(["77"]))
    stored = {key: entry for key, (_, entry) in fold(line[:3], {}).entries.items()}
    again = fold(line, stored)
    assert (again.duplicates, len(again.handled)) == (3, 2)
    assert [envelope.stream_version for _, envelope in again.outputs] == [8, 9, 10, 11]


def test_after_a_rebuild_what_was_folded_is_known_by_its_id():
    line = records(orders(["77"]))
    stored = {key: Entry(state=entry.state, offset=-1) for key, (_, entry) in fold(line, {}).entries.items()}
    again = fold(line, stored)
    assert (again.duplicates, again.outputs, again.entries) == (5, [], {})


def test_poison_becomes_a_dead_letter_and_holds_nobody_up(monkeypatch):
    line = records(orders(["77"]))
    line[1] = replace(line[1], value=b"\xff not JSON")
    line[2] = replace(line[2], headers=(("ce_id", b"only"),))
    result = fold(line, {})
    letters = [envelope.data for _, envelope in result.dead]
    assert [(letter.offset, letter.service) for letter in letters if isinstance(letter, RecordDeadLettered)] == [
        (1, "dialog"),
        (2, "dialog"),
    ]
    # The client's later words met the question that was still open.
    assert [envelope.data.type for _, envelope in result.outputs][3:5] == ["answer.rejected", "reply.requested"]
    assert fold(line, {}) == result


def test_a_flow_that_raises_costs_one_message_and_tells_nothing_personal(monkeypatch):
    monkeypatch.setattr("chatledger.flows.order_form.accept_address", lambda text: int(text))
    result = fold(records([message("77", 0, "hi"), message("77", 1, "Secret Street 5"), message("77", 2, "help")]), {})
    [(_, letter)] = result.dead
    assert isinstance(letter.data, RecordDeadLettered)
    assert letter.data.reason.startswith("ValueError in <lambda>")
    assert "Secret" not in letter.data.reason
    assert (letter.correlation_id, letter.conversation) == (message("77", 1, "").id, "order-form/chat2desk/77")
    assert [envelope.data.type for _, envelope in result.outputs][-1] == "reply.requested"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"conversation": "gone/chat2desk/77"}, "no project 'gone'"),
        ({"conversation": "order-form"}, "not of the form"),
    ],
)
def test_what_belongs_to_nobody_is_a_dead_letter(change, reason):
    result = fold(records([replace(message("77", 0, "hi"), **change)]), {})
    [(_, letter)] = result.dead
    assert isinstance(letter.data, RecordDeadLettered)
    assert reason in letter.data.reason


def test_a_key_that_is_not_the_conversation_is_a_dead_letter():
    [record] = records([message("77", 0, "hi")])
    [(_, letter)] = fold([replace(record, key=b"order-form/chat2desk/78")], {}).dead
    assert letter.conversation == "order-form/chat2desk/78"


def test_an_unknown_event_type_is_skipped():
    [record] = records([message("77", 0, "hi")])
    headers = tuple((name, b"picture.seen" if name == "ce_type" else value) for name, value in record.headers or ())
    result = fold([replace(record, headers=headers)], {})
    assert (result.outputs, result.dead, result.entries, result.duplicates) == ([], [], {}, 0)


@given(
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary(max_size=200),
    names=st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=20)), max_size=4),
)
def test_any_bytes_make_a_dead_letter_that_can_be_read(key, value, names):
    [(_, letter)] = fold([Record(offset=5, key=key, value=value, headers=tuple(names))], {}).dead
    wire = to_wire(letter)
    assert from_wire(wire.headers, wire.value) == letter


def test_a_value_that_would_not_fit_is_left_out_and_said_to_be():
    record = Record(offset=5, key=b"a/b/c", value=b"x" * (VALUE_BYTES_MAX + 1), headers=())
    [(_, envelope)] = fold([record], {}).dead
    letter = envelope.data
    assert isinstance(letter, RecordDeadLettered)
    assert letter.value_base64 == ""
    assert "600001 bytes" in letter.reason


WORDS = st.sampled_from(["hi", "Baker Street 221b", "+91 98765 43210", "3", "yes", "no", "back", "cancel", "??", "99"])
INPUTS = st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), WORDS), min_size=1, max_size=25)


@settings(max_examples=150)
@given(said=INPUTS, poison=st.sets(st.integers(0, 24)), twice=st.sets(st.integers(0, 24)), data=st.data())
def test_how_records_are_cut_into_batches_changes_nothing(said, poison, twice, data):
    envelopes = [message(client, number, text) for number, (client, text) in enumerate(said)]
    copies = [each for number, one in enumerate(envelopes) for each in [one] * (1 + (number in twice))]
    line = [replace(each, value=b"{") if each.offset in poison else each for each in records(copies)]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(line)), max_size=6)))
    batches = [line[start:end] for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True)]
    assert fold_in_batches(batches) == fold_in_batches([line])


class Topics:
    """A publisher that keeps what it gets, and fails when it is told to."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.fail_on: str | None = None

    async def publish(self, records: Sequence[OutgoingRecord], last_look: Callable[[], None] | None = None) -> None:
        if last_look is not None:
            last_look()
        if any(record.topic == self.fail_on for record in records):
            raise BrokerUnavailable
        self.records += records

    def on(self, topic: str) -> list[OutgoingRecord]:
        return [record for record in self.records if record.topic == topic]


def handler(broker: Topics, stored: dict[bytes, bytes]) -> BatchHandler:
    return BatchHandler(publisher=broker, states=States(stored), projects=LOADED, incarnation="one")


def owned() -> None:
    """The batch is still this worker's."""


async def test_outputs_and_dead_letters_stand_before_the_states():
    broker, stored = Topics(), dict[bytes, bytes]()
    line = records(orders(["77"]))
    await handler(broker, stored).handle([*line, replace(line[0], offset=9, value=b"{")], owned)
    assert [record.topic for record in broker.records] == [topics.DIALOG] * 11 + [topics.DEAD, topics.CHANGELOG]
    assert stored == {record.key: record.value for record in broker.on(topics.CHANGELOG)}
    expected = reference(orders(["77"]))
    assert {record.value for record in broker.on(topics.DIALOG)} == {value for _, value in expected.outputs.values()}
    assert decode_entry(stored[b"order-form/chat2desk/77"]).state == expected.states["order-form/chat2desk/77"]


@pytest.mark.parametrize("topic", [topics.DIALOG, topics.CHANGELOG])
async def test_a_broker_that_refuses_leaves_the_states_and_later_gets_the_same_events(topic):
    broker, stored = Topics(), dict[bytes, bytes]()
    line = records(orders(["77"]))
    await handler(broker, stored).handle(line[:2], owned)
    before = dict(stored)
    worker = handler(broker, stored)
    broker.fail_on = topic
    with pytest.raises(BrokerUnavailable):
        await worker.handle(line[2:], owned)
    assert stored == before
    first_try = broker.on(topics.DIALOG)[5:]
    broker.fail_on = None
    await worker.handle(line[2:], owned)
    second_try = broker.on(topics.DIALOG)[5 + len(first_try) :]
    assert len(second_try) == 6
    assert first_try in ([], second_try)


async def test_a_batch_that_was_lost_moves_no_state():
    def lost() -> None:
        raise LostOwnership

    broker, stored = Topics(), dict[bytes, bytes]()
    with pytest.raises(LostOwnership):
        await handler(broker, stored).handle(records(orders(["77"])), lost)
    assert stored == {}
    assert broker.on(topics.CHANGELOG) == []


def test_states_keep_few_of_them_decoded_and_forget_what_another_worker_may_change():
    stored: dict[bytes, bytes] = {}
    states = States(stored, decoded_max=2)
    for _, (_, entry) in fold(records(orders(["1"])), {}).entries.items():
        for key in (b"a", b"b", b"c"):
            states.put(key, entry, encode_entry(entry.state, entry.offset))
    assert len(states) == 3
    assert [states.get(key) == entry for key in (b"a", b"b", b"c")] == [True] * 3
    stored[b"c"] = encode_entry(entry.state, 99)
    assert states.get(b"c") == entry
    states.forget()
    found = states.get(b"c")
    assert found is not None
    assert found.offset == 99


def test_what_a_provider_reports_of_our_messages_is_passed_over_unread() -> None:
    said = message("77", 1, "hi")
    report = DeliveryReported(
        channel="chat2desk",
        client_id="77",
        provider_message_id="SM1",
        delivery_id=None,
        status="read",
        error=None,
        raw={},
    )
    [read, unreadable] = records([replace(said, data=report)] * 2)
    result = fold([read, replace(unreadable, value=b"not JSON")], {})
    assert result == BatchResult()
    assert fold(records([said]), {}).outputs
