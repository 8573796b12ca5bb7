"""Which services run: those that every project needs, and those that some project asks for by a section of its file."""

from __future__ import annotations

from collections.abc import Mapping

from chatledger.projects import Project


def services_of(projects: Mapping[str, Project]) -> list[str]:
    """Return their names in the order in which they are drained.

    What begins things unasked ends before the line that would have to carry them; then the line, from its front.
    """
    asked_for = {
        "outreach": any(project.outreach is not None for project in projects.values()),
        "crm": any(project.crm is not None for project in projects.values()),
    }
    return [*(name for name, is_wanted in asked_for.items() if is_wanted), "dialog", "billing", "notify", "ledger"]
