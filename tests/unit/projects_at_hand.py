"""Projects that several tests talk to: the shipped examples, and variants of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from chatledger.project_files import load_projects, parse_project
from chatledger.projects import Project

FOLDER = Path(__file__).resolve().parents[2] / "projects"
EXAMPLE = load_projects(FOLDER)["order-form"]
STORE = load_projects(FOLDER)["store"]
DOCUMENT: dict[str, Any] = yaml.safe_load((FOLDER / "order-form.yaml").read_text("utf-8"))
STORE_DOCUMENT: dict[str, Any] = yaml.safe_load((FOLDER / "store.yaml").read_text("utf-8"))


def variant(**changes: Any) -> Project:
    """Return the example project with some of its fields replaced; None takes a field away."""
    return parse_project(document(**changes), where="variant.yaml")


def document(**changes: Any) -> str:
    """Return the example's file with some of its fields replaced, as YAML; None takes a field away."""
    merged = {key: value for key, value in (DOCUMENT | changes).items() if value is not None}
    return yaml.safe_dump(merged, allow_unicode=True)


def offer(**changes: Any) -> dict[str, Any]:
    """Return the example's offer with some of its fields replaced; None takes a field away."""
    return {key: value for key, value in (DOCUMENT["offer"] | changes).items() if value is not None}


def store_variant(**changes: Any) -> Project:
    """Return the example store with some of its fields replaced; None takes a field away."""
    return parse_project(store_document(**changes), where="variant.yaml")


def store_document(**changes: Any) -> str:
    """Return the example store's file with some of its fields replaced, as YAML; None takes a field away."""
    merged = {key: value for key, value in (STORE_DOCUMENT | changes).items() if value is not None}
    return yaml.safe_dump(merged, allow_unicode=True)


def store(**changes: Any) -> dict[str, Any]:
    """Return the example's section `store` with some of its fields replaced; None takes a field away."""
    return {key: value for key, value in (STORE_DOCUMENT["store"] | changes).items() if value is not None}


def product(sku: str, /, **changes: Any) -> dict[str, Any]:
    """Return one product of the example's catalogue with some of its fields replaced; None takes a field away."""
    [found] = [each for each in STORE_DOCUMENT["store"]["catalogue"] if each["sku"] == sku]
    return {key: value for key, value in (found | changes).items() if value is not None}
