"""The library's own recorder tests over `ledger.events`, and its applications and projections on the whole history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.tests import persistence as library
from eventsourcing.utils import Environment
from hypothesis import given
from hypothesis import strategies as st

from chatledger.events.dialog import OrderPlaced
from chatledger.ports import Selection
from chatledger.recorder import (
    HistoryEvent,
    LedgerAggregateRecorder,
    LedgerApplicationRecorder,
    LedgerFactory,
    LedgerProcessRecorder,
)
from chatledger.recorder.stored_events import row_of, state_of_row
from chatledger_ledger.verification import verify
from tests.support.ledger import as_records, history, open_ledger

JSON_OBJECTS = st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63) | st.none() | st.booleans())


class OverTheLedger(library.RecorderTestCase):
    """Gives each test of the library an empty ledger, and closes what it opened."""

    url: str
    environment: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _on_a_database(self, postgres_url: str) -> Iterator[None]:
        with ExitStack() as opened:
            self.opened = opened
            self.url = postgres_url
            yield

    def factory(self) -> LedgerFactory:
        found = InfrastructureFactory.construct(environment_of(self.url))
        assert isinstance(found, LedgerFactory)
        self.opened.callback(found.close)
        return found


class TestAggregateRecorder(OverTheLedger, library.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory().aggregate_recorder()


class TestSnapshotRecorder(OverTheLedger, library.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory().aggregate_recorder("snapshots")


class TestApplicationRecorder(OverTheLedger, library.ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OverTheLedger, library.TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory().tracking_recorder()


class TestProcessRecorder(OverTheLedger, library.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory().process_recorder()


class TestNotificationsDoNotInterleave(OverTheLedger, library.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory().application_recorder()


class TestFactory(library.InfrastructureFactoryTestCase[LedgerFactory]):
    @pytest.fixture(autouse=True)
    def _on_a_database(self, postgres_url: str) -> None:
        self.env = Environment("TestCase", environment_of(postgres_url))

    def expected_factory_class(self) -> type[LedgerFactory]:
        return LedgerFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return LedgerAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return LedgerApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return OrderCounts

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return LedgerProcessRecorder


class Parcel(Aggregate):
    """An aggregate of somebody else's application."""

    def __init__(self, *, to: str) -> None:
        self.to = to
        self.places: list[str] = []

    @event("Seen")
    def see(self, place: str) -> None:
        self.places.append(place)


class Parcels(Application[UUID]):
    """Somebody else's application over the ledger."""

    is_snapshotting_enabled = True


class OrderCounts(PostgresTrackingRecorder):
    """A view: orders by project, counted in memory, with the position in Postgres."""

    counts: ClassVar[dict[str, int]] = {}


class CountOrders(Projection[OrderCounts]):
    """A projection of chatledger's history."""

    name = "order_counts"
    topics = ("order.placed",)

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        assert isinstance(domain_event, HistoryEvent)
        assert isinstance(domain_event.event.envelope.data, OrderPlaced)
        project = domain_event.event.envelope.conversation.split("/")[0]
        self.view.counts[project] = self.view.counts.get(project, 0) + 1
        self.view.insert_tracking(tracking)


async def test_a_projection_runs_on_the_whole_history_and_on_what_comes(postgres_url):
    OrderCounts.counts.clear()
    async with open_ledger(postgres_url) as ledger:
        await ledger.append(as_records([*history("1"), *history("2", ["hi", "Baker Street 221b"]), *history("3")]))
        placed = [event.position async for event in ledger.read(Selection(types=("order.placed",)))]
        with ProjectionRunner(
            application_class=Parcels,
            projection_class=CountOrders,
            view_class=OrderCounts,
            env=environment_of(postgres_url),
        ) as runner:
            runner.wait(placed[-1], timeout=10)
            assert OrderCounts.counts == {"order-form": 2}
            await ledger.append(as_records(history("4", invoice=3), first_offset=1_000))
            newest = [event.position async for event in ledger.read(Selection(types=("order.placed",)))][-1]
            runner.wait(newest, timeout=10)
        assert OrderCounts.counts == {"order-form": 3}


async def test_an_application_of_the_library_records_into_the_ledger_and_reads_back(postgres_url):
    with Parcels(environment_of(postgres_url)) as parcels:
        parcel = Parcel(to="Baker Street 221b")
        parcel.see("Pune")
        parcels.save(parcel)
        parcel.see("Mumbai")
        parcels.save(parcel)
        parcels.take_snapshot(parcel.id)
        known: Parcel = parcels.repository.get(parcel.id)
        assert (known.to, known.places) == ("Baker Street 221b", ["Pune", "Mumbai"])
        assert parcels.repository.get(parcel.id, version=2).places == ["Pune"]
    async with open_ledger(postgres_url) as ledger:
        recorded = [each async for each in ledger.read()]
        assert [each.envelope.stream_version for each in recorded] == [1, 2, 3]
        assert {each.envelope.stream for each in recorded} == {str(parcel.id)}
        # What happened when is the domain event's own time, so that it lies in history where it belongs.
        assert [each.envelope.time for each in recorded][-1] == parcel.modified_on
        # chatledger keeps and shows them, and its folds pass over them.
        await ledger.append(as_records(history("1")))
        everything = [each async for each in ledger.read()]
    assert (await verify(postgres_url, broker=None)).violations == 0
    with Parcels(environment_of(postgres_url)) as parcels:
        log = parcels.recorder.select_notifications(start=None, limit=1_000)
    assert [each.id for each in log] == [each.position for each in everything]


async def test_two_that_decide_about_one_aggregate_at_once_do_not_both_win(postgres_url):
    with Parcels(environment_of(postgres_url)) as parcels:
        parcel = Parcel(to="Baker Street 221b")
        parcels.save(parcel)
        one: Parcel = parcels.repository.get(parcel.id)
        other: Parcel = parcels.repository.get(parcel.id)
        one.see("Pune")
        other.see("Mumbai")
        parcels.save(one)
        with pytest.raises(IntegrityError):
            parcels.save(other)


def test_the_ledger_refuses_changes_from_here_as_well(postgres_url):
    with Parcels(environment_of(postgres_url)) as parcels:
        parcels.save(Parcel(to="Baker Street 221b"))
    with psycopg.connect(postgres_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM ledger.events")


def test_a_ledger_that_is_missing_is_an_error_where_tables_are_not_to_be_made(postgres_url):
    with (
        Parcels({**environment_of(postgres_url), "CREATE_TABLE": "no"}) as parcels,
        pytest.raises(Exception, match="ledger"),
    ):
        parcels.save(Parcel(to="Baker Street 221b"))


@given(st.binary() | JSON_OBJECTS.map(orjson.dumps))
def test_every_state_comes_back(state):
    stored = StoredEvent(originator_id=uuid4(), originator_version=1, topic="a:B", state=state)
    row = row_of(stored)
    assert state_of_row({"topic": "eventsourcing", "data": row.data, "metadata": row.metadata}) == state


def environment_of(url: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "chatledger.recorder",
        "CHATLEDGER_DATABASE": url,
        "POSTGRES_POOL_SIZE": "2",
        "POSTGRES_MAX_OVERFLOW": "10",
    }
