"""Who may be sent to next: one queue per client, one message of a client at a time. In memory, without I/O.

A client is *active* while its first messages are here, or *parked* until a time, with its messages in the table only:
after a try that is to be repeated, and where there is too much to hold. What comes for a parked client stays in the
table behind what is there already, so a client's order is always the table's.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from chatledger_notify.deliveries import Delivery

MESSAGES_OF_A_CLIENT_MAX = 20
"""How many of one client's messages are held in memory; the rest are loaded when these are done."""
MESSAGES_MAX = 5_000
"""How many are held in all. Beyond it new ones stay in the table until there is room."""


@dataclass(slots=True, eq=False)
class Client:
    """One client with something unsent. `parked_until` is None while it is active."""

    conversation: str
    partition: int
    messages: deque[Delivery] = field(default_factory=deque)
    parked_until: datetime | None = None
    more_in_table: bool = False
    sending: bool = False


class ClientQueues:
    """The clients of the partitions that this worker owns. `ready` is called with each client whose turn it is."""

    def __init__(self, ready: Callable[[Client], None]) -> None:
        self._ready = ready
        self._clients: dict[str, Client] = {}
        self._parked: list[tuple[datetime, int, Client]] = []
        self._parkings = 0
        self._held = 0
        self._owned: set[int] = set()

    @property
    def owned(self) -> frozenset[int]:
        """The partitions whose clients may be sent to."""
        return frozenset(self._owned)

    def own(self, partition: int) -> None:
        """Begin to take messages of a partition."""
        self._owned.add(partition)

    def disown(self, partition: int) -> None:
        """Forget a partition's clients, but for messages that are being sent at this moment."""
        self._owned.discard(partition)
        for client in [client for client in self._clients.values() if client.partition == partition]:
            if not client.sending:
                self._forget(client)

    def is_quiet(self, partition: int) -> bool:
        """Whether nothing of a partition is being sent."""
        return not any(client.sending and client.partition == partition for client in self._clients.values())

    def offer(self, delivery: Delivery, now: datetime) -> None:
        """Take a message that the table has just got."""
        if delivery.partition not in self._owned:
            return
        client = self._clients.get(delivery.request.conversation)
        if client is None:
            client = self._add(delivery.request.conversation, delivery.partition)
            if self._held >= MESSAGES_MAX:
                self._park(client, now)
            else:
                self._hold(client, [delivery])
                self._ready(client)
        elif client.parked_until is None and not client.more_in_table and not self._is_full(client):
            self._hold(client, [delivery])
        else:
            client.more_in_table = True

    def found(self, conversation: str, partition: int, due: datetime) -> None:
        """Note that the table has something unsent for a client."""
        client = self._clients.get(conversation)
        if client is None:
            self._park(self._add(conversation, partition), due)
        else:
            client.more_in_table = True

    def next_due(self) -> datetime | None:
        """When the next parked client is due; None when none is, or there is no room for more."""
        while self._parked and self._parked[0][2].parked_until != self._parked[0][0]:
            heapq.heappop(self._parked)
        return self._parked[0][0] if self._parked and self._held < MESSAGES_MAX else None

    def due(self, now: datetime, *, limit: int) -> list[Client]:
        """Parked clients whose time has come, oldest first; each is to be answered with `load`."""
        found: list[Client] = []
        while len(found) < limit and (first := self.next_due()) is not None and first <= now:
            found.append(heapq.heappop(self._parked)[2])
        return found

    def load(self, client: Client, messages: list[Delivery], *, more_in_table: bool) -> None:
        """Give a client that was due its oldest messages from the table."""
        if self._clients.get(client.conversation) is not client:
            return
        client.parked_until = None
        client.more_in_table = more_in_table
        if not messages:
            self._forget(client)
            return
        self._hold(client, messages)
        self._ready(client)

    def start(self, client: Client) -> Delivery | None:
        """Return the message to send to a client that was ready; None where it is not ours any more."""
        if self._clients.get(client.conversation) is not client or client.partition not in self._owned:
            return None
        client.sending = True
        return client.messages[0]

    def ended(self, client: Client, now: datetime) -> None:
        """The message that was being sent has ended, and the table knows it: on to the client's next one."""
        client.sending = False
        client.messages.popleft()
        self._held -= 1
        if client.partition not in self._owned:
            self._forget(client)
        elif client.messages:
            self._ready(client)
        elif client.more_in_table:
            self._park(client, now)
        else:
            self._forget(client)

    def retry(self, client: Client, due: datetime) -> None:
        """The message that was being sent is to be tried again at `due`: the client waits with all it has."""
        client.sending = False
        self._held -= len(client.messages)
        client.messages.clear()
        if client.partition in self._owned:
            self._park(client, due)
        else:
            self._forget(client)

    def _add(self, conversation: str, partition: int) -> Client:
        client = self._clients[conversation] = Client(conversation=conversation, partition=partition)
        return client

    def _is_full(self, client: Client) -> bool:
        return len(client.messages) >= MESSAGES_OF_A_CLIENT_MAX or self._held >= MESSAGES_MAX

    def _hold(self, client: Client, messages: Iterable[Delivery]) -> None:
        before = len(client.messages)
        client.messages.extend(messages)
        self._held += len(client.messages) - before

    def _park(self, client: Client, until: datetime) -> None:
        client.parked_until = until
        self._parkings += 1
        heapq.heappush(self._parked, (until, self._parkings, client))

    def _forget(self, client: Client) -> None:
        self._held -= len(client.messages)
        client.messages.clear()
        client.parked_until = None
        if self._clients.get(client.conversation) is client:
            del self._clients[client.conversation]
