"""What the child does with history: one pass for the figures, one over the examples for what is shown of them.

Imports the flows, so it is imported after the changed ones were laid over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from mmap import mmap
from pathlib import Path
from typing import Any

from chatledger.errors import ConfigurationError, UndecodableRecord
from chatledger.flows import pipeline
from chatledger.inventory import LiveProjects
from chatledger.project_files import parse_project
from chatledger.projects import Project
from chatledger.replay import read_event_line
from chatledger.what_if import Compared, Comparison, Evidence, Tally, report
from chatledger_cli.what_if.limit import Limited
from chatledger_cli.what_if.pipe import Asked, Pipe


def compare(pipe: Pipe, asked: Asked, files: Mapping[str, Path], flows: list[str], mark: mmap) -> dict[str, Any]:
    """Compare what comes by the pipe, and return the report.

    Raises ConfigurationError for a project file that is wrong or a flow that takes too long, and what the fold raises.
    """
    projects, changed = read_projects(asked)
    decide = Limited(pipeline.decide, limit_s=asked.limit_s, files=files.values(), mark=mark)
    pipe.tell(
        ready={
            "modules": [{"module": name, "file": str(file)} for name, file in files.items()],
            "flows": flows,
            "projects": sorted(projects),
            "changed_projects": changed,
            "with_inventory": sorted(name for name, project in projects.items() if project.crm and project.store),
        }
    )
    return _Passes(pipe, asked, projects, decide).run()


def read_projects(asked: Asked) -> tuple[dict[str, Project], list[str]]:
    """Return the projects by name, checked against the flows as they are now, and the names of those that changed.

    A file whose project is replaced need not fit a changed flow. Raises ConfigurationError.
    """
    given = {project.name: project for project in (parse_project(text, where=where) for where, text in asked.changed)}
    if len(given) < len(asked.changed):
        raise ConfigurationError("--project: two of the files have the same name: in them; give one of them")
    projects: dict[str, Project] = {}
    for where, text in asked.projects:
        try:
            project = parse_project(text, where=where)
        except ConfigurationError:
            if _name_in(text) not in given:
                raise
        else:
            projects[project.name] = project
    return projects | given, sorted(given)


class _Passes:
    def __init__(self, pipe: Pipe, asked: Asked, projects: Mapping[str, Project], decide: Limited) -> None:
        self._pipe = pipe
        self._asked = asked
        self._live = LiveProjects(projects, remembered=None)
        self._decide = decide
        self._unreadable = 0

    def run(self) -> dict[str, Any]:
        """Count all, ask for the examples, and report."""
        comparison, tally = self._comparison(), Tally()
        for compared in self._all(comparison):
            tally.note(compared)
        unreadable = self._unreadable
        wanted = tally.examples(self._asked.examples)
        self._pipe.tell(examples=wanted)
        turns: dict[str, list[Compared]] = {name: [] for name in wanted}
        for compared in self._all(self._comparison(comparison.evidence)):
            turns[compared.cause.envelope.conversation].append(compared)
        document = report(tally, comparison.left_out, turns, personal=self._asked.personal)
        document["totals"]["unreadable"] = unreadable
        names = {name.partition("/")[0] for name in comparison.left_out.without_project}
        return {**document, "projects_missing": sorted(names)}

    def _comparison(self, evidence: Evidence | None = None) -> Comparison:
        since = datetime.fromisoformat(self._asked.since) if self._asked.since else None
        return Comparison(self._live, decide=self._decide, since=since, follow=self._asked.follow, evidence=evidence)

    def _all(self, comparison: Comparison) -> Iterator[Compared]:
        for line in self._pipe.events():
            try:
                event = read_event_line(line)
            except UndecodableRecord:
                self._unreadable += 1
                continue
            yield from comparison.take(event)
        for compared in comparison.end():
            yield compared
            self._pipe.alive()


def _name_in(text: str) -> str | None:
    """The name in a project file that may be wrong otherwise."""
    names = [line.partition(":")[2].strip(" \"'") for line in text.splitlines() if line.startswith("name:")]
    return names[0] if names else None
