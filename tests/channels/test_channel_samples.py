"""Each sample of each channel: a request's body, and the events that it becomes or the error that it raises.

A sample is `samples/<channel>/<case>.json`: `about`, `body` (JSON), `form` (its fields) or `body_text` (as it is),
optional `headers` and `query`, and either `events` or `refused`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from chatledger import errors
from chatledger.channels import CHANNELS
from chatledger.channels.base import WebhookRequest
from chatledger.events.codec import decode_data, encode_data, type_and_version
from chatledger.events.ids import derive_id

FOLDER = Path(__file__).parent / "samples"
SAMPLES = sorted(FOLDER.glob("*/*.json"))


def body_of(sample: dict[str, Any]) -> bytes:
    if "form" in sample:
        return urlencode(sample["form"], doseq=True).encode()
    return sample["body_text"].encode() if "body_text" in sample else orjson.dumps(sample["body"])


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_sample(path):
    sample = orjson.loads(path.read_bytes())
    request = WebhookRequest(headers=sample.get("headers", {}), query=sample.get("query", {}), body=body_of(sample))
    channel = CHANNELS[path.parent.name]

    if "refused" in sample:
        with pytest.raises(getattr(errors, sample["refused"]["error"])) as caught:
            channel.parse(request)
        assert sorted(getattr(caught.value, "fields", [])) == sample["refused"].get("fields", [])
        return

    received = channel.parse(request)
    told = [
        {
            "client_id": each.client_id,
            "dedupe_key": list(each.dedupe_key),
            "type": each.event.type,
            "data": asdict(each.event),
        }
        for each in received
    ]
    assert told == sample["events"]
    for each in received:
        name, version = type_and_version(each.event)
        assert decode_data(name, version, encode_data(each.event)) == each.event


def test_every_channel_has_samples_of_both_kinds():
    for channel in CHANNELS:
        samples = [orjson.loads(path.read_bytes()) for path in SAMPLES if path.parent.name == channel]
        assert any("events" in sample for sample in samples)
        assert any("refused" in sample for sample in samples)


def test_a_message_and_its_echo_with_one_id_are_two_events():
    keys = {
        name: tuple(orjson.loads((FOLDER / "chat2desk" / f"{name}.json").read_bytes())["events"][0]["dedupe_key"])
        for name in ("provider_inbox", "provider_outbox")
    }
    assert derive_id(*keys["provider_inbox"]) != derive_id(*keys["provider_outbox"])
