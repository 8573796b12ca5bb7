"""Nothing of a client is left in an anonymised event, and what belongs together still does."""

from __future__ import annotations

import base64
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatledger.conversation import Status
from chatledger.errors import ConfigurationError
from chatledger.events import EVENTS, Envelope, Event, UnknownEvent, deliveries, dialog, inbound, orders, outreach
from chatledger.events.base import personal_fields
from chatledger.events.codec import decode_data, encode_data
from chatledger.events.ids import derive_id
from chatledger.history.anonymised import FREE_TEXT, KEPT, LEFT_OUT, PSEUDONYMS, AnEvent, Anonymiser
from chatledger.history.pseudonyms import Pseudonyms
from chatledger.history.rows import event_row
from chatledger.ports import LedgerEvent
from chatledger.replay import fold
from tests.unit.event_examples import EXAMPLES, example_envelope

NAME, PHONE, STREET = "Quillfeather", "+1 555 010 1234", "Privet Drive"
CLIENT = "+15550101234"
WAMID = f"wamid.{base64.b64encode(CLIENT.encode()).decode()}=="
SECRET = f"{NAME} of 12 {STREET}, call {PHONE} or {CLIENT[1:]} ({WAMID})"
NEEDLES = (NAME, STREET, PHONE, "5550101234", WAMID, base64.b64encode(CLIENT.encode()).decode())
CONVERSATION = f"store/meta/{CLIENT}"
KEY = b"a key of the tests"
# Words of the vocabulary: what they can hold is written in the code that writes them.
VOCABULARY = {
    "about", "channel", "delivery_id", "event_id", "flow", "invoice_id", "kind", "language", "notice_id", "order_id",
    "because", "campaign_id", "reminder_id", "regarding", "service", "status", "timer_id", "purpose",
    "question",
}  # fmt: skip


def example(kind: type[AnEvent]) -> AnEvent:
    made = EXAMPLES[kind]
    assert isinstance(made, kind)
    return made


def planted(holder: Any) -> Any:
    """The same with the secret in every text that is not the project's own word or one of the vocabulary."""
    hints = get_type_hints(type(holder))
    return replace(
        holder, **{each.name: plant(getattr(holder, each.name), each.name, hints[each.name]) for each in fields(holder)}
    )


def plant(value: Any, name: str, hint: Any) -> Any:
    if name in ("provider_message_id", "reference", "tags", "client_id", "phone"):
        chosen = {"client_id": CLIENT, "phone": PHONE, "provider_message_id": WAMID}.get(name, SECRET)
        return (chosen,) if isinstance(value, tuple) else chosen
    if (name in KEPT and name != "name") or name in VOCABULARY or name == "order_number" or get_origin(hint) is Literal:
        return value
    if is_dataclass(value):
        return planted(value)
    if isinstance(value, tuple):
        return tuple(plant(each, name, type(each)) for each in value)
    if isinstance(value, dict):
        return {SECRET: SECRET, "nested": [{"text": SECRET}]} if "Any" in str(hint) else {SECRET: SECRET}
    if name == "name":
        return value
    return SECRET if isinstance(value, str) or (value is None and "str" in str(hint)) else value


def planted_envelopes() -> list[Envelope]:
    """Every event class with the secret wherever one can be, and three that this code cannot read."""
    events = [planted(example) for example in EXAMPLES.values()]
    events += [
        UnknownEvent(type_name="client.described", schema_version=1, data={"note": SECRET, SECRET: 1}),
        UnknownEvent(type_name=f"odd {SECRET}", schema_version=1, data={}),
        UnknownEvent(type_name="message.received", schema_version=2, data={"text": SECRET}),
        replace(example(outreach.CampaignCreated), name=SECRET),
    ]
    return [
        replace(
            example_envelope(event),
            id=derive_id("planted", at),
            source=f"/chatledger/{NAME}" if at % 7 == 0 else "/chatledger/dialog",
            conversation=CONVERSATION if at % 9 else f"{NAME}/{PHONE}",
            stream=f"conversation-{CONVERSATION}" if at % 5 else f"client-{SECRET}",
            stream_version=None if at % 5 == 0 else at,
            traceparent=f"00-{NAME}",
            causation_id=None if at % 4 == 0 else derive_id("planted", at - 1),
        )
        for at, event in enumerate(events, start=1)
    ]


def in_ledger(envelope: Envelope, position: int = 1) -> LedgerEvent:
    return LedgerEvent(
        position=position,
        recorded_at=datetime(2026, 11, 21, tzinfo=UTC),
        topic="chat.dialog",
        partition=0,
        source_offset=position,
        envelope=envelope,
    )


def found_in(text: str) -> list[str]:
    return [needle for needle in NEEDLES if needle in text]


@pytest.mark.parametrize("envelope", planted_envelopes(), ids=lambda each: each.data.type)
def test_nothing_of_the_client_remains(envelope):
    before = repr(event_row(in_ledger(envelope)))
    assert found_in(before), "this example plants nothing"
    made = Anonymiser(Pseudonyms(KEY)).event(in_ledger(envelope))
    after = f"{made!r} {event_row(made)!r}"
    assert not found_in(after)
    assert envelope.id not in after
    assert envelope.correlation_id not in after


@pytest.mark.parametrize("event_class", EXAMPLES, ids=lambda each: each.type)
def test_it_is_an_event_of_the_same_class_still(event_class):
    made = Anonymiser(Pseudonyms(KEY)).data(planted(EXAMPLES[event_class]))
    assert decode_data(made.type, made.version, encode_data(made)) == made


