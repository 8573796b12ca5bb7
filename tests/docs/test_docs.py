"""What the documents say is true: their examples run, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import console_script, fenced_blocks
from tests.tidy.tree import ROOT, repository_files

README = ROOT / "README.md"
DOCUMENTS = [path for path in repository_files() if path.suffix == ".md"]
SESSION_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10
SHELL_LANGUAGES = {"bash", "sh", "shell", "zsh"}
RELATIVE_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)[^)]*\)")


def relative_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_python_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "projects", tmp_path / "projects")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__example__"}
    for block in fenced_blocks(document.read_text()):
        if block.language == "python" and "not-run" not in block.words:
            # The empty lines make a traceback name the document's own line.
            code = "\n" * (block.line - 1) + block.body
            exec(compile(code, str(document), "exec"), names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [found["target"] for found in RELATIVE_LINK.finditer(prose)]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


def test_the_readme_shows_commands_that_can_be_run() -> None:
    blocks = fenced_blocks(README.read_text())
    assert any(block.language == "console" and "not-run" not in block.words for block in blocks)
    unchecked = [block.line for block in blocks if block.language in SHELL_LANGUAGES]
    assert not unchecked, f"README.md lines {unchecked}: write `console` and `$ ` so that they are executed"


@pytest.mark.timeout(SESSION_TIMEOUT_S + 3 * STOP_TIMEOUT_S)
def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    copy = copy_of_the_repository(tmp_path / "chatledger")
    status, output = run_session(console_script(fenced_blocks(README.read_text())), copy)
    assert status == 0, output


def test_a_session_fails_with_its_first_failing_command(tmp_path: Path) -> None:
    text = "```console\n$ echo one\none\n$ false\n$ echo three\n```\n"
    status, output = run_session(console_script(fenced_blocks(text)), tmp_path)
    assert status == 1
    assert "one" in output
    assert "three" not in output


def test_a_session_stops_what_it_left_in_the_background(tmp_path: Path) -> None:
    text = "```console\n$ sleep 600 &\n$ echo $! > pid\n```\n"
    status, output = run_session(console_script(fenced_blocks(text)), tmp_path)
    assert status == 0, output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_long_commands_go_on_and_other_machines_are_left_out() -> None:
    text = "```console\n$ echo \\\n> two\noutput\n```\n```console not-run\n$ make test\n```\n```json\n$ x\n```\n"
    script = console_script(fenced_blocks(text))
    assert "echo \\\ntwo\n" in script
    assert "output" not in script
    assert "make test" not in script
    assert "$ x" not in script


def copy_of_the_repository(folder: Path) -> Path:
    """Copy what belongs to the repository, and share this installation, so that `make` finds it set up."""
    for path in repository_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    if (ROOT / ".venv").exists():
        (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def run_session(script: str, folder: Path) -> tuple[int, str]:
    """Run a script as a newcomer would: nothing of chatledger set, on a free port instead of 8000."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATLEDGER_")}
    # The folder of this Python, not of the one that it links to: the programs of .venv are there.
    environment |= {"PORT": port, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    output_path = folder / "session-output.txt"
    with output_path.open("w") as output:
        session = subprocess.Popen(
            ["bash", "-c", script.replace(":8000", f":{port}")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = session.wait(timeout=SESSION_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = stop(session)
    return status, output_path.read_text()


def stop(session: subprocess.Popen[bytes]) -> int:
    """End a session and what it started; those that listen may tidy up first."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(session.pid, kind)
        try:
            return session.wait(timeout=STOP_TIMEOUT_S) or 1
        except subprocess.TimeoutExpired:
            continue
    return 1
