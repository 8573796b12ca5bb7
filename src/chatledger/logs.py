"""Logs: one JSON object a line on standard error, with the correlation id, and personal data masked.

What is logged about an event comes from `about()`, which leaves out every field that its class marks as personal.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from chatledger.events.base import masked
from chatledger.events.codec import type_and_version
from chatledger.events.envelope import Envelope

MASK = "***"
SHORT_CLIENT_LENGTH = 6
"""Two characters of so short an id would tell too much of it."""


def configure_logs(service: str, level: str) -> None:
    """Set up logging for one process. Libraries' warnings come out in the same form."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=structlog.processors.JSONRenderer())
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    structlog.contextvars.bind_contextvars(service=service)


def about(envelope: Envelope) -> dict[str, Any]:
    """What a log line may say of an event: its context and its own fields, personal ones masked."""
    event = envelope.data
    own = masked(event, MASK)
    project_and_channel, _, client = envelope.conversation.rpartition("/")
    return {
        "event_id": envelope.id,
        "type": type_and_version(event)[0],
        "correlation_id": envelope.correlation_id,
        "conversation": f"{project_and_channel}/{mask_client(client)}",
        "data": {name: MASK if name == "client_id" else value for name, value in own.items()},
    }


def mask_client(client: str) -> str:
    """A client's id, recognisable among a few but not usable: its last two characters, and none of a short one."""
    return f"{MASK}{client[-2:]}" if len(client) > SHORT_CLIENT_LENGTH else MASK
