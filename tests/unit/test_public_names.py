"""The names that users import. A name that goes from here, or changes, breaks somebody: say so in CHANGELOG.md."""

from __future__ import annotations

import pytest

from chatledger import channels, events, flows, history, recorder, testing
from chatledger.events import cart, deliveries, dialog, inbound, inventory, letters, orders, outreach
from chatledger.testing import ConversationTest

EVENT_NAMES = {
    inbound: [
        "MessageReceived",
        "WebhookNoted",
        "TimerFired",
        "DeliveryReported",
        "OrderReported",
        "InvoiceReported",
        "NoticeDue",
    ],
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
        "CancellationRequested",
        "OrderNoted",
        "InvoiceNoted",
        "NoticeDecided",
        "ClientOptedOut",
        "ClientOptedIn",
        "MessageThrottled",
        "MessageDeferred",
        "TimerRequested",
        "ReplyRequested",
    ],
    cart: [
        "ItemsAdded",
        "ItemsRefused",
        "ChoiceAsked",
        "ChoiceMade",
        "ItemRemoved",
        "DiscountApplied",
        "CartKept",
        "CartAbandoned",
    ],
    orders: [
        "OrderCreated",
        "OrderItemAdded",
        "OrderItemRemoved",
        "OrderConfirmed",
        "OrderAdvanced",
        "CancellationRefused",
        "InvoiceIssued",
        "PaymentRecorded",
        "PaymentRefunded",
        "InvoicePaid",
        "InvoiceVoided",
    ],
    deliveries: [
        "MessageSent",
        "MessageFailed",
        "MessageBlocked",
        "MessageDelivered",
        "MessageRead",
        "MessageUndelivered",
    ],
    outreach: [
        "ReminderScheduled",
        "ReminderPostponed",
        "ReminderDue",
        "ReminderSent",
        "ReminderCancelled",
        "ReminderFailed",
        "CampaignCreated",
        "CampaignStarted",
        "CampaignBatchReleased",
        "CampaignPaused",
        "CampaignResumed",
        "CampaignCompleted",
        "CampaignCancelled",
        "ClientTagged",
    ],
    inventory: [
        "InventoryUpdated",
        "OrderSynced",
        "OrderNotSynced",
    ],
    letters: [
        "RecordDeadLettered",
        "RecordLost",
    ],
}
TYPE_NAMES = """
address.given answer.rejected answer.withdrawn campaign.batch_released campaign.cancelled campaign.completed
campaign.created campaign.paused campaign.resumed campaign.started cart.abandoned cart.choice_asked
cart.choice_made cart.discount_applied cart.item_removed cart.items_added cart.items_refused cart.kept
client.opted_in client.opted_out client.tagged conversation.expired conversation.handoff_requested
conversation.restarted conversation.started delivery.reported inventory.updated invoice.issued invoice.noted
invoice.paid invoice.reported invoice.voided message.blocked message.deferred message.delivered message.failed
message.read message.received message.sent message.throttled message.undelivered notice.decided notice.due
order.advanced order.cancellation_refused order.cancellation_requested order.cancelled order.confirmed
order.created order.item_added order.item_removed order.not_synced order.noted order.placed order.reported
order.synced payment.recorded payment.refunded phone.given quantity.given record.dead_lettered record.lost
reminder.cancelled reminder.due reminder.failed reminder.postponed reminder.scheduled reminder.sent
reply.requested timer.fired timer.requested webhook.noted
"""


def test_the_names_of_the_packages() -> None:
    assert events.__all__ == ["EVENTS", "Envelope", "Event", "UnknownEvent"]
    assert flows.__all__ == ["FLOWS", "Flow"]
    assert channels.__all__ == ["CHANNELS", "Channel"]
    assert testing.__all__ == ["ConversationTest", "conversation_test"]
    assert history.__all__ == [
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
    assert recorder.__all__ == [
        "HistoryEvent",
        "LedgerAggregateRecorder",
        "LedgerApplicationRecorder",
        "LedgerFactory",
        "LedgerMapper",
        "LedgerProcessRecorder",
    ]


@pytest.mark.parametrize("module", EVENT_NAMES, ids=lambda module: module.__name__)
def test_the_names_of_the_event_classes(module: object) -> None:
    assert [each.__name__ for each in module.EVENTS] == EVENT_NAMES[module]  # type: ignore[attr-defined, index]  # each family module has them


def test_the_names_of_the_event_types() -> None:
    assert sorted(each.type for each in events.EVENTS) == TYPE_NAMES.split()


def test_what_is_registered() -> None:
    assert list(flows.FLOWS) == ["order_form", "store"]
    assert list(channels.CHANNELS) == ["chat2desk", "twilio", "meta"]


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
        "when_told",
    ]
