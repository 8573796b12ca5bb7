"""The vocabulary: every event class, its envelope, and the codec between them and the wire.

To add an event type: a class in the module of its family, one line in that module's EVENTS.
"""

from chatledger.events import cart, deliveries, dialog, inbound, inventory, letters, orders, outreach
from chatledger.events.base import Event, UnknownEvent
from chatledger.events.envelope import Envelope

EVENTS: tuple[type[Event], ...] = (
    *inbound.EVENTS,
    *dialog.EVENTS,
    *cart.EVENTS,
    *orders.EVENTS,
    *deliveries.EVENTS,
    *outreach.EVENTS,
    *inventory.EVENTS,
    *letters.EVENTS,
)
"""Every event class that this code knows."""

__all__ = ["EVENTS", "Envelope", "Event", "UnknownEvent"]
