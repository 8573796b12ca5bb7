"""deploy/settings.example.env names every setting of every service with its default, and nothing else."""

from __future__ import annotations

import itertools
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from chatledger.channels import CHANNELS
from chatledger.errors import ConfigurationError
from chatledger.project_files import load_projects
from chatledger.projects import Crm
from chatledger.settings import read_settings
from chatledger_billing.settings import BillingSettings
from chatledger_cli.up_settings import UpSettings
from chatledger_crm.settings import CrmSettings, variables_of
from chatledger_dialog.settings import DialogSettings
from chatledger_ingress.settings import IngressSettings
from chatledger_ledger.settings import LedgerSettings
from chatledger_notify.settings import NotifySettings
from chatledger_outreach.settings import OutreachSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "deploy" / "settings.example.env").read_text()
# The first that has a field says its default: for `up` the broker and the database may be absent.
ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    UpSettings,
    IngressSettings,
    DialogSettings,
    BillingSettings,
    NotifySettings,
    LedgerSettings,
    OutreachSettings,
    CrmSettings,
)
ENTRY = re.compile(r"^#(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", flags=re.MULTILINE)


def names_of(settings: type[BaseSettings], field: str) -> list[str]:
    alias = settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [str(alias)] if alias else [f"CHATLEDGER_{field.upper()}"]


def as_written(value: Any) -> str:
    if value is None:
        return ""
    return orjson.dumps(value).decode() if isinstance(value, tuple) else str(value)


def settings_fields() -> dict[str, str]:
    fields: dict[str, str] = {}
    for settings in ALL_SETTINGS:
        for field, about in settings.model_fields.items():
            fields.setdefault(names_of(settings, field)[0], as_written(about.default))
    return fields


def secrets() -> dict[str, str]:
    """The variables that channels and the crm read, and, where a project names others, those."""
    found = {channel.api_url_env: channel.api_url for channel in CHANNELS.values()}
    of_channels = [channel.variables for channel in CHANNELS.values()]
    of_projects = [
        CHANNELS[name].variables_for(settings)
        for project in load_projects(ROOT / "projects").values()
        for name, settings in project.channels.items()
    ]
    found |= dict.fromkeys(variables_of(Crm(kind="zoho")), "")
    return found | {name: "" for each in (*of_channels, *of_projects) for name in asdict(each).values() if name}


def test_every_setting_is_there_with_its_default_and_nothing_else() -> None:
    assert {found["name"]: found["value"] for found in ENTRY.finditer(EXAMPLE)} == settings_fields() | secrets()


def test_every_entry_has_its_sentence() -> None:
    lines = EXAMPLE.splitlines()
    for before, line in itertools.pairwise(lines):
        if ENTRY.match(line):
            assert re.match(r"# [A-Z].*[.)]", before), line


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda settings: settings.__name__)
def test_other_names_are_mentioned(settings: type[BaseSettings]) -> None:
    for field in settings.model_fields:
        for name in names_of(settings, field):
            assert name in EXAMPLE


def test_a_wrong_value_is_said_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ConfigurationError, match=r"^PORT: Input should be a valid integer"):
        read_settings(UpSettings)


def test_the_old_bots_names_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATLEDGER_DATABASE", raising=False)
    monkeypatch.setenv("DATABASE_HOST", "db.example")
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = read_settings(UpSettings)
    assert (settings.database_url, settings.port, settings.log_level) == (
        "postgresql://db.example/chatledger",
        8080,
        "debug",
    )
