"""History as an analyst asks for it: `open` it, then take events, conversations and messages as tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from types import TracebackType

from chatledger.conversation import Conversation, initial
from chatledger.errors import ConfigurationError
from chatledger.history.anonymised import Anonymiser
from chatledger.history.connection import LedgerConnection, decoded, plain_row
from chatledger.history.conversations import conversation_parts
from chatledger.history.messages import message_parts
from chatledger.history.pseudonyms import Pseudonyms
from chatledger.history.queries import EventQuery, Query
from chatledger.history.rows import ConversationRow, EventRow, MessageRow, Part, event_row
from chatledger.ports import LedgerEvent, Selection
from chatledger.replay import States, fold_into

DATABASE_VARIABLE = "CHATLEDGER_DATABASE"
Moment = datetime | date | str
"""A time with its offset, a day (from midnight, UTC), or either as ISO 8601 text."""


def open_history(url: str | None = None, *, anonymise_key: bytes | None = None) -> History:
    """Open the ledger at a Postgres URL, without one at what CHATLEDGER_DATABASE says, to be read and nothing else.

    Whatever is anonymised while it is open gets one set of pseudonyms, so that the tables can be joined; with an
    `anonymise_key` of 16 bytes or more they are the same again another time.

    Raises ConfigurationError where no ledger is named or there is none, OutsideUnavailable where it does not answer.
    """
    url = url or os.environ.get(DATABASE_VARIABLE)
    if not url:
        raise ConfigurationError(
            f"which ledger? Give the URL of its Postgres, postgresql://user:password@host/database, or set"
            f" {DATABASE_VARIABLE}; `chatledger up` without one keeps the URL of its own in var/up.json"
        )
    pseudonyms = Pseudonyms(anonymise_key)
    return History(LedgerConnection(url), Anonymiser(pseudonyms))


class History:
    """An open ledger. Use it in a `with`, or close it; it is for one thread at a time."""

    def __init__(self, connection: LedgerConnection, anonymiser: Anonymiser) -> None:
        self._connection = connection
        self._anonymiser = anonymiser

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        after: int = 0,
        until_position: int | None = None,
        types: Iterable[str] = (),
        project: str | None = None,
        stream: str | None = None,
        anonymise: bool = False,
    ) -> EventQuery:
        """Every event that is selected, in the order of positions. Times are recorded times; both belong to it.

        `after` is a position that does not belong to it any more. With `anonymise` nothing in it tells of a client.
        """
        selection = Selection(
            after=after,
            until_position=until_position,
            since_time=moment(since),
            until_time=moment(until),
            stream=stream,
            types=(types,) if isinstance(types, str) else tuple(types),
            project=project,
        )
        anonymiser = self._anonymiser if anonymise else None
        return EventQuery(lambda: self._event_parts(selection, anonymiser), lambda: self._events(selection, anonymiser))

    def conversations(
        self,
        *,
        at: Moment | None = None,
        position: int | None = None,
        since: Moment | None = None,
        project: str | None = None,
        anonymise: bool = False,
    ) -> Query[ConversationRow]:
        """One row per conversation, as it was known at a recorded time or a position, or is known now.

        With `since`, only those of which something was recorded since then.
        """
        selection = Selection(until_position=position, until_time=moment(at), since_time=moment(since), project=project)
        anonymiser = self._anonymiser if anonymise else None
        return Query(ConversationRow, lambda: conversation_parts(self._connection, selection, anonymiser))

    def messages(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        after: int = 0,
        until_position: int | None = None,
        project: str | None = None,
        stream: str | None = None,
        anonymise: bool = False,
    ) -> Query[MessageRow]:
        """Every message in both directions that was recorded in this time, with what became of it by its end."""
        selection = Selection(
            after=after,
            until_position=until_position,
            since_time=moment(since),
            until_time=moment(until),
            stream=stream,
            project=project,
        )
        anonymiser = self._anonymiser if anonymise else None
        return Query(MessageRow, lambda: message_parts(self._connection, selection, anonymiser))

    def state(self, conversation: str, *, at: Moment | None = None, position: int | None = None) -> Conversation:
        """One conversation as it was known then, or is known now; the initial state where nothing was known."""
        stream = f"conversation-{conversation}"
        states: States = {}
        for event in self.events(stream=stream, until=at, until_position=position):
            fold_into(states, event.envelope)
        return states.get(conversation, initial())

    def last_position(self) -> int:
        """The position of the newest event; 0 where there is none."""
        return self._connection.last_position()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _events(self, selection: Selection, anonymiser: Anonymiser | None) -> Iterator[LedgerEvent]:
        for stretch in self._connection.stretches(selection):
            for kept in stretch.rows:
                event = decoded(kept)
                yield anonymiser.event(event) if anonymiser else event

    def _event_parts(self, selection: Selection, anonymiser: Anonymiser | None) -> Iterator[Part[EventRow]]:
        for stretch in self._connection.stretches(selection):
            if anonymiser is None:
                yield Part(stretch.end, [plain_row(kept) for kept in stretch.rows])
            else:
                yield Part(stretch.end, [event_row(anonymiser.event(decoded(kept))) for kept in stretch.rows])


def moment(given: Moment | None) -> datetime | None:
    """Read a moment; a day begins at midnight in UTC. Raises ValueError for a time that does not say its offset."""
    if isinstance(given, str):
        given = date.fromisoformat(given) if len(given) <= len("2026-11-21") else datetime.fromisoformat(given)
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise ValueError(f"{given.isoformat()} has no offset: write {given.isoformat()}Z, or +02:00 behind it")
        return given.astimezone(UTC)
    return None if given is None else datetime(given.year, given.month, given.day, tzinfo=UTC)
