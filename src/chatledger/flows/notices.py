"""Something unasked that is due: said to the client, or withheld, whatever the flow.

Only the conversation knows what the client wants at this moment, in order with all that the client wrote: whether
promotions are unwanted, whether the reason for a reminder is still there. So it decides here, when the notice comes in.
"""

from __future__ import annotations

from collections.abc import Mapping

from chatledger.conversation import Conversation
from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.inbound import NoticeDue
from chatledger.projects import Project

CART_ABANDONED, PAYMENT_DUE = "cart_abandoned", "payment_due"
"""The purposes whose reason the conversation knows."""

REMINDER_TEXTS: Mapping[str, frozenset[str]] = {
    "reminder_payment_due": frozenset({"number", "total", "due_on"}),
    "reminder_cart_abandoned": frozenset({"items", "total"}),
    "reminder_cart_abandoned_one": frozenset({"total"}),
    "reminder_order_follow_up": frozenset({"number"}),
    "reminder_restock": frozenset({"product"}),
}
"""What a project that reminds its clients says, and with which variables; `texts/reminders.yaml` has what ships."""


def decide_notice(state: Conversation, cause: Envelope, project: Project) -> list[Event]:
    """Return what happens because of a NoticeDue."""
    notice = cause.data
    assert isinstance(notice, NoticeDue)
    withheld = _reason_against(state, notice)
    decided = dialog.NoticeDecided(regarding=notice.regarding, purpose=notice.purpose, withheld=withheld)
    if withheld is not None:
        return [decided]
    _, channel, client_id = cause.conversation.split("/", 2)
    reply = dialog.ReplyRequested(
        channel=channel,
        client_id=client_id,
        text=notice.text,
        reply_to={},
        purpose=notice.purpose,
        regarding=notice.regarding,
        last_message_at=state.last_message_at,
        template=dialog.MessageTemplate(content_sid=notice.content_sid, variables=notice.variables),
    )
    return [decided, *_dropped_choices(state, notice), reply]


def _dropped_choices(state: Conversation, notice: NoticeDue) -> list[Event]:
    """A reminder of the cart asks for a 1 to order it: a 1 must not answer an older question then."""
    if notice.purpose != CART_ABANDONED or state.shop is None:
        return []
    return [cart.ChoiceMade(sku=None) for _ in state.shop.choices]


def _reason_against(state: Conversation, notice: NoticeDue) -> str | None:
    if notice.promotional and state.opted_out:
        return "opted_out"
    shop = state.shop
    if notice.purpose == CART_ABANDONED and (shop is None or not shop.cart):
        return "no_cart"
    if notice.purpose == PAYMENT_DUE and shop is not None and shop.invoice is not None:
        invoice = shop.invoice
        if notice.about == invoice.invoice_id and invoice.status in ("paid", "void"):
            return invoice.status
    return None
