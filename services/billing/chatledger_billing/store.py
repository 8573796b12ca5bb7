"""The event store of the aggregates: an `eventsourcing` application over Postgres, or over memory in tests.

It is configured by its argument alone. POSTGRES_ENABLE_DB_FUNCTIONS stays off: with it inserts take no table lock, and
a reader that follows the notification log loses events. There are no snapshots and no cache: streams are short.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import ApplicationRecorder, Mapper, StoredEvent, Tracking, Transcoder
from eventsourcing.utils import Environment, EnvType

from chatledger.events.base import Event
from chatledger.events.codec import decode_data, parse_time
from chatledger.ports import TopicPartition
from chatledger_billing import invoices, orders
from chatledger_billing.decisions import Cause, Decision
from chatledger_billing.invoices import Invoice
from chatledger_billing.numbering import NumberRegister, NumbersGiven, Series
from chatledger_billing.orders import Order
from chatledger_billing.recorders import DATABASE_URL, BatchRecorder

SCHEMA = "billing"
TABLE_PREFIX = "aggregate"
"""The library's tables are billing.aggregate_events and billing.aggregate_tracking."""
CONNECTIONS_MAX = 2


class _Json(Transcoder):
    """JSON by orjson, which writes the event classes without a detour."""

    def encode(self, obj: object) -> bytes:
        return orjson.dumps(obj)

    def decode(self, data: bytes) -> object:
        return orjson.loads(data)


class DecisionMapper(Mapper[str]):
    """Decision to stored row and back: the topic is the event's type, the state its JSON with its cause."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """Encode one decision."""
        decision = cast("Decision", domain_event)
        cause = decision.cause
        state = {
            "conversation": cause.conversation,
            "time": cause.time,
            "correlation_id": cause.correlation_id,
            "causation_id": cause.causation_id,
            "traceparent": cause.traceparent,
            "schema_version": decision.event.version,
            "data": decision.event,
        }
        return StoredEvent(
            originator_id=decision.originator_id,
            originator_version=decision.originator_version,
            topic=decision.event.type,
            state=self.transcoder.encode(state),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Decode one decision, lifting an event of an older schema version."""
        state = self.transcoder.decode(stored_event.state)
        data = state["data"]
        event: Event
        if stored_event.topic == NumbersGiven.type:
            event = NumbersGiven(first=data["first"], invoice_ids=tuple(data["invoice_ids"]))
        else:
            event = decode_data(stored_event.topic, state["schema_version"], self.transcoder.encode(data))
        cause = Cause(
            conversation=state["conversation"],
            time=parse_time(state["time"]),
            correlation_id=state["correlation_id"],
            causation_id=state["causation_id"],
            traceparent=state["traceparent"],
        )
        return Decision(
            originator_id=str(stored_event.originator_id),
            originator_version=stored_event.originator_version,
            cause=cause,
            event=event,
        )


def decision_mapper() -> DecisionMapper:
    """Return the mapper, for who reads stored rows without a store."""
    return DecisionMapper(_Json())


