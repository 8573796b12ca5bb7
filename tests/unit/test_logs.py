"""Logs: a line says what happened and to which event, and nothing that identifies a client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import orjson
import pytest
import structlog

from chatledger.events import EVENTS, Event, UnknownEvent, cart, dialog
from chatledger.events.envelope import from_outside
from chatledger.logs import MASK, about, configure_logs, mask_client
from chatledger.testing import START
from tests.unit.event_examples import EXAMPLES, example_envelope

SECRETS = (
    "12 Baker Street",
    "+919876543210",
    "Привет",
    "three",
    "delivery address",
    "eyJ0ZXh0Ijo=",
    "919876543210",
    "Asha",
)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda each: each.type)
def test_nothing_personal_is_said_about_an_event(event_class: type[Event]) -> None:
    said = str(about(example_envelope(EXAMPLES[event_class])))
    assert not [secret for secret in SECRETS if secret in said]
    assert "'77'" not in said
    assert "chat2desk/77" not in said
    assert event_class.type in said


def test_what_is_personal_inside_an_events_parts_is_masked_and_the_rest_is_said() -> None:
    refused = about(example_envelope(EXAMPLES[cart.ItemsRefused]))["data"]["lines"][1]
    assert refused == {"text": MASK, "reason": "not_enough", "sku": "CEM-50", "in_stock": 40}
    requested = about(example_envelope(EXAMPLES[dialog.ReplyRequested]))["data"]
    assert requested["template"] == {"content_sid": "HX0001", "variables": MASK}


def test_what_is_not_personal_is_said() -> None:
    said = about(example_envelope(EXAMPLES[EVENTS[0]]))
    assert said["data"]["provider_message_id"] == "970590378"
    assert (
        said["data"]["text"] == said["data"]["client_name"] == said["data"]["raw"] == said["data"]["client_id"] == MASK
    )
    assert said["conversation"] == "order-form/chat2desk/***"
    assert said["correlation_id"] == example_envelope(EXAMPLES[EVENTS[0]]).correlation_id


@pytest.mark.parametrize("conversation", ["", "loose", "a/b", "a/b/c/d", "///"])
def test_a_strange_conversation_id_can_be_logged_too(conversation: str) -> None:
    event = UnknownEvent(type_name="later.invented", schema_version=2, data={"phone": "+919876543210"})
    envelope = from_outside(event, id="1", source="/", conversation=conversation, time=START + timedelta(0))
    said = about(envelope)
    assert said["type"] == "later.invented"
    assert "9876543210" not in str(said)


def test_a_clients_id_is_recognisable_and_not_usable() -> None:
    assert mask_client("919876543210") == "***10"
    assert mask_client("919876543210") != mask_client("919876543211")


def test_a_line_is_one_json_object_with_the_service_and_the_bound_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("dialog", "INFO")
    with structlog.contextvars.bound_contextvars(correlation_id="abc"):
        structlog.get_logger().info("handled", **about(example_envelope(EXAMPLES[EVENTS[0]])))
    structlog.get_logger().debug("not at this level")
    logging.getLogger("a.library").warning("careful\nwith this")
    logging.getLogger("a.library").info("not said")
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["handled", "careful\nwith this"]
    assert {line["service"] for line in lines} == {"dialog"}
    assert lines[0]["level"] == "info"
    assert "timestamp" in lines[0]
    assert lines[0]["type"] == "message.received"
