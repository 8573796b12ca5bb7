"""The webhooks in the OpenAPI description: both body forms, every answer, an example of each."""

from __future__ import annotations

from typing import Any

from chatledger.channels import CHANNELS
from chatledger.errors import (
    BodyTooLarge,
    BrokerUnavailable,
    InvalidFields,
    MalformedBody,
    NotAuthentic,
    SenderError,
    TooManyRequests,
    UnknownProject,
    WrongMediaType,
)
from chatledger.http_problems import MEDIA_TYPE, Problem
from chatledger_ingress.problems import SLOW_BODY, problem_of

_ID = {"oneOf": [{"type": "string", "minLength": 1, "maxLength": 128}, {"type": "integer"}]}
_REFERENCE_FORM = {
    "type": "object",
    "title": "Reference form",
    "required": ["client_id", "message_id", "text"],
    "properties": {"client_id": _ID, "message_id": _ID, "text": {"type": "string"}},
}
_PROVIDER_FORM = {
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
_BODY_EXAMPLES = {
    "reference": {"value": {"client_id": 77, "message_id": 970590378, "text": "hello"}},
    "provider": {
        "value": {
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
    },
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_REFUSALS: tuple[SenderError | BrokerUnavailable, ...] = (
    MalformedBody("body: is not JSON"),
    NotAuthentic("send a valid token as ?token= or X-Webhook-Token, or sign the body"),
    UnknownProject("no project takes webhooks at this path; GET / lists those that do"),
    BodyTooLarge("the limit is 65536 bytes"),
    WrongMediaType("Content-Type: send application/json"),
    InvalidFields({"message_id": "is missing; send it as a string or an integer"}),
    TooManyRequests("this client's limit per minute is reached"),
    BrokerUnavailable(),
)


def add_webhooks(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the webhook paths and the problem schema into an OpenAPI document, and return it."""
    schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    channel = {
        "name": "channel",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": sorted(CHANNELS)},
    }
    project = {"name": "project", "in": "path", "required": True, "schema": {"type": "string"}}
    paths = schema.setdefault("paths", {})
    paths["/webhook/{channel}"] = {
        "post": _operation("webhook_default", "A webhook for the channel's default project", [channel])
    }
    paths["/webhook/{channel}/{project}"] = {
        "post": _operation("webhook_project", "A webhook for one project", [channel, project])
    }
    return schema


def _operation(operation_id: str, summary: str, path_parameters: list[dict[str, Any]]) -> dict[str, Any]:
    refusals = [*map(problem_of, _REFUSALS), SLOW_BODY]
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [*path_parameters, *_GUARDS],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_REFERENCE_FORM, _PROVIDER_FORM]},
                    "examples": _BODY_EXAMPLES,
                }
            },
        },
        "responses": {
            "200": _ACCEPTED,
            **{str(problem.status): _response(problem) for problem in sorted(refusals, key=lambda each: each.status)},
        },
    }


_GUARDS: list[dict[str, Any]] = [
    {"name": "token", "in": "query", "required": False, "schema": {"type": "string"}},
    {"name": "X-Webhook-Token", "in": "header", "required": False, "schema": {"type": "string"}},
    {"name": "traceparent", "in": "header", "required": False, "schema": {"type": "string"}},
]
_ACCEPTED: dict[str, Any] = {
    "description": "The broker has it.",
    "headers": {
        "X-Event-Id": {
            "description": "The id of the event; of several, separated by commas.",
            "schema": {"type": "string", "format": "uuid"},
        }
    },
    "content": {"application/json": {"example": {"success": True}}},
}


def _response(problem: Problem) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": problem.title,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "type": problem.type,
                    "title": problem.title,
                    "status": problem.status,
                    "detail": problem.detail,
                    "instance": "/webhook/chat2desk",
                },
            }
        },
    }
    if problem.errors:
        example = response["content"][MEDIA_TYPE]["example"]
        example["errors"] = [{"field": name, "detail": wrong} for name, wrong in problem.errors]
    if "retry-after" in problem.headers:
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return response
