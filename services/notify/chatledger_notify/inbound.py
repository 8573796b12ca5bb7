"""What records of chat.inbound mean to this service: reports, and when clients wrote. Pure.

Most of them mean nothing to it: that is told by a header and the key, without decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from chatledger.errors import UndecodableRecord
from chatledger.events.codec import Headers, from_wire, parse_time
from chatledger.events.envelope import Envelope, is_conversation, project_of
from chatledger.events.inbound import DeliveryReported, MessageReceived
from chatledger.ports import ConsumedRecord
from chatledger_notify.reports import Report

REPORTED, RECEIVED = DeliveryReported.type.encode(), MessageReceived.type.encode()

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class News:
    """What a batch tells: reports by their id, and when each client last wrote."""

    reports: dict[str, Report] = field(default_factory=dict)
    clients: dict[str, datetime] = field(default_factory=dict)


def read_news(records: Iterable[ConsumedRecord], windowed: Collection[bytes]) -> News:
    """Pick out what concerns us. `windowed` are the channels that ask when a client last wrote.

    What is not readable is the dialog's to put aside: it reads the same topic, whole.
    """
    news = News()
    for record in records:
        kind = _type(record.headers)
        try:
            if kind == RECEIVED:
                if _channel(record.key) in windowed:
                    _note_client(record, news)
            elif kind == REPORTED:
                _read_report(record, news)
        except (UndecodableRecord, ValueError, KeyError) as wrong:
            _log.warning("record.unreadable", topic=record.topic, offset=record.offset, reason=type(wrong).__name__)
    return news


def _type(headers: Headers) -> bytes | None:
    for name, value in headers:
        if name == "ce_type":
            return value
    return None


def _channel(key: bytes | None) -> bytes:
    parts: Sequence[bytes] = (key or b"").split(b"/", 2)
    return parts[1] if len(parts) == 3 else b""


def _note_client(record: ConsumedRecord, news: News) -> None:
    conversation, time = (record.key or b"").decode(), parse_time(dict(record.headers)["ce_time"].decode())
    news.clients[conversation] = max(time, news.clients.get(conversation, time))


def _read_report(record: ConsumedRecord, news: News) -> None:
    report = report_of(from_wire(record.headers, record.value), record.partition)
    if report is not None:
        news.reports.setdefault(report.id, report)


def report_of(envelope: Envelope, partition: int) -> Report | None:
    """Return what a provider reports by this event, None where it reports nothing; `partition` is the event's."""
    event = envelope.data
    if not (isinstance(event, DeliveryReported) and is_conversation(envelope.conversation)):
        return None
    return Report(
        id=envelope.id,
        partition=partition,
        project=project_of(envelope.conversation),
        channel=event.channel,
        delivery_id=event.delivery_id,
        provider_message_id=event.provider_message_id,
        status=event.status,
        error=event.error,
        reported_at=envelope.time,
    )
