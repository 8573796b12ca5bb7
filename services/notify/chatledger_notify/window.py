"""Whether a provider takes free text for a client now, and which template goes out where it does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from chatledger.events.envelope import project_of
from chatledger_notify.deliveries import Delivery

ANSWER = "reply"
"""The purpose of an answer: the client wrote when it was asked for."""
DEFAULT_TEMPLATE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a message goes out: as a template, or, without a `content_sid`, as its text."""

    content_sid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The provider would refuse the message: `reason` says what to configure."""

    reason: str


FREE_TEXT = Form()


def last_message_at(delivery: Delivery) -> datetime | None:
    """When the client last wrote, as far as the request knows; None: never."""
    if delivery.reply.purpose == ANSWER:
        return delivery.request.time
    return delivery.reply.last_message_at


def is_open(window: timedelta, last: datetime | None, now: datetime) -> bool:
    """Whether free text may be sent at `now` to a client who wrote at `last`."""
    return last is not None and now < last + window


def template_or_block(delivery: Delivery, templates: Mapping[str, str], window: timedelta) -> Form | Blocked:
    """Return the message's template: its own, or its purpose's, or the project's default."""
    reply = delivery.reply
    own = reply.template.content_sid if reply.template is not None else None
    content_sid = own or templates.get(reply.purpose) or templates.get(DEFAULT_TEMPLATE)
    if content_sid:
        return Form(content_sid=content_sid)
    hours, project = window.total_seconds() / 3600, project_of(delivery.request.conversation)
    place = f"channels.{reply.channel}.templates"
    return Blocked(
        reason=f"the client has not written for {hours:g} h and the message has no template: set"
        f" {place}.{reply.purpose} or {place}.{DEFAULT_TEMPLATE} in the project file of {project}"
    )
