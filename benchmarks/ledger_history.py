"""Histories of any length for the ledger's benchmarks: one real dialogue, again and again for other clients.

Every conversation has ids, streams and offsets of its own, and all of them have the same events: a customer says five
things, the flow decides, replies are sent, the order is billed. A hundred conversations go on at a time, so a client's
events lie as far apart in the ledger as they do in a shop's busy hour. Nothing is random, and nothing takes longer than
the ledger does: a dialogue is folded once, and copied by putting other ids into its bytes.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, islice

from chatledger.events.codec import Headers
from chatledger.ports import ConsumedRecord
from tests.support.ledger import as_records, conversation_of, history

CLIENT = "10000000"
EVENTS_PER_CONVERSATION = 24
CONVERSATIONS_AT_A_TIME = 100
PARTITIONS = 4

_FIELD, _PAIR = b"\x1e", b"\x1f"
_ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TRACE = rb"[0-9a-f]{32}-[0-9a-f]{16}(?=-01)"


class Dialogue:
    """One conversation of a customer, to be had with any number of clients."""

    def __init__(self) -> None:
        records = as_records(history(CLIENT))
        assert len(records) == EVENTS_PER_CONVERSATION
        self._topics = [record.topic for record in records]
        self._names = [[name for name, _ in record.headers] for record in records]
        blob = _FIELD.join(
            _PAIR.join([record.value or b"", *(value for _, value in record.headers)]) for record in records
        )
        found = dict.fromkeys(re.findall(_ID, blob))
        self._ids = {id_: number for number, id_ in enumerate(found)}
        traces = {id_.replace(b"-", b""): number for id_, number in self._ids.items()}
        self._slots: list[int] = []

        def slot(match: re.Match[bytes]) -> bytes:
            found = match.group()
            if found == CLIENT.encode():
                self._slots.append(0)
            elif found in self._ids:
                self._slots.append(1 + self._ids[found])
            else:
                self._slots.append(1 + len(self._ids) + traces[found[:32]])
            return b"%b"

        pattern = b"|".join((_ID, _TRACE, CLIENT.encode()))
        self._blob = re.sub(pattern, slot, blob.replace(b"%", b"%%"))

    def with_client(self, number: int) -> Iterator[tuple[str, bytes, Headers]]:
        """Topic, value and headers of each record of the conversation with the client of that number."""
        bits = random.Random(number)
        traces = [b"%032x" % bits.getrandbits(128) for _ in self._ids]
        ids = [b"-".join((each[:8], each[8:12], each[12:16], each[16:20], each[20:])) for each in traces]
        words = [client_of(number).encode(), *ids, *(each + b"-" + each[:16] for each in traces)]
        parts = (self._blob % tuple([words[each] for each in self._slots])).split(_FIELD)
        for topic, names, fields in zip(self._topics, self._names, parts, strict=True):
            value, *headers = fields.split(_PAIR)
            yield topic, value, tuple(zip(names, headers, strict=True))


def client_of(number: int) -> str:
    """The id of the client of that number."""
    return str(int(CLIENT) + number)


def records(*, first_client: int = 0) -> Iterator[ConsumedRecord]:
    """An endless history: a hundred clients at a time, each of them one event further in turn."""
    dialogue = Dialogue()
    offsets: dict[tuple[str, int], Iterator[int]] = defaultdict(count)
    for start in count(first_client, CONVERSATIONS_AT_A_TIME):
        clients = range(start, start + CONVERSATIONS_AT_A_TIME)
        keys = [conversation_of(client_of(number)).encode() for number in clients]
        for step in zip(*map(dialogue.with_client, clients), strict=True):
            for number, key, (topic, value, headers) in zip(clients, keys, step, strict=True):
                partition = number % PARTITIONS
                yield ConsumedRecord(
                    topic=topic,
                    partition=partition,
                    offset=next(offsets[topic, partition]),
                    key=key,
                    value=value,
                    headers=headers,
                )


def batches(history: Iterator[ConsumedRecord], size: int) -> Iterator[list[ConsumedRecord]]:
    """The history in batches of `size`, as the recorder takes them in."""
    while True:
        yield list(islice(history, size))
