"""Writes schemas/ from the event classes, and checks that what is committed there can still be read.

One JSON Schema (draft 2020-12) per event type and version, and asyncapi.yaml over the topics. A version that was
committed may get better words and new optional fields; what would make recorded events unreadable, or take a field from
their readers, needs a new version and an upcaster. Files of older versions stay as they are.

    python -m chatledger_cli.schemas            writes
    python -m chatledger_cli.schemas --check    exits with 1 and says what differs
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic import TypeAdapter

from chatledger import topics
from chatledger.events import EVENTS, cart, deliveries, dialog, inbound, inventory, letters, orders, outreach
from chatledger.events.base import Event
from chatledger.events.codec import SCHEMA_PREFIX, UPCASTERS, Upcaster
from chatledger_cli.schema_changes import breaking_changes

Schema = dict[str, Any]

FOLDER = Path("schemas")
ASYNCAPI = "asyncapi.yaml"
WRITERS: dict[str, dict[str, tuple[type[Event], ...]]] = {
    topics.INBOUND: {
        "ingress": (inbound.MessageReceived, inbound.WebhookNoted, inbound.DeliveryReported),
        "notify": (inbound.TimerFired,),
        "billing": (inbound.OrderReported, inbound.InvoiceReported),
        "outreach": (inbound.NoticeDue,),
    },
    topics.DIALOG: {"dialog": (*dialog.EVENTS, *cart.EVENTS)},
    topics.BILLING: {"billing": (*orders.EVENTS, dialog.OrderCancelled)},
    topics.NOTIFY: {"notify": deliveries.EVENTS},
    topics.OUTREACH: {"outreach": outreach.EVENTS},
    topics.INVENTORY: {"crm": inventory.EVENTS},
    topics.DEAD: {
        **dict.fromkeys(("dialog", "billing", "notify", "outreach", "crm"), (letters.RecordDeadLettered,)),
        "restore": (letters.RecordLost,),
    },
}
"""Which service writes which events on which topic. What the ledger itself cannot read it keeps, and publishes not."""
FAMILIES: dict[str, tuple[type[Event], ...]] = {
    topic: tuple(dict.fromkeys(each for events in writers.values() for each in events))
    for topic, writers in WRITERS.items()
}
"""Which events are on which topic."""
PURPOSES = {
    topics.INBOUND: "What conversations have to know: messages of clients, other webhooks, timers, reports, notices.",
    topics.DIALOG: "What the dialog decided, one versioned stream per conversation.",
    topics.BILLING: "Orders and invoices, one versioned stream each.",
    topics.NOTIFY: "What became of each message to a client, one versioned stream each.",
    topics.OUTREACH: "Reminders and campaigns, one versioned stream each.",
    topics.INVENTORY: "Stock and prices from a project's other system, and the orders that it was given.",
    topics.DEAD: "Records that a service could not process, with the cause, and what was lost with a broker.",
}
KEY = "The conversation id; of what is no client's: project/campaigns/id, project/inventory/sku, project/crm/order id."
_NAME = re.compile(r"(?P<type>.+)\.v(?P<version>[1-9]\d*)\.json")


def file_name(event_class: type[Event]) -> str:
    """Return the name of the file that holds the schema of today's version."""
    return f"{event_class.type}.v{event_class.version}.json"


def event_schema(event_class: type[Event]) -> Schema:
    """Return the JSON Schema of an event's value."""
    generated = TypeAdapter(event_class).json_schema()
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{SCHEMA_PREFIX}{event_class.type}:{event_class.version}",
        "title": event_class.type,
        "description": inspect.cleandoc(event_class.__doc__ or ""),
    }
    return head | {key: value for key, value in generated.items() if key not in head}


