"""What the channels' webhooks look like, for the OpenAPI description: schemas, and an example of each."""

from __future__ import annotations

from typing import Any

_ID = {"oneOf": [{"type": "string", "minLength": 1, "maxLength": 128}, {"type": "integer"}]}
REFERENCE_FORM = {
    "type": "object",
    "title": "Reference form",
    "required": ["client_id", "message_id", "text"],
    "properties": {"client_id": _ID, "message_id": _ID, "text": {"type": "string"}},
}
PROVIDER_FORM = {
    "type": "object",
    "title": "The provider's own form",
    "description": "Only `hook_type: inbox` with `type: from_client` is client text; the rest is noted.",
    "required": ["hook_type", "client_id"],
    "properties": {
        "hook_type": {"type": "string", "examples": ["inbox", "outbox", "close_dialog"]},
        "type": {"type": "string", "examples": ["from_client", "to_client"]},
        "message_id": _ID,
        "client_id": _ID,
        "dialog_id": _ID,
        "channel_id": _ID,
        "transport": {"type": "string"},
        "text": {"type": "string"},
        "client": {"type": "object"},
    },
    "additionalProperties": True,
}
REFERENCE_EXAMPLE = {"client_id": 77, "message_id": 970590378, "text": "hello"}
PROVIDER_EXAMPLE = {
    "hook_type": "inbox",
    "type": "from_client",
    "message_id": 970590378,
    "client_id": 77,
    "dialog_id": 5,
    "channel_id": 12,
    "transport": "whatsapp",
    "text": "hello",
    "client": {"phone": "919876543210"},
}
_ADDRESS = {"type": "string", "examples": ["whatsapp:+919900000001"]}
TWILIO_FORM = {
    "type": "object",
    "title": "Twilio: a client's message, or a report of what became of ours",
    "description": "A report has `MessageStatus`, and goes by `To`.",
    "required": ["MessageSid", "From", "To"],
    "properties": {
        "MessageSid": {"type": "string"},
        "From": _ADDRESS,
        "To": _ADDRESS,
        "Body": {"type": "string"},
        "ProfileName": {"type": "string"},
        "ButtonText": {"type": "string"},
        "ButtonPayload": {"type": "string"},
        "ListTitle": {"type": "string"},
        "NumMedia": {"type": "string"},
        "MediaUrl0": {"type": "string"},
        "Latitude": {"type": "string"},
        "Longitude": {"type": "string"},
        "MessageStatus": {"type": "string", "examples": ["queued", "sent", "delivered", "read", "failed"]},
        "ErrorCode": {"type": "string"},
    },
    "additionalProperties": True,
}
TWILIO_EXAMPLE = {
    "MessageSid": "SM00000000000000000000000000000001",
    "From": "whatsapp:+919900000001",
    "To": "whatsapp:+14155238886",
    "Body": "Cement x 100",
    "NumMedia": "0",
    "ProfileName": "A Customer",
}
META_BATCH = {
    "type": "object",
    "title": "Meta: a batch of clients' messages and of reports",
    "required": ["object", "entry"],
    "properties": {
        "object": {"const": "whatsapp_business_account"},
        "entry": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    },
    "additionalProperties": True,
}
META_EXAMPLE: dict[str, Any] = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "1",
            "changes": [
                {
                    "field": "messages",
                    "value": {
                        "messaging_product": "whatsapp",
                        "metadata": {"display_phone_number": "14155238886", "phone_number_id": "106540352242922"},
                        "contacts": [{"profile": {"name": "A Customer"}, "wa_id": "919900000001"}],
                        "messages": [
                            {
                                "from": "919900000001",
                                "id": "wamid.HBgMOTE5OTAwMDAwMDAx",
                                "timestamp": "1767607200",
                                "type": "text",
                                "text": {"body": "Cement x 100"},
                            }
                        ],
                    },
                }
            ],
        }
    ],
}
JSON_CONTENT: dict[str, Any] = {
    "schema": {"anyOf": [REFERENCE_FORM, PROVIDER_FORM, META_BATCH]},
    "examples": {
        "reference": {"value": REFERENCE_EXAMPLE},
        "provider": {"value": PROVIDER_EXAMPLE},
        "meta": {"value": META_EXAMPLE},
    },
}
FORM_CONTENT: dict[str, Any] = {"schema": TWILIO_FORM, "examples": {"twilio": {"value": TWILIO_EXAMPLE}}}
META_CONTENT: dict[str, Any] = {"schema": META_BATCH, "examples": {"meta": {"value": META_EXAMPLE}}}
