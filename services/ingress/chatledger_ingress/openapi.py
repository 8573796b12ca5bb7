"""The webhooks in the OpenAPI description: every body form, every answer, an example of each."""

from __future__ import annotations

from typing import Any

from chatledger.channels import CHANNELS, twilio
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
from chatledger.http_problems import MEDIA_TYPE, PROBLEM_REFERENCE, PROBLEM_SCHEMA, Problem, problem_of_status
from chatledger_ingress.problems import SLOW_BODY, problem_of
from chatledger_ingress.webhook_bodies import FORM_CONTENT, JSON_CONTENT, META_CONTENT

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
    schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    channel = {
        "name": "channel",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": sorted(CHANNELS)},
    }
    project = {"name": "project", "in": "path", "required": True, "schema": {"type": "string"}}
    paths = schema.setdefault("paths", {})
    either = {"application/json": JSON_CONTENT, twilio.FORM: FORM_CONTENT}
    whatsapp = {twilio.FORM: FORM_CONTENT, "application/json": META_CONTENT}
    for path, parameters, name, content in (
        ("/webhook/{channel}", [channel], "webhook", either),
        ("/whatsapp/webhook", [], "whatsapp", whatsapp),
    ):
        for suffix, more, whose in (
            ("", [], "the channel's default project"),
            ("/{project}", [project], "one project"),
        ):
            operation_id = f"{name}_{'project' if suffix else 'default'}"
            post = _operation(operation_id, f"A webhook for {whose}", [*parameters, *more], content)
            question = _question(f"{operation_id}_challenge", [*parameters, *more])
            paths[path + suffix] = {"post": post, "get": question}
    return schema


def _operation(
    operation_id: str, summary: str, path_parameters: list[dict[str, Any]], content: dict[str, Any]
) -> dict[str, Any]:
    refusals = [*map(problem_of, _REFUSALS), SLOW_BODY]
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [*path_parameters, *_GUARDS],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": _ACCEPTED,
            **{str(problem.status): _response(problem) for problem in sorted(refusals, key=lambda each: each.status)},
        },
    }


def _question(operation_id: str, path_parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """The GET by which a provider of WhatsApp asks whether the address is ours."""
    asked = [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in ("hub.mode", "hub.verify_token", "hub.challenge")
    ]
    return {
        "operationId": operation_id,
        "summary": "Whether this address is ours: the challenge comes back to who knows the verify token",
        "parameters": [*path_parameters, *asked],
        "responses": {
            "200": {"description": "The challenge.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            "403": _response(problem_of_status(403, "send a valid hub.verify_token")),
            "405": _response(problem_of_status(405, "webhooks are sent by POST")),
        },
    }


_GUARDS: list[dict[str, Any]] = [
    {"name": name, "in": place, "required": False, "schema": {"type": "string"}}
    for name, place in (
        ("token", "query"),
        ("delivery", "query"),
        ("X-Webhook-Token", "header"),
        ("X-Twilio-Signature", "header"),
        ("X-Twilio-Webhooks-Signature-Settings", "header"),
        ("X-Hub-Signature-256", "header"),
        ("traceparent", "header"),
    )
]
_ACCEPTED: dict[str, Any] = {
    "description": "The broker has it.",
    "headers": {
        "X-Event-Id": {
            "description": "The id of the event; of several the first 20, separated by commas.",
            "schema": {"type": "string", "format": "uuid"},
        }
    },
    "content": {
        "application/json": {"example": {"success": True}},
        twilio.CHANNEL.acknowledgement_type: {"example": twilio.CHANNEL.acknowledgement.decode()},
    },
}


def _response(problem: Problem) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": problem.title,
        "content": {
            MEDIA_TYPE: {
                "schema": PROBLEM_REFERENCE,
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