def asyncapi() -> Schema:
    """Return the AsyncAPI 3.0 document of the topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "chatledger",
            "version": "1",
            "description": "CloudEvents 1.0 in Kafka's binary content mode: the context in ce_* headers, a JSON value.",
        },
        "defaultContentType": "application/json",
        "channels": {
            topic: {
                "address": topic,
                "description": PURPOSES[topic],
                "messages": {each.type: {"$ref": f"#/components/messages/{each.type}"} for each in family},
                "bindings": {"kafka": {"topic": topic, "partitions": topics.PARTITIONS}},
            }
            for topic, family in FAMILIES.items()
        },
        "operations": {
            f"{service} writes {topic}": _operation(topic, written)
            for topic, writers in WRITERS.items()
            for service, written in writers.items()
        },
        "components": {
            "messages": {each.type: _message(each) for each in EVENTS},
            "schemas": {"CloudEventHeaders": _headers()},
        },
    }


def _operation(topic: str, written: tuple[type[Event], ...]) -> Schema:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"#/channels/{topic}/messages/{each.type}"} for each in written],
    }


def _message(event_class: type[Event]) -> Schema:
    return {
        "name": event_class.type,
        "summary": inspect.cleandoc(event_class.__doc__ or ""),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
        "payload": {"$ref": f"./{file_name(event_class)}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": KEY}}},
    }


def _headers() -> Schema:
    text = {"type": "string"}
    derived = "Derived from the cause, so that a copy has it too."
    required = {
        "ce_specversion": {"const": "1.0"},
        "content-type": {"const": "application/json"},
        "ce_id": {"type": "string", "format": "uuid", "description": derived},
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_type": text,
        "ce_subject": {"type": "string", "description": "The key as well: the conversation, project/channel/client."},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_dataschema": {"type": "string", "pattern": f"^{SCHEMA_PREFIX}.+:[1-9][0-9]*$"},
        "ce_stream": text,
        "ce_correlationid": text,
    }
    optional = {
        "ce_streamversion": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "ce_causationid": text,
        "ce_traceparent": text,
    }
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def generated_files() -> dict[str, bytes]:
    """Return every generated file's content by its name."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    written = {file_name(each): orjson.dumps(event_schema(each), option=options) for each in EVENTS}
    text = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=110)
    head = "# Written by `make schemas`; do not edit.\n"
    return {**written, ASYNCAPI: (head + text).encode()}


def broken_promises(
    committed: Mapping[str, bytes], generated: Mapping[str, bytes], upcasters: Mapping[tuple[str, int], Upcaster]
) -> Iterator[str]:
    """Yield, one sentence each, what recorded events or their readers would not survive."""
    current = {found["type"]: int(found["version"]) for name in generated if (found := _NAME.fullmatch(name))}
    for name in sorted(committed):
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        type_name, version = found["type"], int(found["version"])
        if type_name not in current or version > current[type_name]:
            yield f"{name}: no event class has this type and version any more; recorded events of it would be unknown"
        elif version < current[type_name]:
            if (type_name, version) not in upcasters:
                yield f"{name}: write an upcaster from version {version} of {type_name} in chatledger/events/codec.py"
        else:
            for change in breaking_changes(orjson.loads(committed[name]), orjson.loads(generated[name])):
                yield f"{name}: {change}: raise the version and write an upcaster"


def stale_files(committed: Mapping[str, bytes], generated: Mapping[str, bytes]) -> Iterator[str]:
    """Yield, one sentence each, which files are not what the classes say."""
    for name in sorted(generated):
        if committed.get(name) != generated[name]:
            yield f"{name}: {'differs' if name in committed else 'is missing'}: run make schemas"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or check them; return the exit code."""
    parser = argparse.ArgumentParser(prog="chatledger_cli.schemas", description="Write or check schemas/.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write the files; also what happens without an option")
    mode.add_argument("--check", action="store_true", help="write nothing; exit with 1 where something differs")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (default: schemas)")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder
    committed = {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    generated = generated_files()
    complaints = list(broken_promises(committed, generated, UPCASTERS))
    if chosen.check:
        complaints += stale_files(committed, generated)
    for complaint in complaints:
        sys.stderr.write(f"{folder}/{complaint}\n")
    if complaints:
        return 1
    if not chosen.check:
        folder.mkdir(exist_ok=True)
        for name, content in generated.items():
            (folder / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
