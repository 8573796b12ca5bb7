"""A store's orders after they were placed: what the client asks of them, and what billing and the clock tell.

What is said because of another input than a client's message carries its purpose, and when the client last wrote, so
that the channel can tell whether free text is still allowed.
"""

from __future__ import annotations

from datetime import timedelta

from chatledger.conversation import Conversation
from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import ORDER_NUMBER_ALPHABET
from chatledger.events.inbound import InvoiceReported, OrderReported, TimerFired
from chatledger.events.money import Money, format_money
from chatledger.events.orders import InvoiceDocument
from chatledger.flows.invoice_text import format_day, invoice_text
from chatledger.flows.store_cart import Taking
from chatledger.flows.store_catalogue import product_of
from chatledger.flows.store_texts import ORDER_STATUSES
from chatledger.flows.store_turn import TEXT_SHOWN_MAX, StoreTurn, discounts_of, shortened
from chatledger.pricing import amounts
from chatledger.projects import Project
from chatledger.shop import CART_TIMER, KnownOrder, Shop

ORDER_UPDATE, INVOICE = "order_update", "invoice"
"""The purposes of what is said because of billing; a project's templates go by them."""
CANCELLABLE = frozenset({"placed", "draft", "confirmed", "processing"})
ORDERS_SHOWN_MAX = 5
_READ_ALIKE = str.maketrans("OILU", "011V")
"""What people write for a digit or letter of an order's number, whose alphabet has neither I, L, O nor U."""


def status(turn: StoreTurn) -> list[Event]:
    """Tell how the client's orders stand, the newest first."""
    orders = turn.shop.orders[-ORDERS_SHOWN_MAX:][::-1]
    if not orders:
        return [turn.reply("status_none")]
    lines = [
        turn.with_text("status_line", number=order.number, status=_status_text(turn, order.status)) for order in orders
    ]
    return [turn.reply("status", lines="\n".join(lines))]


def invoice(turn: StoreTurn) -> list[Event]:
    """Send the newest invoice, as it stands now."""
    known = turn.shop.invoice
    if known is None:
        return [turn.reply("invoice_none")]
    return [turn.say(invoice_text(known, turn.project, turn.language))]


def repeat(turn: StoreTurn) -> list[Event]:
    """Put what was ordered last into the cart, at today's prices."""
    last = next((order for order in reversed(turn.shop.orders) if order.lines), None)
    if last is None:
        return [turn.reply("repeat_none")]
    taking = Taking(store=turn.store, shop=turn.shop)
    for line in last.lines:
        product = product_of(turn.store, line.sku)
        if product is None:
            taking.refuse(line.name, "unknown")
        else:
            taking.put(line.name, line.quantity, product)
    events = taking.events()
    before = [turn.refusals(taking.refused)] if taking.refused else []
    return [*events, turn.ask_about(turn.shop_after(events), *before)]


def cancel_order(turn: StoreTurn, written: str) -> list[Event]:
    """Ask billing to cancel an order, unless it is too late. The number may be written as people read it."""
    order = order_of(turn.shop, written)
    if order is None:
        return [turn.reply("cancel_unknown", text=shortened(written, TEXT_SHOWN_MAX))]
    if order.status not in CANCELLABLE:
        return [turn.reply("cancel_too_late", number=order.number, status=_status_text(turn, order.status))]
    requested = dialog.CancellationRequested(order_id=order.order_id, order_number=order.number)
    return [requested, turn.reply("cancel_asked", number=order.number)]


def on_order(state: Conversation, cause: Envelope, project: Project) -> list[Event]:
    """Note how an order stands, and tell the client what matters to them, once."""
    told = cause.data
    assert isinstance(told, OrderReported)
    noted = dialog.OrderNoted(
        order_id=told.order_id,
        order_number=told.order_number,
        status=told.status,
        reason=told.reason,
        refused=told.refused,
    )
    language = project.language(state.language)
    variables = {"number": told.order_number, "status": status_text(told.status, project, language)}
    known = next((order for order in _shop(state).orders if order.order_id == told.order_id), None)
    if told.refused is not None:
        text = project.text(language, "cancel_too_late", **variables)
    elif told.status in ("processing", "shipped", "delivered", "cancelled") and not (
        known and known.status == told.status
    ):
        text = project.text(language, f"order_{told.status}", number=told.order_number)
    else:
        return [noted]
    return [noted, _unasked(state, cause, text, ORDER_UPDATE, variables)]


