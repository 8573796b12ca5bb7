"""The house rules. Each takes the tree and returns what breaks it, one sentence per place.

Only what ruff, mypy and import-linter cannot see is here; test_tidy.py holds a bad example of each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Tree, dotted_name, imported_names, line_of, module_name, parsed, python_files

OUR_CODE = ("src/", "services/")
ALL_CODE = (*OUR_CODE, "tests/", "benchmarks/")

# A file is read in one sitting, a function without scrolling.
SOURCE_LINES_MAX = 300
TEST_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

PURE_ZONE = tuple(
    f"src/chatledger/{part}"
    for part in ("channels/", "conversation", "errors", "events/", "flows/", "projects.py", "topics.py")
)
# Clock, chance, environment, files, and what differs from one process to the next (the hash of a string).
IMPURE_NAME = re.compile(
    r"(os|pathlib|random|secrets|time)\..+|datetime\.(datetime\.(now|utcnow|today)|date\.today)|uuid\.uuid[14]"
)
IMPURE_BUILTINS = {"open", "print", "input", "hash", "id"}

LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b|#\s*XX" r"X\b")
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore)(?::\s*[A-Z0-9, ]*[0-9]|\[[^\]]*\])?(?P<reason>.*)")
MACHINE_PATH = re.compile(r"(?<![\w.*-])/(work|root)/")
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|repo1?\.maven\.(org|apache\.org)|crates\.io|rubygems\.org|proxy\.golang\.org"
)

# Doors for users' own tests, which nothing inside needs to open.
PUBLIC_MODULES = {"chatledger.testing", "chatledger.adapters.memory", "chatledger.adapters.memory_ledger"}


def short_files(tree: Tree) -> Iterator[str]:
    """A source file has at most 300 lines, a test file 400."""
    for path, text in python_files(tree, *ALL_CODE):
        lines, limit = text.count("\n"), SOURCE_LINES_MAX if path.startswith(OUR_CODE) else TEST_LINES_MAX
        if lines > limit:
            yield f"{path} has {lines} lines; the limit is {limit}"


def short_functions(tree: Tree) -> Iterator[str]:
    """A function has at most 60 lines."""
    for path, text in python_files(tree, *ALL_CODE):
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield f"{path}:{node.lineno} {node.name} has {lines} lines, not {FUNCTION_LINES_MAX}"


def pure_core(tree: Tree) -> Iterator[str]:
    """Events, conversation, flows and channels use no clock, chance, environment or file."""
    for path, text in python_files(tree, *PURE_ZONE):
        imported = imported_names(text)
        for node in ast.walk(parsed(text)):
            first, _, rest = dotted_name(node).partition(".")
            name = ".".join(filter(None, (imported.get(first), rest)))
            is_builtin = isinstance(node, ast.Call) and dotted_name(node.func) in IMPURE_BUILTINS
            if is_builtin or (first in imported and IMPURE_NAME.fullmatch(name)):
                what = name or ast.unparse(node)
                yield f"{path}:{line_of(node)} uses {what}; here it has to arrive as an argument or an event"


def nothing_left_over(tree: Tree) -> Iterator[str]:
    """No mark of unfinished work stays in a file."""
    yield from _lines_matching(tree, LEFTOVER, "is unfinished")


def no_swallowed_errors(tree: Tree) -> Iterator[str]:
    """Nobody catches every exception only to forget it."""
    for path, text in python_files(tree, *ALL_CODE):
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node.type) and _does_nothing(node.body):
                yield f"{path}:{node.lineno} catches every exception and drops it"
            if isinstance(node, ast.Call) and dotted_name(node.func) in ("suppress", "contextlib.suppress"):
                everything = [kind for kind in node.args if _catches_all(kind)]
                yield from (f"{path}:{node.lineno} suppresses every exception" for _ in everything)


def one_title(tree: Tree) -> Iterator[str]:
    """A Markdown file begins with its title and has no second one."""
    for path, text in tree.items():
        if path.endswith(".md"):
            outside_fences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
            titles = re.findall(r"^# .+", outside_fences, flags=re.MULTILINE)
            if len(titles) != 1 or not text.startswith("# "):
                yield f"{path} has {len(titles)} titles; it should begin with its only one"


def silence_has_a_reason(tree: Tree) -> Iterator[str]:
    """A silenced check says behind it why."""
    for path, text in python_files(tree, *ALL_CODE):
        for number, line in enumerate(text.splitlines(), start=1):
            found = SILENCED.search(line)
            if found and len(re.findall(r"\w+", found["reason"])) < 2:
                yield f"{path}:{number} silences a check without a reason behind it"


def module_says_what_it_does(tree: Tree) -> Iterator[str]:
    """Each module begins with a docstring."""
    for path, text in python_files(tree, *OUR_CODE):
        if not ast.get_docstring(parsed(text)):
            yield f"{path} has no docstring"


def no_machine_paths(tree: Tree) -> Iterator[str]:
    """No file names a folder of the machine that it was written on."""
    yield from _lines_matching(tree, MACHINE_PATH, "names a folder of one machine")


def no_registry_hosts(tree: Tree) -> Iterator[str]:
    """No file names a package registry; docs/adr/0001-lock-without-hosts.md says why."""
    yield from _lines_matching(tree, REGISTRY, "names a package registry")


def no_dead_modules(tree: Tree) -> Iterator[str]:
    """Each module is imported by another one, or is a program that something starts."""
    started = "\n".join(text for path, text in tree.items() if path in ("Makefile", "pyproject.toml"))
    used = set(re.findall(r"[\w.]+", started)) | PUBLIC_MODULES
    for path, text in python_files(tree, *OUR_CODE):
        used |= _names_used(path, text)
    for path, _ in python_files(tree, *OUR_CODE):
        name = module_name(path)
        if not path.endswith(("__init__.py", "__main__.py")) and name not in used:
            yield f"{path} is imported by nothing and started by nothing"


def _lines_matching(tree: Tree, pattern: re.Pattern[str], complaint: str) -> Iterator[str]:
    for path, text in tree.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if found := pattern.search(line):
                yield f"{path}:{number} {complaint}: {found[0]}"


def _catches_all(kind: ast.expr | None) -> bool:
    return kind is None or dotted_name(kind) in ("Exception", "BaseException")


def _does_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def _names_used(path: str, text: str) -> set[str]:
    """Return the modules that a file imports, and the dotted names in its strings (`python -m ...`)."""
    own = module_name(path).split(".")
    package = own if path.endswith("__init__.py") else own[:-1]
    used = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            used |= {source} | {f"{source}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value.partition(":")[0])
    return used
