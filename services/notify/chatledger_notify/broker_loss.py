"""This service when its broker was replaced: outcomes, rises of status and timers that the ledger lacks.

A delivery's row outlives its broker, so nothing is sent a second time. An outcome is published again from its row. A
rise is not kept once it is published: the row is taken back to what history says of it, and the reports that history
has of it are folded again. A timer that fired is not kept either: it is set again, and fires again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from chatledger.adapters.broker_loss import (
    ROWS_AT_ONCE,
    History,
    Mended,
    NeededEvent,
    ServiceAtLoss,
    lock_is_free,
)
from chatledger.adapters.postgres import Connection
from chatledger.adapters.sql_files import named_statements
from chatledger.events.codec import encode_data
from chatledger.events.deliveries import MessageDelivered, MessageRead, MessageUndelivered
from chatledger.events.dialog import ReplyRequested, TimerRequested
from chatledger.events.ids import derive_id
from chatledger.events.inbound import DeliveryReported, DeliveryStatus
from chatledger.topics import DIALOG, INBOUND, PARTITIONS
from chatledger_notify.deliveries import SOURCE
from chatledger_notify.handlers import SERVICE
from chatledger_notify.inbound import report_of
from chatledger_notify.ownership import LOCK
from chatledger_notify.report_store import report_columns
from chatledger_notify.sql import named_queries
from chatledger_notify.store import timer_columns
from chatledger_notify.timers import timer_of

REPORTED_BY: dict[str, DeliveryStatus] = {
    MessageDelivered.type: "delivered",
    MessageRead.type: "read",
    MessageUndelivered.type: "failed",
}
"""What a provider had reported for a delivery's last event to be of this type."""

_QUERIES = named_statements("chatledger_notify.sql", "broker_loss.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyAtLoss(ServiceAtLoss):
    """Deliveries, their statuses, and timers."""

    async def is_alone(self, connection: Connection) -> bool:
        """Take the lock of every partition; False where a process has one."""
        return all([await lock_is_free(connection, LOCK, number) for number in range(PARTITIONS)])

    async def mend(self, connection: Connection, history: History) -> Mended:
        """Let publish again what the ledger lacks, as far as that is known."""
        mended = Mended()
        await _publish_outcomes_again(connection, history, mended)
        await _fold_reports_again(connection, history, mended)
        await _set_timers_again(connection, history, mended)
        return mended


async def _publish_outcomes_again(connection: Connection, history: History, mended: Mended) -> None:
    async for rows in _pages(connection, "ended_back"):
        outcomes = {derive_id(row[1], SOURCE, 0): row for row in rows}
        lacking = [outcomes[each] for each in sorted(await history.missing(list(outcomes)))]
        lost = [row for row in lacking if row[5] is not None]
        if lost:
            columns = {
                "ids": [row[1] for row in lost],
                "replies": [_without_text(conversation=row[2], channel=row[3], regarding=row[4]) for row in lost],
                "version": ReplyRequested.version,
            }
            await connection.execute(_QUERIES["unmark_published"], columns)
        mended.again += len(lost)
        _is_to_come(mended, [(row[1], row[2]) for row in lacking])
    rows = await (await connection.execute(_QUERIES["waiting_requests"])).fetchall()
    _is_to_come(mended, [(row[0], row[1]) for row in rows])


def _is_to_come(mended: Mended, requests: list[tuple[str, str]]) -> None:
    """Note outcomes by the id and the conversation of what asked for them."""
    for event_id, conversation in requests:
        mended.coming.add(derive_id(event_id, SOURCE, 0))
        mended.needed.append(NeededEvent(event_id=event_id, event_type=ReplyRequested.type, conversation=conversation))


async def _fold_reports_again(connection: Connection, history: History, mended: Mended) -> None:
    taken_back: dict[str, str] = {}
    async for rows in _pages(connection, "risen_back"):
        known = await history.newest_of([f"delivery-{row[1]}" for row in rows])
        back = []
        for _, delivery_id, version, provider_message_id, _, unpublished in rows:
            recorded, event_type = known.get(f"delivery-{delivery_id}", (0, ""))
            if version - max(recorded, 1) > unpublished:
                back.append((delivery_id, max(recorded, 1), REPORTED_BY.get(event_type)))
                taken_back[delivery_id] = provider_message_id
                mended.again += version - max(recorded, 1) - unpublished
        if back:
            await connection.execute(_QUERIES["take_standings_back"], tuple(map(list, zip(*back, strict=True))))
            await connection.execute(_QUERIES["forget_rises_of"], ([delivery_id for delivery_id, *_ in back],))
    if taken_back:
        provider_ids = sorted(filter(None, taken_back.values()))
        told = await history.reports_of(sorted(taken_back), provider_ids)
        found = [report for each in told if (report := report_of(each.envelope, each.partition))]
        await connection.execute(named_queries()["save_reports"], report_columns(found))
        mended.coming |= {derive_id(each.id, SOURCE, 0) for each in found}
    for report_id, conversation in await (await connection.execute(_QUERIES["rises"])).fetchall():
        mended.coming.add(derive_id(report_id, SOURCE, 0))
        mended.needed.append(
            NeededEvent(event_id=report_id, event_type=DeliveryReported.type, conversation=conversation)
        )


async def _set_timers_again(connection: Connection, history: History, mended: Mended) -> None:
    rows = await (await connection.execute(_QUERIES["timers"])).fetchall()
    there = {(conversation, kind) for conversation, kind, _ in rows}
    pending = {}
    for event in await history.pending_timers():
        asked = event.envelope.data
        if isinstance(asked, TimerRequested) and (event.envelope.conversation, asked.kind) not in there:
            pending[derive_id(event.envelope.id, "fired")] = timer_of(event.envelope, asked, event.partition)
    lost = [pending[each] for each in sorted(await history.missing(list(pending)))]
    if lost:
        await connection.execute(named_queries()["save_timers"], timer_columns(lost))
    mended.again += len(lost)
    for conversation, timer_id in [
        *((conversation, timer_id) for conversation, _, timer_id in rows),
        *((timer.conversation, timer.timer_id) for timer in lost),
    ]:
        mended.coming.add(derive_id(timer_id, "fired"))
        mended.needed.append(NeededEvent(event_id=timer_id, event_type=TimerRequested.type, conversation=conversation))


async def _pages(connection: Connection, name: str) -> AsyncIterator[list[Any]]:
    page: dict[str, object] = {"before": None, "limit": ROWS_AT_ONCE}
    while rows := await (await connection.execute(_QUERIES[name], page)).fetchall():
        page["before"] = rows[-1][0]
        yield rows


def _without_text(*, conversation: str, channel: str, regarding: str | None) -> str:
    """Return the data of a reply as far as its outcome's event needs it."""
    client = conversation.split("/", 2)[2]
    return encode_data(
        ReplyRequested(channel=channel, client_id=client, text="", reply_to={}, regarding=regarding)
    ).decode()


AT_LOSS = NotifyAtLoss(name=SERVICE, topics=(INBOUND, DIALOG))