def on_invoice(state: Conversation, cause: Envelope, project: Project) -> list[Event]:
    """Note what an invoice says, and tell the client: of a payment once, though it may be the last one."""
    told = cause.data
    assert isinstance(told, InvoiceReported)
    noted = dialog.InvoiceNoted(because=told.because, invoice=told.invoice)
    language = project.language(state.language)
    variables = _invoice_variables(told.invoice, project, language)
    if told.because == "invoice.issued":
        confirmed = project.text(language, "order_confirmed", number=told.invoice.order_number)
        order = {"number": told.invoice.order_number, "status": status_text("confirmed", project, language)}
        text = invoice_text(told.invoice, project, language)
        return [
            noted,
            _unasked(state, cause, confirmed, ORDER_UPDATE, order),
            _unasked(state, cause, text, INVOICE, variables),
        ]
    key = _INVOICE_TEXTS.get(told.because)
    if key is None:
        return [noted]
    if key == "payment_received" and told.invoice.paid_minor >= told.invoice.total_minor:
        key = "payment_complete"
    return [noted, _unasked(state, cause, project.text(language, key, **variables), INVOICE, variables)]


def on_timer(state: Conversation, cause: Envelope, project: Project) -> list[Event]:
    """Find a cart that was left alone for long enough; else wait for the rest of its time."""
    timer, shop = cause.data, _shop(state)
    assert isinstance(timer, TimerFired)
    changed_at = shop.cart_changed_at
    if timer.kind != CART_TIMER or timer.due != shop.cart_timer_due or changed_at is None or project.store is None:
        return []
    left_until = changed_at + timedelta(minutes=project.store.abandoned_after_minutes)
    if left_until > cause.time:
        return [dialog.TimerRequested(kind=CART_TIMER, due=left_until)]
    sums = amounts(shop.cart, discounts_of(shop, project.store), tax_inclusive=project.store.tax_inclusive)
    return [
        cart.CartAbandoned(items=len(shop.cart), total_minor=sums.total_minor, currency=project.store.currency),
    ]


def order_of(shop: Shop, written: str) -> KnownOrder | None:
    """Return the client's order of this number, as people write it: also as "order #7qk2 mOxf"."""
    wanted = _plain(written)
    return next((order for order in reversed(shop.orders) if wanted.endswith(_plain(order.number))), None)


def status_text(status: str, project: Project, language: str) -> str:
    """Return what an order's status is called, and an unknown one by its own name."""
    return project.text(language, f"status_{status}") if status in ORDER_STATUSES else status


_INVOICE_TEXTS = {
    "payment.recorded": "payment_received",
    "payment.refunded": "payment_refunded",
    "invoice.voided": "invoice_voided",
}
"""What is told beside a new invoice. That it is paid is told with its last payment."""


def _status_text(turn: StoreTurn, status: str) -> str:
    return status_text(status, turn.project, turn.language)


def _plain(number: str) -> str:
    read = number.upper().translate(_READ_ALIKE)
    return "".join(character for character in read if character in ORDER_NUMBER_ALPHABET)


def _shop(state: Conversation) -> Shop:
    return state.shop or Shop()


def _invoice_variables(told: InvoiceDocument, project: Project, language: str) -> dict[str, str]:
    def money(minor: int) -> str:
        return format_money(Money(minor=minor, currency=told.currency), language, project.region)

    return {
        "number": told.number,
        "total": money(told.total_minor),
        "paid": money(told.paid_minor),
        "balance": money(told.total_minor - told.paid_minor),
        "due": format_day(told.due_on, language, project.region),
    }


def _unasked(
    state: Conversation, cause: Envelope, text: str, purpose: str, variables: dict[str, str]
) -> dialog.ReplyRequested:
    """Say something that no message asked for; where only a template may be sent, with `variables`."""
    _, channel, client_id = cause.conversation.split("/", 2)
    return dialog.ReplyRequested(
        channel=channel,
        client_id=client_id,
        text=text,
        reply_to={},
        purpose=purpose,
        last_message_at=state.last_message_at,
        template=dialog.MessageTemplate(content_sid=None, variables=variables),
    )
