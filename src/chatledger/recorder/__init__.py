"""The ledger as the event store of the library `eventsourcing`: its applications, projections and subscriptions run on
the whole history, and what they record is in the ledger as everything else is.

    class Shop(Application[UUID]):
        env = {"PERSISTENCE_MODULE": "chatledger.recorder", "CHATLEDGER_DATABASE": "postgresql://..."}

Positions are the notification ids. Events that chatledger recorded arrive as `HistoryEvent`; filter them by their type
as a topic, such as `subscribe(topics=["order.placed"])`. A projection that records events of its own into the same
ledger sees these too, so it has to name the topics that it wants.
"""

from chatledger.recorder.factory import LedgerFactory
from chatledger.recorder.recorders import LedgerAggregateRecorder, LedgerApplicationRecorder, LedgerProcessRecorder
from chatledger.recorder.stored_events import HistoryEvent, LedgerMapper

__all__ = [
    "HistoryEvent",
    "LedgerAggregateRecorder",
    "LedgerApplicationRecorder",
    "LedgerFactory",
    "LedgerMapper",
    "LedgerProcessRecorder",
]
