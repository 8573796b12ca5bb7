"""Who may be sent to next: one queue per client, one message of a client at a time. In memory, without I/O.

A client is *active* while its first messages are here, or *parked* until a time, with its messages in the table only:
after a try that is to be repeated, and where there is too much to hold; without a time while its provider's breaker is
open. What comes for a parked client stays in the table behind what is there already, so a client's order is always the
table's.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chatledger_notify.deliveries import Account, Delivery

MESSAGES_OF_A_CLIENT_MAX = 20
"""How many of one client's messages are held in memory; the rest are loaded when these are done."""
MESSAGES_MAX = 5_000
"""How many are held in all. Beyond it new ones stay in the table until there is room."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Client:
    """One client with something unsent. `parked_until` is None while it is active."""

    conversation: str
    partition: int
    messages: deque[Delivery] = field(default_factory=deque)
    parked_until: datetime | None = None
    parking: int = 0
    more_in_table: bool = False
    sending: bool = False
    waits_for: Account | None = None
    """Whose recovery lets a parked client go, whatever the time."""


class ClientQueues:
    """The clients of the partitions that this worker owns. `ready` is called with each client whose turn it is."""

    def __init__(self, ready: Callable[[Client], None]) -> None:
        self._ready = ready
        self._clients: dict[str, Client] = {}
        self._parked: list[tuple[datetime, int, Client]] = []
        """A heap of parkings; one counts as long as its number is still the client's."""
        self._parkings = 0
        self._held = 0
        self._owned: set[int] = set()
        self._waiting: dict[Account, deque[Client]] = {}

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
        while self._parked and self._parked[0][2].parking != self._parked[0][1]:
            heapq.heappop(self._parked)
        return self._parked[0][0] if self._parked and self._held < MESSAGES_MAX else None

    def due(self, now: datetime, *, limit: int) -> list[Client]:
        """Parked clients whose time has come, oldest first; each is to be answered with `load`."""
        found: list[Client] = []
        while len(found) < limit and (first := self.next_due()) is not None and first <= now:
            client = heapq.heappop(self._parked)[2]
            client.parking = 0
            found.append(client)
        return found

    def load(self, client: Client, messages: list[Delivery], *, more_in_table: bool) -> None:
        """Give a client that was due its oldest messages from the table."""
        if self._clients.get(client.conversation) is not client:
            return
        client.parked_until, client.parking = None, 0
        client.more_in_table = more_in_table
        if not messages:
            self._forget(client)
            return
        self._hold(client, messages)
        self._ready(client)

    def start(self, client: Client) -> Delivery | None:
        """Return the message to send to a client that was ready; None where there is none, or none of ours any more."""
        if self._clients.get(client.conversation) is not client or client.partition not in self._owned:
            return None
        if not client.messages:
            self._go_on(client, LONG_AGO)
            return None
        client.sending = True
        return client.messages[0]

    def ended(self, client: Client, now: datetime) -> None:
        """The message that was being sent has ended, and the table knows it: on to the client's next one."""
        client.sending = False
        client.messages.popleft()
        self._held -= 1
        self._go_on(client, now)

    def retry(self, client: Client, due: datetime, *, waits_for: Account | None = None) -> None:
        """The message that was being sent is to be tried again at `due`, or when `waits_for` is back.

        The client waits with all it has.
        """
        client.sending = False
        self._held -= len(client.messages)
        client.messages.clear()
        if client.partition in self._owned:
            self._park(client, due)
            client.waits_for = waits_for
        else:
            self._forget(client)

    def wait_for(self, client: Client, account: Account) -> None:
        """The message was not sent, because nobody is called: the client waits until `account` is let go."""
        self.retry(client, NEVER, waits_for=account)
        if client.waits_for is not None:
            self._waiting.setdefault(account, deque()).append(client)

    def waited_for(self) -> frozenset[Account]:
        """The accounts whose clients wait to be let go."""
        return frozenset(self._waiting)

    def let_one_go(self, account: Account) -> None:
        """Take up again the client who has been waiting longest for `account`."""
        waiting = self._waiting.get(account)
        while waiting:
            client = waiting.popleft()
            if self._waits(client, account):
                self._park(client, LONG_AGO)
                return
        self._waiting.pop(account, None)

    def let_waiting_go(self, account: Account) -> None:
        """Take up again all who wait for `account`, in the order of waiting."""
        for client in self._waiting.pop(account, ()):
            if self._waits(client, account):
                self._park(client, LONG_AGO)

    def let_failed_go(self, account: Account) -> None:
        """Take up again, before their time, those whose last try failed because `account` was down."""
        for client in list(self._clients.values()):
            if client.waits_for == account and client.parked_until != NEVER:
                self._park(client, LONG_AGO)

    def drop(self, conversation: str, delivery_id: str) -> None:
        """A message that is not being sent has ended without our doing, and the table knows it: on to the next one."""
        client = self._clients.get(conversation)
        if client is None:
            return
        if client.parked_until is None:
            kept = deque(message for message in client.messages if message.id != delivery_id)
            self._held -= len(client.messages) - len(kept)
            client.messages = kept
        elif client.parked_until != NEVER:
            self._park(client, LONG_AGO)

    def _waits(self, client: Client, account: Account) -> bool:
        return client.waits_for == account and client.parked_until == NEVER

    def _go_on(self, client: Client, now: datetime) -> None:
        if client.partition not in self._owned:
            self._forget(client)
        elif client.messages:
            self._ready(client)
        elif client.more_in_table:
            self._park(client, now)
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
        self._parkings += 1
        client.parked_until, client.parking, client.waits_for = until, self._parkings, None
        if until != NEVER:
            heapq.heappush(self._parked, (until, self._parkings, client))

    def _forget(self, client: Client) -> None:
        self._held -= len(client.messages)
        client.messages.clear()
        client.parked_until, client.parking, client.waits_for = None, 0, None
        if self._clients.get(client.conversation) is client:
            del self._clients[client.conversation]
