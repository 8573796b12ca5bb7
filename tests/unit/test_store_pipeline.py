"""The store under anything that can come in: it never raises, its sums are right, and its timers are few."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatledger.conversation import EXPIRY, Status, decode_state, encode_state, initial
from chatledger.events import Event, cart, dialog
from chatledger.events.codec import from_wire, to_wire
from chatledger.events.money import Money, format_money
from chatledger.flows.store_turn import discounts_of
from chatledger.pricing import amounts
from chatledger.replay import fold
from chatledger.shop import CART_TIMER, Shop
from chatledger.testing import ConversationTest
from tests.unit.projects_at_hand import STORE
from tests.unit.store_given import CLIENT, at_store, invoice_reported, order_reported
from tests.unit.strategies import texts

LISTS = [
    "Cement x 100", "steel rod 5, sand 2.5", "paint", "20 bricks\nnails 3 inch 2 kg", "unobtainium", "cement 9999",
    "white paint 4 l", "{{7*7}}", "steel rod 16mm 41, eent 7", "", "0", "🧱", "rods, bricks, paint",
]  # fmt: skip
COMMANDS = [
    "hi", "help", "cart", "1", "2", "3", "yes", "no", "none", "status", "invoice", "repeat", "stop", "start", "cancel",
    "restart", "remove cement", "remove 3 rods", "code BUILD5", "code x", "products", "cancel 0000-0000",
]  # fmt: skip
STATUSES = ["confirmed", "processing", "shipped", "delivered", "cancelled"]
BECAUSE = ["invoice.issued", "payment.recorded", "payment.refunded", "invoice.paid", "invoice.voided"]
OPEN = (Status.SHOPPING, Status.WAITING_CHOICE, Status.WAITING_CONFIRMATION)
assert STORE.store is not None


class AnyShopping(RuleBasedStateMachine):
    """One client of the store, with whatever the client, billing, the timers and a clock may do."""

    def __init__(self) -> None:
        super().__init__()
        self.test: ConversationTest = at_store()

    @property
    def shop(self) -> Shop:
        return self.test.state.shop or Shop()

    @rule(text=st.sampled_from(LISTS))
    def the_client_sends_a_list(self, text: str) -> None:
        self.take(text)

    @rule(text=st.sampled_from(COMMANDS))
    def the_client_says_a_command(self, text: str) -> None:
        self.take(text)

    @rule(text=texts)
    def the_client_writes_anything(self, text: str) -> None:
        self.take(text)

    @rule()
    @precondition(lambda self: self.shop.cart and not self.shop.choices)
    def the_client_confirms(self) -> None:
        self.take("1")

    @rule(number=st.integers(0, 4))
    @precondition(lambda self: self.shop.choices)
    def the_client_chooses(self, number: int) -> None:
        self.take(str(number))

    @rule()
    @precondition(lambda self: self.test.state.status is Status.HANDED_OFF)
    def the_client_begins_again(self) -> None:
        self.take("restart")

    @rule(minutes=st.integers(0, 90) | st.just(25 * 60))
    def time_passes(self, minutes: int) -> None:
        self.test.after(timedelta(minutes=minutes))

    @rule()
    @precondition(lambda self: self.test.history)
    def an_input_comes_twice(self) -> None:
        before = self.test.state
        self.test.when_repeated().then_nothing()
        assert self.test.state == before

    @rule(status=st.sampled_from(STATUSES), refused=st.none() | st.just("a rule"))
    @precondition(lambda self: self.shop.orders)
    def billing_tells_of_an_order(self, status: str, refused: str | None) -> None:
        self.check(self.test.when_told(order_reported(self.test, status, refused=refused)).events)
        assert isinstance(self.test.events[0], dialog.OrderNoted)

    @rule(because=st.sampled_from(BECAUSE), paid_minor=st.integers(0, 10**6))
    @precondition(lambda self: self.shop.orders)
    def billing_tells_of_an_invoice(self, because: str, paid_minor: int) -> None:
        self.check(self.test.when_told(invoice_reported(self.test, because, paid_minor=paid_minor)).events)
        assert isinstance(self.test.events[0], dialog.InvoiceNoted)

    @rule(late=st.floats(0, 3))
    @precondition(lambda self: self.shop.cart_timer_due)
    def the_cart_timer_fires(self, late: float) -> None:
        self.check(self.test.when_timer_fires(kind=CART_TIMER, late=timedelta(hours=late)).events)
        assert [type(event) for event in self.test.events] in ([cart.CartAbandoned], [dialog.TimerRequested])
        assert self.shop.cart

    @rule()
    @precondition(lambda self: self.test.state.timer_due)
    def the_session_timer_fires(self) -> None:
        self.check(self.test.when_timer_fires(kind=EXPIRY).events)

    @invariant()
    def the_state_is_the_fold_of_what_was_published(self) -> None:
        history, state = self.test.history, self.test.state
        assert [each.stream_version for each in history] == list(range(1, len(history) + 1))
        assert fold(history).get(f"store/twilio/{CLIENT}", initial()) == state
        assert decode_state(encode_state(state)) == state

    @invariant()
    def the_status_says_what_is_open(self) -> None:
        status = self.test.state.status
        assert (status is Status.WAITING_CHOICE) == bool(self.shop.choices and status in OPEN)
        if status is Status.WAITING_CONFIRMATION:
            assert self.shop.cart
        if status in (Status.COMPLETED, Status.CANCELLED, Status.INITIAL):
            assert not self.shop.cart

    @invariant()
    def the_cart_is_one_that_can_be_ordered(self) -> None:
        assert STORE.store is not None
        assert len({line.sku for line in self.shop.cart}) == len(self.shop.cart) <= STORE.store.cart_lines_max
        assert all(0 < line.quantity <= STORE.store.quantity_max for line in self.shop.cart)
        assert all(line.quantity <= _stock(line.sku) for line in self.shop.cart)
        assert bool(self.shop.cart_changed_at) == bool(self.shop.cart)

    def take(self, text: str) -> None:
        self.check(self.test.when(text).events)
        assert self.test.events, "a message left no trace"
        assert len(self.test.replies) <= 1

    def check(self, events: list[Event]) -> None:
        for envelope in self.test.history[-len(events) :] if events else []:
            wire = to_wire(envelope)
            assert from_wire(wire.headers, wire.value) == envelope
        for text in self.test.replies:
            assert 0 < len(text) < 1_600
            if "Confirm? 1=Yes" in text:
                assert f"Total: {_total(self.shop)}\nConfirm? 1=Yes, 2=No" in text
        kinds = [event.kind for event in events if isinstance(event, dialog.TimerRequested)]
        assert len(kinds) == len(set(kinds))


def _total(shop: Shop) -> str:
    assert STORE.store is not None
    sums = amounts(shop.cart, discounts_of(shop, STORE.store), tax_inclusive=STORE.store.tax_inclusive)
    return format_money(Money(minor=sums.total_minor, currency="INR"), "en", "IN")


def _stock(sku: str | None) -> float:
    assert STORE.store is not None
    [stock] = [product.stock for product in STORE.store.catalogue if product.sku == sku]
    return float("inf") if stock is None else stock


TestAnyShopping = AnyShopping.TestCase
TestAnyShopping.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
