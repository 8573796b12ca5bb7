"""Settings of the dialog worker, from the environment, beside those that every service shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chatledger.settings import CommonSettings

SERVICE = "dialog"


class DialogSettings(CommonSettings):
    """What the dialog worker needs. It has no secrets and no database: its state is in its changelog topic."""

    instance_id: str | None = None
    """A name that this worker keeps over restarts and shares with no other, e.g. dialog-0: the group then waits for
    it instead of giving its partitions away, and a restart after a crash takes 2 s instead of 10."""
    session_timeout_s: Annotated[float, Field(ge=6, le=300)] = 10.0
    """A worker that the broker has not heard of for so long has lost its partitions. A batch may take half of it."""
    heartbeat_s: Annotated[float, Field(ge=0.5, le=60)] = 3.0
    """How often the broker hears of the worker; a third of the session timeout."""
    batch_records_max: Annotated[int, Field(ge=1, le=5_000)] = 500
    """Records folded and published together, at most. A batch is what has arrived; nothing waits for it to fill."""
