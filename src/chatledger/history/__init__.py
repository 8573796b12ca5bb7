"""History for Python: the ledger as events, tables and folded states, for notebooks and scripts of one's own.

    import chatledger.history

    with chatledger.history.open("postgresql://localhost/chatledger") as history:
        orders = history.events(types=["order.placed"], since="2026-11-01")
        for event in orders:
            print(event.position, event.envelope.conversation, event.envelope.data.order_number)
        messages = history.messages(project="store").to_polars()

`subscribe` goes on from there: asynchronous, it tells each event as it is recorded, and resumes where it was.

It reads with the rights of the role chatledger_reader and can change nothing. Tables as Arrow, pandas or polars need
the extra: pip install 'chatledger[analytics]'. docs/exports.md lists the columns.
"""

from chatledger.history.pseudonyms import Pseudonyms
from chatledger.history.queries import EventQuery, Query
from chatledger.history.reader import History, Moment
from chatledger.history.reader import open_history as open  # noqa: A004 - as gzip.open and the like: read with its module
from chatledger.history.rows import ConversationRow, EventRow, MessageRow
from chatledger.history.subscription import PositionFile, Subscription, subscribe

__all__ = [
    "ConversationRow",
    "EventQuery",
    "EventRow",
    "History",
    "MessageRow",
    "Moment",
    "PositionFile",
    "Pseudonyms",
    "Query",
    "Subscription",
    "open",
    "subscribe",
]