class BillingStore(Application[str]):
    """Saves decisions with the positions that they come from; reads aggregates and the notification log."""

    name = TABLE_PREFIX
    recorder: BatchRecorder

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Take the argument and nothing else: the process's environment is not asked."""
        return Environment(name, dict(env or {}))

    def construct_mapper(self) -> Mapper[str]:
        """Ours, over orjson."""
        return decision_mapper()

    def construct_recorder(self) -> ApplicationRecorder:
        """One that saves positions too."""
        return self.factory.process_recorder()

    def record(self, decisions: Sequence[Decision], trackings: Sequence[Tracking]) -> None:
        """Save all in one transaction. Raises the library's IntegrityError when somebody else was first."""
        self.save(*decisions, trackings=trackings)

    def existing(self, order_ids: Iterable[str]) -> set[str]:
        """Return those of `order_ids` that are orders already."""
        streams = {orders.order_stream(order_id): order_id for order_id in order_ids}
        return {streams[stream] for stream in self.recorder.existing(list(streams))} if streams else set()

    def register(self, series: Series, project: str, year: int) -> NumberRegister:
        """Return the register of a series, a project and a year as it stands."""
        register = NumberRegister(series=series, project=project, year=year)
        for newest in self._decisions(register.stream, newest_only=True):
            assert isinstance(newest.event, NumbersGiven)
            return register.after(newest.originator_version, newest.event)
        return register

    def stream(self, name: str, *, until: int | None = None) -> list[Decision]:
        """Return the decisions of a stream, oldest first, up to and including version `until`."""
        return list(self._decisions(name, until=until))

    def order(self, order_id: str) -> Order | None:
        """Return an order folded from its events, None where there is none."""
        return order_of(self.stream(orders.order_stream(order_id)))

    def invoice(self, invoice_id: str) -> Invoice | None:
        """Return an invoice folded from its events, None where there is none."""
        return invoice_of(self.stream(invoices.invoice_stream(invoice_id)))

    def follow(self, after: int, limit: int) -> list[tuple[int, Decision]]:
        """Return the next decisions of the notification log, each with its place in it."""
        notifications = self.recorder.select_notifications(after, limit, inclusive_of_start=False)
        return [(each.id, cast("Decision", self.mapper.to_domain_event(each))) for each in notifications]

    def next_offset(self, incarnation: str, partition: TopicPartition) -> int | None:
        """Return the next offset to read of a partition, None where nothing was read."""
        return self.recorder.max_tracking_id(_tracking_name(incarnation, partition))

    def _decisions(self, stream: str, *, newest_only: bool = False, until: int | None = None) -> Iterable[Decision]:
        events = self.events.get(stream, lte=until, desc=newest_only, limit=1 if newest_only else None)
        return cast("Iterable[Decision]", events)


def order_of(decisions: Iterable[Decision]) -> Order | None:
    """Fold the stream of an order; None where it is empty."""
    order = None
    for decision in decisions:
        order = orders.evolve(order, decision.event)
    return order


def invoice_of(decisions: Iterable[Decision]) -> Invoice | None:
    """Fold the stream of an invoice; None where it is empty."""
    invoice = None
    for decision in decisions:
        invoice = invoices.evolve(invoice, decision.event)
    return invoice


def tracking(incarnation: str, partition: TopicPartition, next_offset: int) -> Tracking:
    """Return the library's form of a position. It counts from 1, as the next offset does after the first record."""
    return Tracking(_tracking_name(incarnation, partition), next_offset)


def _tracking_name(incarnation: str, partition: TopicPartition) -> str:
    return f"{incarnation}:{partition.topic}:{partition.partition}"


def memory_store() -> BillingStore:
    """Return an empty store in memory."""
    return BillingStore({"PERSISTENCE_MODULE": "chatledger_billing.recorders:MemoryFactory"})


def postgres_store(
    url: str, *, create_tables: bool = False, connect_timeout_s: int = 30, checks_connections: bool = False
) -> BillingStore:
    """Return the store in the database at `url`; its owner closes it. Tables are made under the migration lock.

    It connects at once. With `checks_connections` one that Postgres closed meanwhile is found before it is used.
    """
    return BillingStore(
        {
            "PERSISTENCE_MODULE": "chatledger_billing.recorders:UrlFactory",
            DATABASE_URL: url,
            # The library asks for each; the factory connects by the whole URL instead.
            "POSTGRES_DBNAME": "",
            "POSTGRES_HOST": "",
            "POSTGRES_USER": "",
            "POSTGRES_PASSWORD": "",
            "POSTGRES_SCHEMA": SCHEMA,
            "POSTGRES_POOL_SIZE": "1",
            "POSTGRES_CONNECT_TIMEOUT": str(connect_timeout_s),
            "POSTGRES_PRE_PING": "yes" if checks_connections else "no",
            "POSTGRES_MAX_OVERFLOW": str(CONNECTIONS_MAX - 1),
            "ORIGINATOR_ID_TYPE": "text",
            "POSTGRES_ENABLE_DB_FUNCTIONS": "no",
            "CREATE_TABLE": "yes" if create_tables else "no",
        }
    )
