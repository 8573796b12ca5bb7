"""What changes a cart: a product list, the answer to a choice, `remove <item>`, `code <code>`; and the cart's timer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from chatledger.conversation import Status
from chatledger.events import cart, dialog
from chatledger.events.base import Event
from chatledger.events.orders import OrderLine
from chatledger.flows.store_cart import Taking, vocabulary_of
from chatledger.flows.store_catalogue import Found, find, product_of
from chatledger.flows.store_list import ListLine, parse_list
from chatledger.flows.store_tokens import name_tokens
from chatledger.flows.store_turn import TEXT_SHOWN_MAX, StoreTurn, shortened
from chatledger.flows.turn import reject
from chatledger.projects import Product
from chatledger.shop import CART_TIMER, Choice

_ONE_NUMBER = re.compile(r"\W*(\d{1,3})\W*")
"""An answer to a choice: `2`, `2.`, `#2`, or the emoji of a 2."""


def take_list(turn: StoreTurn, text: str) -> list[Event]:
    """Take a product list into the cart, as far as it is understood."""
    lines = _lines(turn, text)
    taking = Taking(store=turn.store, shop=turn.shop)
    taking.take(lines)
    if taking.nothing_understood:
        return _not_understood(turn, text, lines, taking)
    events = taking.events()
    return [*events, turn.ask_about(turn.shop_after(events), *_said(turn, taking))]


def answer_choice(turn: StoreTurn, text: str) -> list[Event]:
    """Take the answer to the oldest open choice: a number, one of the names, or none of them.

    A list of other things goes into the cart, and the choice is asked again.
    """
    choice = turn.shop.choices[0]
    number = _ONE_NUMBER.fullmatch(text)
    if number is not None:
        place = int(number[1])
        if place > len(choice.skus):
            return _reject_choice(turn, text)
        return _chosen(turn, choice, choice.skus[place - 1] if place else None, choice.quantity)
    if turn.project.means(text, "none"):
        return _chosen(turn, choice, None, choice.quantity)
    lines = _lines(turn, text)
    if len(lines) == 1 and (named := _named(turn, choice, lines[0])):
        return _chosen(turn, choice, *named)
    taking = Taking(store=turn.store, shop=turn.shop)
    taking.take(lines)
    same_again = not taking.items and any(set(asked.skus) <= set(choice.skus) for asked in taking.choices)
    return _reject_choice(turn, text) if taking.nothing_understood or same_again else take_list(turn, text)


def remove_item(turn: StoreTurn, about: str) -> list[Event]:
    """Take a product out of the cart; `remove 20 cement` takes out only so many."""
    matching, quantity = _lines_of_cart(turn, about)
    if len(matching) != 1:
        key = "remove_which" if matching else "not_in_cart"
        said = turn.with_text(key, text=shortened(about, TEXT_SHOWN_MAX))
        return [turn.ask_about(turn.shop, said)]
    [line] = matching
    events: list[Event] = [cart.ItemRemoved(sku=line.sku or "")]
    if quantity is not None and 0 < quantity < line.quantity:
        events.append(cart.ItemsAdded(items=(replace(line, quantity=line.quantity - quantity),)))
        return [*events, turn.ask_about(turn.shop_after(events))]
    removed = turn.with_text("item_removed", name=line.name)
    return [*events, turn.ask_about(turn.shop_after(events), removed)]


def in_cart(turn: StoreTurn, about: str) -> bool:
    """Whether `about` names something in the cart."""
    return bool(_lines_of_cart(turn, about)[0])


def apply_code(turn: StoreTurn, about: str) -> list[Event]:
    """Take a discount code. A wrong one is a wrong answer, so that nobody can try them all."""
    if not turn.shop.cart:
        return [turn.reply("cart_empty", example=turn.example)]
    for rule in turn.store.discounts:
        if rule.code is not None and rule.code.casefold() == about.casefold():
            applied = cart.DiscountApplied(code=rule.code)
            said = turn.with_text("code_applied", name=rule.name)
            return [applied, turn.ask_about(turn.shop_after([applied]), said)]
    again = turn.ask_about(turn.shop, turn.with_text("code_unknown", text=shortened(about, TEXT_SHOWN_MAX)))
    return reject(turn, question="code", reason="unknown_code", text=about, again=again)


def cart_timer(turn: StoreTurn, events: Sequence[Event]) -> list[Event]:
    """Ask to be woken when a cart that has just changed will have been left for long enough, unless that is asked."""
    shop = turn.shop_after(events)
    if not shop.cart or shop.cart_timer_due is not None or shop.cart_changed_at is None:
        return []
    if not any(isinstance(event, _CHANGES) for event in events):
        return []
    due = turn.cause.time + timedelta(minutes=turn.store.abandoned_after_minutes)
    return [dialog.TimerRequested(kind=CART_TIMER, due=due)]


_CHANGES = (cart.ItemsAdded, cart.ItemRemoved, cart.DiscountApplied)


def _lines(turn: StoreTurn, text: str) -> tuple[ListLine, ...]:
    return parse_list(text, vocabulary_of(turn.project, turn.store))


def _said(turn: StoreTurn, taking: Taking) -> tuple[str, ...]:
    return (turn.refusals(taking.refused),) if taking.refused else ()


def _not_understood(turn: StoreTurn, text: str, lines: Sequence[ListLine], taking: Taking) -> list[Event]:
    """Say what was not understood, and ask again. Whatever begins a conversation is greeted."""
    counted = any(line.counted for line in lines)
    if turn.state.status is Status.INITIAL and not counted:
        return [turn.reply("welcome", example=turn.example)]
    example = turn.with_text("rejected_products", example=turn.example)
    question = turn.question(turn.shop)
    if not text:
        again = turn.say(turn.with_text("rejected_no_text"), *(question or (example,)))
        return reject(turn, question="products", reason="no_text", text=text, again=again)
    if question and not counted:
        again = turn.say(turn.with_text("rejected_confirmation"), *question)
        return reject(turn, question="confirmation", reason="not_yes_or_no", text=text, again=again)
    again = turn.say(*_said(turn, taking), *(question or (example,)))
    rejected = reject(turn, question="products", reason="unknown_products", text=text, again=again)
    return [*taking.events(), *rejected]


def _reject_choice(turn: StoreTurn, text: str) -> list[Event]:
    said = turn.with_text("rejected_choice", count=len(turn.shop.choices[0].skus))
    again = turn.ask_about(turn.shop, said)
    return reject(turn, question="choice", reason="not_a_choice", text=text, again=again)


def _named(turn: StoreTurn, choice: Choice, line: ListLine) -> tuple[str, int] | None:
    """Return the only one of the choice's products that has all words of the line, and how many of it."""
    products = [product for sku in choice.skus if (product := product_of(turn.store, sku))]
    for reading in line.readings:
        for name in reading.names:
            fitting = [product for product in products if set(name) <= _words(product)]
            if len(fitting) == 1 and reading.quantity is not None:
                return fitting[0].sku, reading.quantity if reading.counted else choice.quantity
    return None