@pytest.mark.parametrize("event_class", EXAMPLES, ids=lambda each: each.type)
def test_every_personal_field_is_left_out_or_a_pseudonym(event_class):
    made = Anonymiser(Pseudonyms(KEY)).data(EXAMPLES[event_class])
    for name in personal_fields(event_class):
        value = getattr(made, name)
        assert value in (None, LEFT_OUT, {}) or (name == "phone" and value.startswith("anon-"))


def test_what_tells_of_no_client_remains():
    anonymous = Anonymiser(Pseudonyms(KEY))
    placed = example(orders.OrderCreated)
    made = anonymous.data(placed)
    assert (made.lines, made.currency, made.discounts) == (placed.lines, placed.currency, placed.discounts)
    told: dict[type[Event], tuple[str, ...]] = {
        dialog.AnswerRejected: ("question", "reason"),
        dialog.ReplyRequested: ("purpose", "last_message_at"),
        orders.InvoiceIssued: ("number", "total_minor", "due_on", "taxes"),
        orders.PaymentRecorded: ("amount_minor", "method", "paid_at"),
        inbound.DeliveryReported: ("status", "error"),
        outreach.CampaignCreated: ("name", "kind", "rate_per_s"),
    }
    for event_class, names in told.items():
        kept = anonymous.data(EXAMPLES[event_class])
        assert all(getattr(kept, name) == getattr(EXAMPLES[event_class], name) for name in names)
    template = example(dialog.ReplyRequested).template
    assert template is not None
    assert anonymous.data(example(dialog.ReplyRequested)).template == replace(template, variables={})


def test_of_an_unknown_event_only_its_type_remains():
    made = Anonymiser(Pseudonyms(KEY)).data(UnknownEvent(type_name="a.b", schema_version=3, data={"x": SECRET}))
    assert made == UnknownEvent(type_name="a.b", schema_version=3, data={})


def test_what_belonged_together_still_does():
    anonymous = Anonymiser(Pseudonyms(KEY))
    requested = example(dialog.ReplyRequested)
    envelope = example_envelope(requested)
    first, second = anonymous.envelope(envelope), anonymous.envelope(replace(envelope, causation_id=envelope.id))
    assert second.causation_id == first.id != envelope.id
    assert first.stream == f"conversation-{first.conversation}"
    assert first.conversation == f"order-form/chat2desk/{anonymous.data(requested).client_id}"
    order = anonymous.data(example(dialog.OrderPlaced))
    created = anonymous.data(example(orders.OrderCreated))
    invoice = anonymous.data(example(orders.InvoiceIssued))
    assert order.order_id == created.order_id == invoice.order_id != example(dialog.OrderPlaced).order_id
    assert order.order_number == created.order_number != example(dialog.OrderPlaced).order_number
    sent, delivered = (
        example(deliveries.MessageSent),
        replace(example(deliveries.MessageDelivered), provider_message_id="970590379"),
    )
    assert anonymous.data(sent).provider_message_id == anonymous.data(delivered).provider_message_id != "970590379"
    assert anonymous.data(sent).delivery_id == anonymous.data(delivered).delivery_id != sent.delivery_id
    assert order.phone == created.phone == anonymous.data(example(dialog.PhoneGiven)).phone
    stream = anonymous.envelope(replace(envelope, stream=f"order-{example(dialog.OrderPlaced).order_id}")).stream
    assert stream == f"order-{order.order_id}"


@pytest.mark.parametrize(
    ("key", "kept"),
    [("store/inventory/CEM-50", "store/inventory/CEM-50"), ("store/campaigns/monsoon", "store/campaigns/monsoon")],
)
def test_what_is_no_clients_stays_readable(key, kept):
    assert Anonymiser(Pseudonyms(KEY)).conversation(key) == kept


def test_the_fold_goes_as_it_went():
    envelopes = [
        replace(example_envelope(event), stream_version=at, id=derive_id("fold", at))
        for at, event in enumerate(
            [EXAMPLES[kind] for kind in (dialog.ConversationStarted, dialog.AddressGiven, dialog.PhoneGiven)], start=1
        )
    ]
    anonymous = Anonymiser(Pseudonyms(KEY))
    (state,) = fold(map(anonymous.envelope, envelopes)).values()
    assert (state.status, state.version, state.address) == (Status.WAITING_QUANTITY, 3, LEFT_OUT)


@given(st.text(min_size=1), st.binary(min_size=16))
def test_a_pseudonym_is_the_same_under_one_key_and_another_under_another(text, key):
    assert Pseudonyms(key).of(text) == Pseudonyms(key).of(text)
    assert Pseudonyms(key).of(text) != Pseudonyms(key + b"!").of(text)
    assert Pseudonyms().of(text) != Pseudonyms().of(text)


@pytest.mark.parametrize(
    "written", ["+91 98765 43210", "+919876543210", "919876543210", "+91-98765-43210", "+91 (98765) 43210"]
)
def test_a_phone_number_has_one_pseudonym(written):
    assert Pseudonyms(KEY).of(written) == Pseudonyms(KEY).of("+919876543210")
    assert Pseudonyms(KEY).of("77") != Pseudonyms(KEY).of("7 7")


def test_a_key_that_can_be_guessed_is_refused():
    with pytest.raises(ConfigurationError, match="16 or more"):
        Pseudonyms(b"secret")


def test_the_lists_name_fields_that_there_are():
    holders = (*EVENTS, orders.OrderLine, orders.Discount, orders.InvoiceDocument)
    assert {each.name for holder in holders for each in fields(holder)} >= KEPT | FREE_TEXT | PSEUDONYMS
