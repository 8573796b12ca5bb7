"""The repository follows its house rules, and each rule can fail: it finds the bad example beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.tidy import rules
from tests.tidy.tree import Tree, read_tree

Rule = Callable[[Tree], Iterator[str]]

# Written in two pieces where the rules would find them here as well.
RULES: list[tuple[Rule, Tree]] = [
    (rules.short_files, {"src/long.py": "x = 1\n" * 301}),
    (rules.short_files, {"tests/test_long.py": "x = 1\n" * 401}),
    (rules.short_functions, {"services/a.py": "async def long():\n" + "    x = 1\n" * 60}),
    (rules.pure_core, {"src/chatledger/flows/a.py": "from datetime import datetime\nx = datetime.now()\n"}),
    (rules.pure_core, {"src/chatledger/channels/a.py": "import time as clock\nx = clock.monotonic\n"}),
    (rules.pure_core, {"src/chatledger/events/a.py": "from uuid import uuid4\nid_of_event = uuid4()\n"}),
    (rules.pure_core, {"src/chatledger/conversation.py": "import os\nmode = os.environ['MODE']\n"}),
    (rules.pure_core, {"src/chatledger/projects.py": "text = open('projects.yaml').read()\n"}),
    (rules.nothing_left_over, {"docs/plan.md": "# Plan\n\nTO" + "DO: write it\n"}),
    (rules.nothing_left_over, {"Makefile": "# XX" + "X does not work yet\n"}),
    (rules.no_swallowed_errors, {"src/a.py": "try:\n    act()\nexcept Exception:\n    pass\n"}),
    (rules.no_swallowed_errors, {"src/a.py": "try:\n    act()\nexcept:\n    ...\n"}),
    (rules.no_swallowed_errors, {"src/a.py": "with contextlib.suppress(Exception):\n    act()\n"}),
    (rules.one_title, {"docs/a.md": "# One\n\n# Two\n"}),
    (rules.one_title, {"docs/a.md": "No title\n\n```\n# a comment in a block\n```\n"}),
    (rules.silence_has_a_reason, {"src/a.py": "import a  # no" + "qa: F401\n"}),
    (rules.silence_has_a_reason, {"src/a.py": "a = b()  # type: " + "ignore[no-untyped-call]\n"}),
    (rules.module_says_what_it_does, {"services/ledger/chatledger_ledger/a.py": "x = 1\n"}),
    (rules.no_machine_paths, {"README.md": "# A\n\ncd /" + "root/project\n"}),
    (rules.no_registry_hosts, {"requirements.lock": "--index-url https://py" + "pi.org/simple\n"}),
    (rules.no_dead_modules, {"src/chatledger/a.py": "from chatledger import b\n", "src/chatledger/b.py": ""}),
]


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree()


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES), ids=lambda rule: rule.__name__)
def test_the_repository_follows(rule: Rule, tree: Tree) -> None:
    findings = list(rule(tree))
    assert not findings, f"{rule.__doc__}\n" + "\n".join(findings)


@pytest.mark.parametrize(("rule", "bad_example"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_rule_finds_its_bad_example(rule: Rule, bad_example: Tree) -> None:
    assert list(rule(bad_example))


def test_a_local_variable_may_be_called_like_a_module() -> None:
    local = "def day(time):\n    return time.toordinal()\n"
    assert not list(rules.pure_core({"src/chatledger/conversation.py": local}))


def test_a_reason_behind_a_silenced_check_is_enough() -> None:
    reasoned = "a = b()  # type: " + "ignore[no-untyped-call]  # the library has no types\n"
    assert not list(rules.silence_has_a_reason({"src/a.py": reasoned}))


def test_every_rule_is_held() -> None:
    written = [value for value in vars(rules).values() if getattr(value, "__module__", "") == rules.__name__]
    public = {rule for rule in written if not rule.__name__.startswith("_")}
    assert public == {rule for rule, _ in RULES}


def test_the_tree_is_the_whole_repository(tree: Tree) -> None:
    assert {"pyproject.toml", "Makefile", ".ci/run", "src/chatledger/__init__.py"} <= tree.keys()
    assert not any(path.startswith((".venv/", ".git/", "var/")) for path in tree)