def _words(product: Product) -> set[str]:
    return {token for name in (product.sku, product.name, *product.aliases) for token in name_tokens(name)}


def _chosen(turn: StoreTurn, choice: Choice, sku: str | None, quantity: int) -> list[Event]:
    taking = Taking(store=turn.store, shop=turn.shop)
    product = product_of(turn.store, sku)
    if product is not None:
        taking.put(choice.text, quantity, product)
    elif sku is not None:
        taking.refuse(choice.text, "unknown")
    events: list[Event] = [cart.ChoiceMade(sku=product.sku if product else None), *taking.events()]
    dropped = (turn.with_text("choice_dropped"),) if sku is None else ()
    return [*events, turn.ask_about(turn.shop_after(events), *dropped, *_said(turn, taking))]


def _lines_of_cart(turn: StoreTurn, about: str) -> tuple[list[OrderLine], int | None]:
    """Return the lines of the cart that `about` names, and how many of it the client wrote, if that was written."""
    lines = _lines(turn, about)
    found = find(lines[0], turn.store) if len(lines) == 1 else Found()
    skus = {product.sku for product in found.products}
    matching = [line for line in turn.shop.cart if line.sku in skus]
    reading = found.reading
    if matching and reading is not None:
        return matching, reading.quantity if reading.counted else None
    wanted = name_tokens(about)  # what the catalogue has no more is still in the cart
    return [line for line in turn.shop.cart if name_tokens(line.name) == wanted], None
