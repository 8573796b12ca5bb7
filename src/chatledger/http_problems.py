"""RFC 9457 problem documents: every error answer over HTTP as `{type, title, status, detail, instance, errors?}`.

One form for all services, so that whoever calls them reads errors in one way. Which error is which problem is said by
the service that raises it. It needs no web framework.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:chatledger:problem:"
"""What follows is the title in lower case, with hyphens: `urn:chatledger:problem:invalid-fields`."""

PROBLEM_SCHEMA = {
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
"""The document in OpenAPI; the ingress's description holds it under `Problem`, for all that are mounted beside it."""
PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error answer. `errors` names fields; `headers` go along, such as Retry-After."""

    status: int
    title: str
    detail: str
    errors: Sequence[tuple[str, str]] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The URN that programs tell problems apart by."""
        return TYPE_PREFIX + re.sub(r"[^a-z0-9]+", "-", self.title.lower())

    def body(self, instance: str) -> bytes:
        """The document. `instance` is the request's path, without its query, which may hold a token."""
        document: dict[str, object] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            document["errors"] = [{"field": name, "detail": wrong} for name, wrong in self.errors]
        try:
            return orjson.dumps(document)
        except orjson.JSONEncodeError:
            # A name that the sender made up may hold half of a surrogate pair, which only an escape can write.
            return json.dumps(document).encode()


def problem_of_status(status: int, detail: str, headers: dict[str, str] | None = None) -> Problem:
    """Return a problem for a status that no error of ours stands for, such as 404 or 405."""
    return Problem(status=status, title=HTTPStatus(status).phrase, detail=detail, headers=headers or {})


def problem_of_fields(errors: Sequence[tuple[str, str]]) -> Problem:
    """Return the problem that says which fields are wrong and how: pairs of a field's name and a sentence."""
    detail = "; ".join(f"{name}: {wrong}" for name, wrong in errors)
    return Problem(status=422, title="Invalid fields", detail=detail, errors=tuple(errors))
