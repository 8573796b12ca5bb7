"""Reads project files: YAML in, checked projects out, and an error that names the file, the field and the mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import phonenumbers
import yaml
from pydantic import TypeAdapter, ValidationError

from chatledger.channels import CHANNELS
from chatledger.errors import ConfigurationError
from chatledger.flows import FLOWS, Flow
from chatledger.flows.notices import REMINDER_TEXTS
from chatledger.project_sections import check_sections, read_sections
from chatledger.projects import Project, variables_of

_PROJECT = TypeAdapter(Project)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads an unquoted yes, no, on or off as true or false; here they are the words that clients say."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:[Tt]rue|[Ff]alse)$"), list("tTfF"))


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
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as wrong:
            raise ConfigurationError(f"{path.name}: cannot be read as UTF-8 text: {wrong}") from wrong
        project = parse_project(text, where=path.name)
        if project.name in projects:
            raise ConfigurationError(f"{path.name}: name: {project.name!r} is used by another file too")
        projects[project.name] = project
    for channel in CHANNELS:
        default_project(projects, channel)
    return projects


def parse_project(text: str, *, where: str) -> Project:
    """Check one project document. Raises ConfigurationError with `where`, the field and what to do."""
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as wrong:
        raise ConfigurationError(f"{where}: not YAML: {wrong}") from wrong
    if not isinstance(document, dict):
        raise ConfigurationError(f"{where}: a project file is a mapping that starts with name: and flow:")
    flow = FLOWS.get(str(document.get("flow", "")))
    if flow is None:
        raise ConfigurationError(f"{where}: flow: choose one of {', '.join(FLOWS)}")
    try:
        project = _PROJECT.validate_python(_complete(document, flow, where))
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise ConfigurationError(f"{where}: {field}: {first['msg']}") from wrong
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


def _complete(document: dict[str, Any], flow: Flow, where: str) -> dict[str, Any]:
    """Lay the project's texts and words over those that ship with its flow, and read its sections."""
    shipped = _shipped(flow.name)
    if document.get("outreach") is not None:
        for language, texts in _shipped("reminders")["texts"].items():
            shipped["texts"].setdefault(language, {}).update(texts)
    languages = document.get("languages")
    if not isinstance(languages, list) or not all(isinstance(language, str) for language in languages):
        raise ConfigurationError(f"{where}: languages: write a list such as [en, ru]")
    complete = dict(document)
    for part in ("texts", "words"):
        given = _given(document.get(part), part, languages, where)
        complete[part] = {
            language: {**shipped[part].get(language, {}), **given.get(language, {})} for language in languages
        }
    return complete | read_sections(document, flow, where)


def _shipped(name: str) -> dict[str, Any]:
    shipped: dict[str, Any] = yaml.safe_load(files("chatledger.texts").joinpath(f"{name}.yaml").read_text("utf-8"))
    return shipped


def _given(value: Any, part: str, languages: list[str], where: str) -> dict[str, dict[str, Any]]:
    """Return the project's own texts or words by language; words as they are compared, without case."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where}: {part}: write a mapping that starts with a language")
    for language, entries in given.items():
        if language not in languages:
            raise ConfigurationError(f"{where}: {part}.{language}: is not one of the project's languages")
        if not isinstance(entries, dict):
            raise ConfigurationError(f"{where}: {part}.{language}: write a mapping")
    if part == "texts":
        return given
    return {
        language: {word: _without_case(ways) for word, ways in entries.items()} for language, entries in given.items()
    }


def _without_case(ways: Any) -> Any:
    if not isinstance(ways, list):
        return ways
    return [" ".join(way.casefold().split()) if isinstance(way, str) else way for way in ways]


def _check(project: Project, flow: Flow, where: str) -> None:
    known_texts = flow.texts if project.outreach is None else {**flow.texts, **REMINDER_TEXTS}
    for language in project.languages:
        texts, words = project.texts[language], project.words[language]
        for key, allowed in known_texts.items():
            if key not in texts:
                raise ConfigurationError(f"{where}: texts.{language}.{key}: is missing")
            unknown = variables_of(texts[key]) - allowed
            if unknown:
                raise ConfigurationError(
                    f"{where}: texts.{language}.{key}: unknown variable {{{min(unknown)}}};"
                    f" it may use {', '.join(sorted(allowed)) or 'none'}"
                )
        for key in texts.keys() - known_texts.keys():
            raise ConfigurationError(f"{where}: texts.{language}.{key}: the flow {flow.name} has no such text")
        for word in flow.words:
            if not words.get(word):
                raise ConfigurationError(f"{where}: words.{language}.{word}: is missing")
        for word in words.keys() - set(flow.words):
            raise ConfigurationError(f"{where}: words.{language}.{word}: the flow {flow.name} has no such word")
    if project.region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigurationError(f"{where}: region: {project.region} is no ISO 3166 country code such as IN or GB")
    for channel in project.channels:
        if channel not in CHANNELS:
            raise ConfigurationError(f"{where}: channels.{channel}: choose one of {', '.join(CHANNELS)}")
    check_sections(project, where)
