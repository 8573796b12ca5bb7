"""What reminders, campaigns and the HTTP API work with, in one value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from chatledger.adapters.postgres import Connection, Pool
from chatledger.errors import OutsideUnavailable
from chatledger.ports import Clock
from chatledger.projects import Outreach as Terms
from chatledger.projects import Project
from chatledger_outreach.jobs import Jobs
from chatledger_outreach.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outreach:
    """The parts, wired. `projects` are those that have a section `outreach`.

    `committed` is called after a transaction that appended to the journal, so that the relay looks at once.
    """

    pool: Pool
    journal: Journal
    jobs: Jobs
    projects: Mapping[str, Project]
    clock: Clock
    committed: Callable[[], None]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Give a connection within a transaction, and tell the relay after it. Raises OutsideUnavailable."""
        try:
            async with self.pool.connection() as connection, connection.transaction():
                yield connection
        except psycopg.OperationalError as wrong:
            raise OutsideUnavailable(f"Postgres does not answer: {wrong}") from wrong
        self.committed()

    def terms(self, project: str) -> Terms | None:
        """Return a project's section `outreach`, None where it has none."""
        found = self.projects.get(project)
        return found.outreach if found else None


def with_outreach(projects: Mapping[str, Project]) -> dict[str, Project]:
    """Return the projects that have a section `outreach`."""
    return {name: project for name, project in projects.items() if project.outreach is not None}
