"""The demo's customers get what the demo promises of them: one reply to each message, and their orders."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from chatledger.channels import CHANNELS
from chatledger.channels.base import WebhookRequest
from chatledger.conversation import initial
from chatledger.events.dialog import AnswerRejected, OrderPlaced, ReplyRequested
from chatledger.events.envelope import conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.events.inbound import MessageReceived, WebhookNoted
from chatledger.flows.pipeline import handle
from chatledger.project_files import load_projects
from chatledger_cli.demo_customers import Customer, customers

PROJECTS = load_projects(Path(__file__).resolve().parents[2] / "projects")
RUN = 1_763_700_000_000
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVERYBODY = list(customers(60, RUN))


def parsed(body: dict[str, object]) -> tuple[str, object]:
    request = WebhookRequest(headers={}, query={}, body=orjson.dumps(body))
    received = CHANNELS["chat2desk"].parse(request)[0]
    return derive_id("order-form", "chat2desk", *received.dedupe_key), received.event


@pytest.mark.parametrize("customer", EVERYBODY, ids=lambda customer: f"customer-{customer.number}")
def test_each_message_gets_one_reply_and_the_orders_come(customer: Customer) -> None:
    state, kinds = initial(), Counter[type]()
    conversation = conversation_id("order-form", "chat2desk", str(customer.client_id))
    for step in range(len(customer.texts)):
        event_id, event = parsed(customer.webhook(step))
        assert isinstance(event, MessageReceived)
        at = NOON + timedelta(seconds=step)
        cause = from_outside(event, id=event_id, source="/test", conversation=conversation, time=at)
        state, envelopes = handle(state, cause, PROJECTS)
        kinds.update(type(envelope.data) for envelope in envelopes)
        assert sum(isinstance(envelope.data, ReplyRequested) for envelope in envelopes) == 1
    assert kinds[OrderPlaced] == customer.orders
    assert len(customer.texts) <= 12  # stays below every limit of the project


def test_there_are_wrong_answers_a_cancel_and_duplicates_among_few() -> None:
    few = EVERYBODY[:4]
    assert [customer.orders for customer in few] == [1, 1, 1, 0]
    assert any(customer.is_sent_twice(step) for customer in few for step in range(len(customer.texts)))
    rejected = [text for customer in few for text in customer.texts if text == "call me"]
    assert rejected
    assert AnswerRejected.type == "answer.rejected"


def test_about_five_percent_are_sent_twice() -> None:
    steps = [(customer, step) for customer in EVERYBODY for step in range(len(customer.texts))]
    share = sum(customer.is_sent_twice(step) for customer, step in steps) / len(steps)
    assert 0.03 <= share <= 0.08


def test_no_two_webhooks_share_an_id_even_in_another_run() -> None:
    both = [*EVERYBODY, *customers(60, RUN + 1)]
    bodies = [customer.webhook(step) for customer in both for step in range(len(customer.texts))]
    ids = [parsed(body)[0] for body in bodies]
    assert len(set(ids)) == len(ids)


def test_an_echo_is_noted_and_not_a_message() -> None:
    event_id, event = parsed(EVERYBODY[0].echo(1, "What phone number can we reach you on?"))
    assert isinstance(event, WebhookNoted)
    assert event_id != parsed(EVERYBODY[0].webhook(1))[0]
