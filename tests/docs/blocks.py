"""The fenced blocks of a Markdown file, and the shell script that its console blocks make together.

The convention: a `python` block runs. A `console` block runs too, line by line where it begins with `$ `; a
following `> ` continues a command, and every other line is output, which is not compared. All console
blocks of a file are one shell session, in their order. The words `console not-run` after a fence are for what
cannot run inside the tests: the test command itself, or what needs another machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", flags=re.MULTILINE | re.DOTALL)

# Stops at the first command that fails, and never leaves a background `chatledger up` behind.
SCRIPT_HEAD = """\
set -euo pipefail
stop_the_rest() {
    status=$?
    for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
    wait || true
    exit "$status"
}
trap stop_the_rest EXIT
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: its language, the words after it, its text, and the line on which the text begins."""

    language: str
    words: tuple[str, ...]
    body: str
    line: int


def fenced_blocks(text: str) -> list[Block]:
    """Return the blocks of a Markdown text in their order."""
    blocks = []
    for found in FENCE.finditer(text):
        language, *words = found["info"].split() or [""]
        line = text.count("\n", 0, found.start("body")) + 1
        blocks.append(Block(language=language, words=tuple(words), body=found["body"], line=line))
    return blocks


def console_script(blocks: Iterable[Block]) -> str:
    """Return the commands of all console blocks as one bash script that names each command before it runs."""
    script = [SCRIPT_HEAD]
    for block in blocks:
        if block.language == "console" and "not-run" not in block.words:
            script.extend(_commands(block))
    return "\n".join(script) + "\n"


def _commands(block: Block) -> list[str]:
    lines: list[str] = []
    continues = False
    for number, line in enumerate(block.body.splitlines(), start=block.line):
        if line.startswith("$ "):
            lines += [f"echo '--- line {number}' >&2", line[2:]]
            continues = True
        elif continues and line.startswith("> "):
            lines.append(line[2:])
        else:
            continues = False
    return lines
