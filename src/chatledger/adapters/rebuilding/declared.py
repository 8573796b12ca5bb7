"""What a service says of a read model so that it can be rebuilt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.live_standing import LiveStanding
from chatledger.adapters.rebuilding.shadow_tables import Table
from chatledger.ports import LedgerEvent
from chatledger.projects import Project

Apply = Callable[[Connection, Sequence[LedgerEvent]], Awaitable[None]]
"""Takes events into the tables, within the caller's transaction: the service's own code, on the built tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What one rebuild works with. `begun` is called once, while writers are locked out, on a plain connection.

    What was recorded before `since_time` counts for nothing.
    """

    standings: Sequence[LiveStanding]
    apply: Apply
    begun: Callable[[Connection], Awaitable[None]] | None = None
    since_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuildable:
    """A read model as its service declares it. `name` is that of its first table, `sentence` says what is in it.

    `service` signs dead letters. `locked_first` are the tables with which its writers' transactions begin, in their
    order; `types` are the events that it is made of. `begin` makes what one rebuild works with, for some projects.
    """

    name: str
    sentence: str
    service: str
    schema: str
    tables: tuple[Table, ...]
    types: tuple[str, ...]
    begin: Callable[[Mapping[str, Project]], Making]
    locked_first: tuple[str, ...] = ()

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables, with their schema."""
        return tuple(f"{self.schema}.{each.name}" for each in self.tables)
