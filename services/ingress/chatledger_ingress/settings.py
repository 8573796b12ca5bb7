"""Settings of the ingress, from the environment, beside those that every service shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field

from chatledger.settings import CommonSettings, PublicBaseUrl

BODY_BYTES_MAX = 64 * 1024
"""The largest webhook seen from the providers is a few KiB; what they send beside text are links."""
BODY_BYTES_HIGHEST = 240 * 1024
"""A number such as 1e15 grows nearly fourfold when it is written out, and a record has to stay below Kafka's 1 MiB."""


class IngressSettings(CommonSettings):
    """What the ingress needs. Secrets are not here: the project files name the variables that hold them."""

    database: Annotated[str | None, Field(validation_alias=AliasChoices("CHATLEDGER_DATABASE", "DATABASE_URL"))] = None
    """A Postgres URL, for GET /health alone: without one, Postgres is not checked."""
    host: Annotated[str, Field(validation_alias=AliasChoices("CHATLEDGER_HOST", "HOST"))] = "127.0.0.1"
    """The address to listen on. Beyond loopback every project needs a token or a signature."""
    port: Annotated[int, Field(ge=0, le=65535, validation_alias=AliasChoices("CHATLEDGER_PORT", "PORT"))] = 8000
    """The port to listen on; 0: a free one, which the log names."""
    public_base_url: PublicBaseUrl = ""
    """What stands before the path in the address that providers post to; unset, the Host header tells."""
    body_bytes_max: Annotated[int, Field(ge=1024, le=BODY_BYTES_HIGHEST)] = BODY_BYTES_MAX
    """A larger body is refused with 413."""
    drain_timeout_s: Annotated[int, Field(ge=1, le=300)] = 10
    """How long a stop waits for requests in flight."""
