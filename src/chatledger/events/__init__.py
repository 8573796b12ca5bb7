"""The vocabulary: every event class, its envelope, and the codec between them and the wire.

To add an event type: a class in the module of its family, one line in that module's EVENTS.
"""

from chatledger.events import deliveries, dialog, inbound, letters, orders
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.envelope import Envelope

EVENTS: tuple[type[Event], ...] = (
    *inbound.EVENTS,
    *dialog.EVENTS,
    *orders.EVENTS,
    *deliveries.EVENTS,
    *letters.EVENTS,
)
"""Every event class that this code knows."""

__all__ = ["EVENTS", "Envelope", "Event", "UnknownEvent"]
