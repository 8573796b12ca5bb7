"""Reads project files: YAML in, checked projects out, and an error that names the file, the field and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from chatledger.channels import CHANNELS
from chatledger.errors import ConfigurationError
from chatledger.events.money import money_from_text
from chatledger.flows import FLOWS, Flow
from chatledger.projects import Project, variables_of

_PROJECT = TypeAdapter(Project)


def load_projects(folder: Path) -> dict[str, Project]:
    """Read every `*.yaml` in `folder`, by project name.

    Raises ConfigurationError when there is none, when one is wrong, or when two claim the same name or bare path.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigurationError(
            f"no project files (*.yaml) in {folder}: set CHATLEDGER_PROJECTS to the folder that has them"
        )
    projects: dict[str, Project] = {}
    for path in paths:
        project = parse_project(path.read_text(encoding="utf-8"), where=path.name)
        if project.name in projects:
            raise ConfigurationError(f"{path.name}: name: {project.name!r} is used by another file too")
        projects[project.name] = project
    for channel in CHANNELS:
        default_project(projects, channel)
    return projects


def parse_project(text: str, *, where: str) -> Project:
    """Check one project document. Raises ConfigurationError with `where`, the field and what to do."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise ConfigurationError(f"{where}: not YAML: {wrong}") from wrong
    if not isinstance(document, dict):
        raise ConfigurationError(f"{where}: a project file is a mapping that starts with name: and flow:")
    flow = FLOWS.get(document.get("flow", ""))
    if flow is None:
        raise ConfigurationError(f"{where}: flow: choose one of {', '.join(FLOWS)}")
    try:
        project = _PROJECT.validate_python(_complete(document, flow))
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        raise ConfigurationError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from wrong
    except (ValueError, ArithmeticError) as wrong:
        raise ConfigurationError(f'{where}: offer.price: {wrong}; write {{amount: "250.00", currency: INR}}') from wrong
    _check(project, flow, where)
    return project


def default_project(projects: Mapping[str, Project], channel: str) -> Project | None:
    """Return the project that takes the channel's bare path, the only one, or None.

    Raises ConfigurationError when two claim it.
    """
    users = [project for project in projects.values() if channel in project.channels]
    claimants = [project for project in users if project.channels[channel].default]
    if len(claimants) > 1:
        names = ", ".join(project.name for project in claimants)
        raise ConfigurationError(f"channels.{channel}.default is true in {names}: keep it in one")
    return claimants[0] if claimants else users[0] if len(users) == 1 else None


def _complete(document: dict[str, Any], flow: Flow) -> dict[str, Any]:
    """Lay the project's texts and words over those that ship with its flow, and read its price."""
    shipped = yaml.safe_load(files("chatledger.texts").joinpath(f"{flow.name}.yaml").read_text("utf-8"))
    complete = dict(document)
    for part in ("texts", "words"):
        given = document.get(part, {})
        complete[part] = {
            language: {**shipped[part].get(language, {}), **given.get(language, {})}
            for language in document.get("languages", [])
        }
    offer = document.get("offer")
    if isinstance(offer, dict) and isinstance(offer.get("price"), dict):
        price = offer["price"]
        money = money_from_text(str(price.get("amount")), str(price.get("currency")))
        complete["offer"] = {**offer, "price": money}
    return complete


def _check(project: Project, flow: Flow, where: str) -> None:
    for language in project.languages:
        texts, words = project.texts[language], project.words[language]
        for key, allowed in flow.texts.items():
            if key not in texts:
                raise ConfigurationError(f"{where}: texts.{language}.{key}: is missing")
            unknown = variables_of(texts[key]) - allowed
            if unknown:
                raise ConfigurationError(
                    f"{where}: texts.{language}.{key}: unknown variable {{{min(unknown)}}};"
                    f" it may use {', '.join(sorted(allowed)) or 'none'}"
                )
        for key in texts.keys() - flow.texts.keys():
            raise ConfigurationError(f"{where}: texts.{language}.{key}: the flow {flow.name} has no such text")
        for word in flow.words:
            if not words.get(word):
                raise ConfigurationError(f"{where}: words.{language}.{word}: is missing")
    for channel in project.channels:
        if channel not in CHANNELS:
            raise ConfigurationError(f"{where}: channels.{channel}: choose one of {', '.join(CHANNELS)}")
