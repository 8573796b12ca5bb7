"""Which problem the ingress answers for which error; the form of a problem is chatledger.http_problems.

The one place that turns an error of a webhook into an HTTP status; `chatledger.errors` says which error has which.
"""

from __future__ import annotations

from chatledger.errors import BrokerUnavailable, InvalidFields, NotAuthentic, SenderError, TooManyRequests
from chatledger.http_problems import Problem


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


UNEXPECTED = Problem(
    status=500,
    title="Unexpected error",
    detail="something went wrong here; it is in the log, and the message may or may not have been stored",
)
SLOW_BODY = Problem(status=408, title="Slow body", detail="the body did not arrive in time")
