"""Every library that the source imports is declared, and every declared one is locked."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

from tests.tidy.tree import ROOT, module_name, parsed, python_files, read_tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEV = PROJECT["dependency-groups"]["dev"]
# Part of the public face of a declared library, at a version that only that library may choose.
BROUGHT_ALONG = {"psycopg": "psycopg-pool", "fastapi": "starlette", "faust-streaming": "mode-streaming"}
OPTIONAL = {".embedded": "embedded", ".pdf": "pdf", ".history.": "analytics"}
"""A part of a module's name, and the extra that such a module needs."""

distributions_of = cache(packages_distributions)


def names(requirements: list[str]) -> set[str]:
    """Return the normalised names in a list such as `["psycopg[binary]>=3.2"]`."""
    return {normalised(re.split(r"[\[<>=~! ;]", requirement)[0]) for requirement in requirements}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def libraries_imported(text: str) -> set[str]:
    """Return the distributions whose modules a source file imports."""
    modules = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    outside = {module for module in modules - sys.stdlib_module_names if not module.startswith("chatledger")}
    return {normalised(distributions_of().get(module, [module])[0]) for module in outside}


def test_every_imported_library_is_declared() -> None:
    undeclared = {}
    for path, text in python_files(read_tree(), "src/", "services/"):
        # Only these modules may need their extra; a deployment goes without.
        extras = [line for part, extra in OPTIONAL.items() if part in module_name(path) for line in EXTRAS[extra]]
        declared = names(CORE + extras)
        declared |= {BROUGHT_ALONG[name] for name in declared & BROUGHT_ALONG.keys()}
        if missing := libraries_imported(text) - declared:
            undeclared[path] = missing
    assert not undeclared


def test_an_undeclared_library_is_found() -> None:
    assert libraries_imported("import orjson, os\nfrom yaml import safe_load\n") == {"orjson", "pyyaml"}
    assert "pytest" not in names(CORE)


def test_every_declared_library_is_locked() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    declared = names(CORE + DEV + [line for extra in EXTRAS.values() for line in extra])
    assert not declared - locked
