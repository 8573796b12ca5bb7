"""The outreach service's settings, from the environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chatledger.settings import DatabaseSettings

SERVICE = "outreach"


class OutreachSettings(DatabaseSettings):
    """What this service needs beside what all need."""

    outreach_concurrency: Annotated[int, Field(ge=1, le=100)] = 8
    """How many jobs run at once."""
