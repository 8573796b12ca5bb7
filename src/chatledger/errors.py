"""Every error that chatledger raises on purpose, drawn as a tree and named by whose fault it is.

    ChatledgerError
    ├── SenderError                what came from outside is wrong; the sender can mend it
    │   ├── MalformedBody          400  not JSON, not UTF-8, not an object
    │   ├── NotAuthentic           401  token or signature missing or wrong
    │   ├── UnknownProject         404  no such project on this channel
    │   ├── BodyTooLarge           413
    │   ├── WrongMediaType         415
    │   ├── InvalidFields          422  fields missing or of the wrong kind, by name
    │   └── TooManyRequests        429  carries retry_after_s
    ├── ConfigurationError         a project file, a setting or the machine's set-up; the operator can mend it
    ├── OutsideUnavailable         a broker, a database or a provider is away; trying later helps
    │   ├── BreakerOpen            a breaker stopped the call before it was made; carries retry_after_s
    │   └── BrokerUnavailable      503  carries retry_after_s
    │       └── ProducerBroken     our own producer: only a new one can publish again
    ├── UndecodableRecord          a record on a topic that is not one of our events
    ├── LostOwnership              the partition went to another worker: stop without acknowledging
    └── InvariantViolated          our own mistake: a rule that must always hold does not

The docstring of each class is its default message. `http_status` is read in one place, the problem
responses of the HTTP edge.
"""

from __future__ import annotations


class ChatledgerError(Exception):
    """Something went wrong in chatledger."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SenderError(ChatledgerError):
    """The request is not acceptable."""

    http_status = 400
    title = "Bad request"


class MalformedBody(SenderError):
    """The body is not what its content type says."""

    title = "Malformed body"


class NotAuthentic(SenderError):
    """The token or the signature is missing or wrong."""

    http_status = 401
    title = "Not authentic"


class UnknownProject(SenderError):
    """No such project is configured for this channel."""

    http_status = 404
    title = "Unknown project"


class BodyTooLarge(SenderError):
    """The body is larger than the limit."""

    http_status = 413
    title = "Body too large"


class WrongMediaType(SenderError):
    """The content type is not one that this channel sends."""

    http_status = 415
    title = "Wrong media type"


class InvalidFields(SenderError):
    """Some fields are missing or of the wrong kind."""

    http_status = 422
    title = "Invalid fields"

    def __init__(self, fields: dict[str, str]) -> None:
        """`fields` maps each field's name to what is wrong with it and how to mend it."""
        self.fields = fields
        super().__init__("; ".join(f"{name}: {wrong}" for name, wrong in fields.items()))


class TooManyRequests(SenderError):
    """The limit for this project or this client is reached."""

    http_status = 429
    title = "Too many requests"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ConfigurationError(ChatledgerError):
    """The configuration is not usable."""


class OutsideUnavailable(ChatledgerError):
    """An outside service did not answer in time."""


class BreakerOpen(OutsideUnavailable):
    """The breaker is open: the call was not made."""

    def __init__(self, message: str | None = None, *, retry_after_s: float) -> None:
        """`retry_after_s` is how long it takes until another call may be let through."""
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BrokerUnavailable(OutsideUnavailable):
    """The broker did not acknowledge in time."""

    http_status = 503
    title = "Broker unavailable"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ProducerBroken(BrokerUnavailable):
    """This producer will never publish again; a new one may."""


class UndecodableRecord(ChatledgerError):
    """The record is not one of our events."""


class LostOwnership(ChatledgerError):
    """The partition is no longer ours; nothing of this batch may be written."""


class InvariantViolated(ChatledgerError):
    """A rule that must always hold does not."""
