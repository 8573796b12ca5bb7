"""Token buckets: how much one project, and one client of it, may send. In memory, and of this process alone.

A bucket holds what may come at once and fills at a steady rate. Only the clients seen last are remembered; one that was
forgotten starts with a full bucket, and what a crowd of new clients can do is bounded by the project's own limit.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from chatledger.errors import TooManyRequests
from chatledger.projects import Limits

CLIENTS_REMEMBERED_MAX = 20_000
"""Per project and channel; about 200 bytes each."""


class TokenBucket:
    """At most `capacity` at once, and `per_s` a second in the long run."""

    __slots__ = ("_capacity", "_filled_at", "_per_s", "_tokens")

    def __init__(self, *, capacity: float, per_s: float, now: float) -> None:
        self._capacity, self._per_s = capacity, per_s
        self._tokens, self._filled_at = capacity, now

    def take(self, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_s


class DoorLimits:
    """The limits of one project on one channel. `monotonic` tells seconds."""

    def __init__(
        self, limits: Limits, *, monotonic: Callable[[], float], clients_max: int = CLIENTS_REMEMBERED_MAX
    ) -> None:
        self._per_client = limits.webhooks_per_minute_and_client
        self._monotonic = monotonic
        self._clients_max = clients_max
        self._clients: OrderedDict[str, TokenBucket] = OrderedDict()
        per_s = limits.webhooks_per_second
        self._project = TokenBucket(capacity=per_s, per_s=per_s, now=monotonic())

    def take_for_project(self) -> None:
        """Count one webhook. Raises TooManyRequests."""
        wait_s = self._project.take(self._monotonic())
        if wait_s:
            raise TooManyRequests("the project's limit per second is reached", retry_after_s=math.ceil(wait_s))

    def take_for_client(self, client_id: str) -> None:
        """Count one message of one client. Raises TooManyRequests."""
        now = self._monotonic()
        bucket = self._clients.get(client_id)
        if bucket is None:
            bucket = TokenBucket(capacity=self._per_client, per_s=self._per_client / 60, now=now)
            self._clients[client_id] = bucket
            if len(self._clients) > self._clients_max:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(client_id)
        wait_s = bucket.take(now)
        if wait_s:
            raise TooManyRequests("this client's limit per minute is reached", retry_after_s=math.ceil(wait_s))
