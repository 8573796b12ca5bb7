"""What happens to the cart of a store's client, on the topic chat.dialog, in the conversation's stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from chatledger.events.base import Event, Integer, PersonalText
from chatledger.events.orders import OrderLine

RefusalReason = Literal["unknown", "out_of_stock", "not_enough", "quantity", "cart_full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """One line of a product list that could not be taken. `in_stock` says how many there are, where it is known."""

    text: PersonalText
    reason: RefusalReason
    sku: str | None = None
    in_stock: Integer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsAdded(Event):
    """Products went into the cart, at the prices of that moment. What was there already becomes more."""

    type: ClassVar[str] = "cart.items_added"

    items: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsRefused(Event):
    """These lines of a product list could not be taken; the others were."""

    type: ClassVar[str] = "cart.items_refused"

    lines: tuple[RefusedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceAsked(Event):
    """Several products fit what the client wrote: which of `skus` is meant?"""

    type: ClassVar[str] = "cart.choice_asked"

    text: PersonalText
    quantity: Integer
    skus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceMade(Event):
    """The client answered the oldest open choice: with a product, or, None, with none of them."""

    type: ClassVar[str] = "cart.choice_made"

    sku: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRemoved(Event):
    """The client took a product out of the cart."""

    type: ClassVar[str] = "cart.item_removed"

    sku: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountApplied(Event):
    """The client gave a discount code that the project knows."""

    type: ClassVar[str] = "cart.discount_applied"

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CartKept(Event):
    """The client did not confirm; the cart stays as it is."""

    type: ClassVar[str] = "cart.kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class CartAbandoned(Event):
    """Nothing happened to a filled cart for the project's time. `items` is how many products are in it."""

    type: ClassVar[str] = "cart.abandoned"

    items: Integer
    total_minor: Integer
    currency: str


EVENTS: tuple[type[Event], ...] = (
    ItemsAdded,
    ItemsRefused,
    ChoiceAsked,
    ChoiceMade,
    ItemRemoved,
    DiscountApplied,
    CartKept,
    CartAbandoned,
)
