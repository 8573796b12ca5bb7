"""The flow `store`: a list of products becomes a cart, a confirmed cart an order.

INITIAL → SHOPPING → WAITING_CONFIRMATION → COMPLETED, with WAITING_CHOICE while it is open which product is meant.
Lists and commands are understood in every status; so is a yes, as long as there is a cart. Each message leaves at
least one event. Billing confirms the order and issues the invoice: the client hears of it by `store_orders`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from chatledger.conversation import Conversation, Status
from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.envelope import Envelope
from chatledger.events.ids import derive_id, order_number
from chatledger.events.inbound import InvoiceReported, MessageReceived, OrderReported, TimerFired
from chatledger.flows import store_orders
from chatledger.flows.base import Flow
from chatledger.flows.language import guess_language
from chatledger.flows.store_cart import no_longer_sold
from chatledger.flows.store_edits import answer_choice, apply_code, cart_timer, in_cart, remove_item, take_list
from chatledger.flows.store_texts import TEXTS, WORDS
from chatledger.flows.store_turn import StoreTurn, discounts_of
from chatledger.flows.turn import argument
from chatledger.projects import Project
from chatledger.shop import Shop

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ENDED = (Status.COMPLETED, Status.CANCELLED)
_SHOPPING = (cart.ItemsAdded, cart.ChoiceAsked)
"""What begins a conversation anew after an order was placed or a cart given up; a greeting does too."""


def decide(state: Conversation, message: Envelope, project: Project) -> list[Event]:
    """Return what happens because the client wrote `message`, whose data is a MessageReceived."""
    assert isinstance(message.data, MessageReceived)
    text = message.data.text.strip()
    new = state.status is Status.INITIAL
    language = guess_language(text, project.languages) if new else project.language(state.language)
    turn = StoreTurn(
        state=replace(state, wrong_answers=0) if new else state,
        message=message.data,
        cause=message,
        project=project,
        language=language,
        shop=state.shop or Shop(),
    )
    events = _answer(turn, text)
    shops = project.means(text, "greeting") or any(isinstance(event, _SHOPPING) for event in events)
    if new or (state.status in _ENDED and shops):
        events = [dialog.ConversationStarted(flow=FLOW.name, language=language), *events]
    return [*events, *cart_timer(turn, events)]


def _answer(turn: StoreTurn, text: str) -> list[Event]:
    handed_off = turn.state.status is Status.HANDED_OFF
    for word, command in (COMMANDS_WHILE_HANDED_OFF if handed_off else COMMANDS).items():
        if turn.project.means(text, word):
            return command(turn)
    if handed_off:
        return [dialog.MessageDeferred()]
    for word, command_about in COMMANDS_ABOUT.items():
        about = argument(turn.project, text, word)
        if about is not None:
            return command_about(turn, about)
    if turn.shop.choices:
        return answer_choice(turn, text)
    if turn.project.means(text, "yes"):
        return _confirm(turn)
    if turn.project.means(text, "no"):
        return _keep(turn)
    return take_list(turn, text)


def _confirm(turn: StoreTurn) -> list[Event]:
    """Place the order. Nothing is said to it here: it is billing that confirms it."""
    if not turn.shop.cart:
        newest = turn.shop.orders[-1] if turn.shop.orders else None
        if newest is not None and newest.status == "placed":
            return [turn.reply("placed_already", number=newest.number)]
        return [_nothing_yet(turn)]
    refused = no_longer_sold(turn.shop, turn.store)
    if refused:
        gone: list[Event] = [cart.ItemRemoved(sku=line.sku or "") for line in refused]
        shop = turn.shop_after(gone)
        return [*gone, cart.ItemsRefused(lines=tuple(refused)), turn.ask_about(shop, turn.refusals(refused))]
    order_id = derive_id(turn.cause.id, "order")
    client_id = turn.message.client_id
    return [
        dialog.OrderPlaced(
            order_id=order_id,
            order_number=order_number(order_id),
            lines=turn.shop.cart,
            currency=turn.store.currency,
            address="",
            phone=client_id if _E164.fullmatch(client_id) else "",
            discounts=discounts_of(turn.shop, turn.store),
            tax_inclusive=turn.store.tax_inclusive,
        )
    ]


def _keep(turn: StoreTurn) -> list[Event]:
    if not turn.shop.cart:
        return [_nothing_yet(turn)]
    return [cart.CartKept(), turn.reply("cart_kept")]


def _nothing_yet(turn: StoreTurn) -> dialog.ReplyRequested:
    new = turn.state.status is Status.INITIAL
    return turn.reply("welcome" if new else "cart_empty", example=turn.example)


def _greet(turn: StoreTurn) -> list[Event]:
    return [turn.ask_about(turn.shop, turn.with_text("welcome", example=turn.example))]


def _thank(turn: StoreTurn) -> list[Event]:
    return [turn.ask_about(turn.shop, turn.with_text("thanked"))]


def _help(turn: StoreTurn) -> list[Event]:
    return [turn.ask_about(turn.shop, turn.with_text("help", example=turn.example))]


def _products(turn: StoreTurn) -> list[Event]:
    return [turn.say(turn.products_text())]


def _show_cart(turn: StoreTurn) -> list[Event]:
    if not turn.question(turn.shop):
        return [turn.reply("cart_empty", example=turn.example)]
    return [turn.ask_about(turn.shop)]


def _cancel(turn: StoreTurn) -> list[Event]:
    """Empty the cart; without one, say how an order is cancelled."""
    if turn.shop.cart or turn.shop.choices:
        return [dialog.OrderCancelled(reason="client"), turn.reply("cart_cancelled")]
    for order in reversed(turn.shop.orders):
        if order.status in store_orders.CANCELLABLE:
            return [turn.reply("cancel_which", number=order.number)]
    return [turn.reply("cart_empty", example=turn.example)]


def _cancel_about(turn: StoreTurn, about: str) -> list[Event]:
    """Cancel an order; what is the name of something in the cart is taken out of it."""
    if store_orders.order_of(turn.shop, about) is None and in_cart(turn, about):
        return remove_item(turn, about)
    return store_orders.cancel_order(turn, about)


def _stop(turn: StoreTurn) -> list[Event]:
    return [dialog.ClientOptedOut(), turn.reply("opted_out")]


def _start(turn: StoreTurn) -> list[Event]:
    greeting = ("welcome",) if turn.state.status is Status.INITIAL else ()
    return [dialog.ClientOptedIn(), turn.reply("opted_in", *greeting, example=turn.example)]


def _restart(turn: StoreTurn) -> list[Event]:
    return [dialog.ConversationRestarted(), turn.reply("restarted", "welcome", example=turn.example)]


Command = Callable[[StoreTurn], list[Event]]
CommandAbout = Callable[[StoreTurn, str], list[Event]]

COMMANDS: dict[str, Command] = {
    "help": _help,
    "products": _products,
    "cart": _show_cart,
    "cancel": _cancel,
    "status": store_orders.status,
    "invoice": store_orders.invoice,
    "repeat": store_orders.repeat,
    "stop": _stop,
    "start": _start,
    "restart": _restart,
    "greeting": _greet,
    "thanks": _thank,
}
"""What is done when a message, as a whole, is one of these words."""
COMMANDS_ABOUT: dict[str, CommandAbout] = {"cancel": _cancel_about, "remove": remove_item, "code": apply_code}
"""What is done when a message begins with one of these words; the rest says about what."""
COMMANDS_WHILE_HANDED_OFF: dict[str, Command] = {"restart": _restart, "stop": _stop, "start": _start}
"""A client who wants no offers is heard at all times."""

FLOW = Flow(
    name="store",
    decide=decide,
    texts=TEXTS,
    words=WORDS,
    sections=("store",),
    react={
        TimerFired: store_orders.on_timer,
        OrderReported: store_orders.on_order,
        InvoiceReported: store_orders.on_invoice,
    },
)
