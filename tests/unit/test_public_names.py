"""The names that users import. A name that goes from here, or changes, breaks somebody: say so in CHANGELOG.md."""

from __future__ import annotations

import pytest

from chatledger import channels, events, flows, testing
from chatledger.events import deliveries, dialog, inbound, letters, orders
from chatledger.testing import ConversationTest

EVENT_NAMES = {
    inbound: ["MessageReceived", "WebhookNoted", "TimerFired"],
    dialog: [
        "ConversationStarted",
        "ConversationRestarted",
        "ConversationExpired",
        "HandoffRequested",
        "AddressGiven",
        "PhoneGiven",
        "QuantityGiven",
        "AnswerRejected",
        "AnswerWithdrawn",
        "OrderPlaced",
        "OrderCancelled",
        "MessageThrottled",
        "MessageDeferred",
        "TimerRequested",
        "ReplyRequested",
    ],
    orders: ["OrderCreated", "OrderConfirmed", "InvoiceIssued"],
    deliveries: ["MessageSent", "MessageFailed"],
    letters: ["RecordDeadLettered"],
}
TYPE_NAMES = """
address.given answer.rejected answer.withdrawn conversation.expired conversation.handoff_requested
conversation.restarted conversation.started invoice.issued message.deferred message.failed message.received
message.sent message.throttled order.cancelled order.confirmed order.created order.placed phone.given
quantity.given record.dead_lettered reply.requested timer.fired timer.requested webhook.noted
"""


def test_the_names_of_the_packages() -> None:
    assert events.__all__ == ["EVENTS", "Envelope", "Event", "UnknownEvent"]
    assert flows.__all__ == ["FLOWS", "Flow"]
    assert channels.__all__ == ["CHANNELS", "Channel"]
    assert testing.__all__ == ["ConversationTest", "conversation_test"]


@pytest.mark.parametrize("module", EVENT_NAMES, ids=lambda module: module.__name__)
def test_the_names_of_the_event_classes(module: object) -> None:
    assert [each.__name__ for each in module.EVENTS] == EVENT_NAMES[module]  # type: ignore[attr-defined, index]  # each family module has them


def test_the_names_of_the_event_types() -> None:
    assert sorted(each.type for each in events.EVENTS) == TYPE_NAMES.split()


def test_what_is_registered() -> None:
    assert list(flows.FLOWS) == ["order_form"]
    assert list(channels.CHANNELS) == ["chat2desk"]


def test_the_sentences_of_a_conversation_test() -> None:
    assert sorted(name for name in vars(ConversationTest) if not name.startswith("_")) == [
        "after",
        "at",
        "given",
        "replies",
        "then",
        "then_no_reply",
        "then_nothing",
        "then_reply",
        "then_status",
        "when",
        "when_repeated",
        "when_timer_fires",
    ]
