"""RFC 9457 problem documents: every error as `{type, title, status, detail, instance, errors?}`.

The one place that turns an error into an HTTP status; `chatledger.errors` says which error has which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from chatledger.errors import BrokerUnavailable, InvalidFields, NotAuthentic, SenderError, TooManyRequests

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:chatledger:problem:"
"""What follows is the title in lower case, with hyphens: `urn:chatledger:problem:invalid-fields`."""


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
        return orjson.dumps(document)


def problem_of(wrong: SenderError | BrokerUnavailable) -> Problem:
    """Return the problem that tells of `wrong`."""
    headers = {}
    if isinstance(wrong, TooManyRequests | BrokerUnavailable):
        headers["retry-after"] = str(wrong.retry_after_s)
    if isinstance(wrong, NotAuthentic):
        # RFC 9110, section 15.5.2, wants a challenge; no registered scheme is a token in a query or a signature.
        headers["www-authenticate"] = "WebhookToken"
    # What the broker said names addresses inside; the log has it.
    detail = "the message was not stored; send it again later" if isinstance(wrong, BrokerUnavailable) else str(wrong)
    return Problem(
        status=wrong.http_status,
        title=wrong.title,
        detail=detail,
        errors=tuple(wrong.fields.items()) if isinstance(wrong, InvalidFields) else (),
        headers=headers,
    )


def problem_of_status(status: int, detail: str, headers: dict[str, str] | None = None) -> Problem:
    """Return a problem for a status that no error of ours stands for, such as 404 or 405."""
    return Problem(status=status, title=HTTPStatus(status).phrase, detail=detail, headers=headers or {})


UNEXPECTED = Problem(
    status=500,
    title="Unexpected error",
    detail="something went wrong here; it is in the log, and the message may or may not have been stored",
)
SLOW_BODY = Problem(status=408, title="Slow body", detail="the body did not arrive in time")
