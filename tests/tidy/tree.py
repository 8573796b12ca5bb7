"""The text files of the repository as a mapping from path to text, and what rules ask of them.

A copy without its git folder is read the same way, so what git ignores is left out here by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Tree = dict[str, str]

# What is installed, built or kept by a running system; hidden folders are left out too, except for these.
GENERATED_FOLDERS = {"__pycache__", "build", "dist", "target"}
GENERATED_AT_TOP = {"var"}
HIDDEN_BUT_OURS = {".ci", ".github", ".gitignore", ".dockerignore", ".editorconfig", ".python-version"}

# Where each import package of the distribution begins.
SOURCE_ROOTS = (
    "src/",
    "services/ingress/",
    "services/dialog/",
    "services/billing/",
    "services/notify/",
    "services/ledger/",
    "services/outreach/",
    "services/crm/",
)


def read_tree(root: Path = ROOT) -> Tree:
    """Return every text file below `root` that belongs to the repository."""
    tree = {}
    for path in repository_files(root):
        try:
            tree[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # A picture or an archive: no rule reads it.
        except FileNotFoundError:
            continue  # Another program's short-lived file, gone since the folder was listed.
    return tree


def repository_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file below `root` that belongs to the repository."""
    yield from _walk(root, at_top=True)


def _walk(folder: Path, *, at_top: bool = False) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS:
            continue
        if path.name in GENERATED_FOLDERS or (at_top and path.name in GENERATED_AT_TOP):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file():
            yield path


def python_files(tree: Tree, *folders: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of each Python file in one of the folders (`"src/"`)."""
    for path, text in tree.items():
        if path.endswith(".py") and path.startswith(folders):
            yield path, text


@cache
def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a file's text; rules share it."""
    return ast.parse(text)


def dotted_name(node: ast.AST) -> str:
    """Return `a.b.c` for a name or a chain of attributes, and an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted_name(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def imported_names(text: str) -> dict[str, str]:
    """Return what each name that a file imports stands for: `{"now": "datetime.datetime.now"}`."""
    names = {}
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def line_of(node: ast.AST) -> int:
    """Return the line on which a piece of syntax begins; 0 for what has no place."""
    return getattr(node, "lineno", 0)


def module_name(path: str) -> str:
    """Return the dotted name under which a source file is imported, or an empty string for another file."""
    for root in SOURCE_ROOTS:
        if path.startswith(root) and path.endswith(".py"):
            inner = path.removeprefix(root).removesuffix(".py").removesuffix("/__init__")
            return inner.replace("/", ".")
    return ""
