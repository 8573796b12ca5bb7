"""Small parts of the command line: the data folder's lock, up.json, readable logs, errors in one line, exit codes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chatledger import __version__
from chatledger.errors import ConfigurationError
from chatledger.project_files import load_projects
from chatledger.projects import Crm
from chatledger_cli.demo import EXAMPLE_PROJECTS
from chatledger_cli.log_lines import readable
from chatledger_cli.main import COMMANDS, build
from chatledger_cli.running import UpState, only_one, read_state, remove_state, write_state
from chatledger_cli.services import services_of
from chatledger_cli.unset import what_is_unset
from chatledger_cli.up_settings import UpSettings

ROOT = Path(__file__).resolve().parents[2]
TWILIO = ["TWILIO_SID", "TWILIO_AUTH_TOKEN", "TWILIO_WHATSAPP_NUMBER", "PUBLIC_BASE_URL"]
META = ["META_APP_SECRET", "META_ACCESS_TOKEN", "META_PHONE_NUMBER_ID"]
STATE = UpState(broker="127.0.0.1:1", incarnation="i", database="postgresql://p:secret@h/d", pid=1, port=8000)


def chatledger(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CHATLEDGER_", "CHAT2DESK_"))}
    return subprocess.run(
        [sys.executable, "-m", "chatledger_cli.main", *arguments],
        cwd=folder,
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_up_at_a_time_and_the_other_says_who(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ConfigurationError, match=rf"kill {os.getpid()}"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_up_json_is_private_and_one_that_was_left_behind_is_removed(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    assert stat.S_IMODE((tmp_path / "up.json").stat().st_mode) == 0o600
    with only_one(tmp_path):
        assert read_state(tmp_path) is None
    write_state(tmp_path, STATE)
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_a_damaged_up_json_is_said(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text('{"broker"')
    with pytest.raises(ConfigurationError, match="is damaged"):
        read_state(tmp_path)


def test_log_lines_are_readable() -> None:
    line = '{"event":"dialog.drained","service":"web","level":"info","n":3,"timestamp":"2026-11-21T03:42:44.623045Z"}'
    assert readable(line) == "03:42:44.623 info    dialog.drained n=3"
    assert readable("Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert readable("[1, 2]") == "[1, 2]"


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)], ids=lambda names: " ".join(names) or "all")
def test_every_command_registers_itself(arguments: tuple[str, ...]) -> None:
    app = build(arguments)
    registered = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    registered |= {str(group.name) for group in app.registered_groups}
    assert set(arguments or COMMANDS) <= registered


def test_the_version(tmp_path: Path) -> None:
    assert chatledger("--version", folder=tmp_path).stdout == f"chatledger {__version__}\n"


TEACHING = ["up", "demo", "send", "tail", "topics", "projects check", "dead list", "dead put-back", "keys create"]


@pytest.mark.parametrize("command", TEACHING)
def test_every_help_teaches_by_an_example(command: str, tmp_path: Path) -> None:
    shown = chatledger(*command.split(), "--help", folder=tmp_path)
    assert shown.returncode == 0
    assert f"Example: chatledger {command.split()[0]}" in shown.stdout or "chatledger topics" in shown.stdout


def test_project_files_are_checked(tmp_path: Path) -> None:
    right = chatledger("projects", "check", str(ROOT / "projects"), folder=tmp_path)
    assert (right.returncode, right.stdout.splitlines()[-1]) == (0, "2 project files are right")
    (tmp_path / "shop.yaml").write_text("name: shop\nflow: nothing\n")
    wrong = chatledger("projects", "check", ".", folder=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "error: shop.yaml: flow: choose one of order_form, store\n")


@pytest.mark.parametrize("command", [("tail",), ("topics",)])
def test_where_nothing_runs_a_command_says_what_to_do(command: tuple[str, ...], tmp_path: Path) -> None:
    result = chatledger(*command, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: nothing runs on var: start `chatledger up`, or set CHATLEDGER_BROKER\n"


ORDER_FORM_ALONE = {"CHAT2DESK_WEBHOOK_TOKEN": "secret", "CHAT2DESK_API_TOKEN": "key"}
SHUT = "store takes no webhooks by twilio until TWILIO_AUTH_TOKEN is set, nor by meta until META_APP_SECRET is set"


def unset(environment: dict[str, str], host: str = "127.0.0.1") -> list[str]:
    return list(what_is_unset(load_projects(ROOT / "projects"), environment, host=host))


def test_what_is_unset_is_said_once_and_plainly() -> None:
    assert unset({}) == [
        "warning: anybody on this machine can post to order-form by chat2desk: set CHAT2DESK_WEBHOOK_TOKEN",
        SHUT,
        "warning: no reply reaches a client until CHAT2DESK_API_TOKEN is set: they wait; --stand-in answers for the"
        " provider",
    ]


def test_who_uses_one_project_hears_one_line_about_the_other() -> None:
    assert unset(ORDER_FORM_ALONE) == unset(ORDER_FORM_ALONE, "0.0.0.0") == [SHUT]
    without_key = ORDER_FORM_ALONE | {"CHAT2DESK_API_TOKEN": "", "CHAT2DESK_API_URL": "http://127.0.0.1:1"}
    assert unset(without_key) == [SHUT]


def test_with_every_secret_nothing_is_said() -> None:
    assert unset({**ORDER_FORM_ALONE, **dict.fromkeys(TWILIO + META, "secret")}) == []


def test_a_door_that_takes_webhooks_and_cannot_reply_is_said() -> None:
    assert unset(ORDER_FORM_ALONE | {"META_APP_SECRET": "secret", "TWILIO_AUTH_TOKEN": "secret"}) == [
        "warning: no reply reaches a client until META_ACCESS_TOKEN is set: they wait; --stand-in answers for the"
        " provider",
        "warning: store cannot send by twilio until TWILIO_SID and TWILIO_WHATSAPP_NUMBER are set",
        "store hears from twilio of no delivery until PUBLIC_BASE_URL is set; behind a proxy, of no message either",
    ]


def test_a_stand_in_needs_no_account() -> None:
    stand_in = {"TWILIO_AUTH_TOKEN": "secret", "TWILIO_API_URL": "http://127.0.0.1:1"}
    assert unset(ORDER_FORM_ALONE | stand_in) == ["store takes no webhooks by meta until META_APP_SECRET is set"]


def test_strangers_cannot_post_from_beyond_this_machine() -> None:
    with pytest.raises(ConfigurationError, match="CHAT2DESK_WEBHOOK_TOKEN"):
        unset({}, "0.0.0.0")


def test_services_run_that_a_project_asks_for_and_the_line_is_drained_from_its_front() -> None:
    projects = load_projects(ROOT / "projects")
    line = ["dialog", "billing", "notify", "ledger"]
    assert services_of({"order-form": projects["order-form"]}) == line
    assert services_of(projects) == ["outreach", *line]
    with_crm = replace(projects["store"], outreach=None, crm=Crm(kind="zoho"))
    assert services_of({"store": with_crm}) == ["crm", *line]


def test_the_demo_of_an_installed_package_has_the_example_projects() -> None:
    ours, theirs = (
        {path.name: path.read_bytes() for path in folder.glob("*.yaml")}
        for folder in (EXAMPLE_PROJECTS, ROOT / "projects")
    )
    assert ours == theirs
    assert ours.keys() == {"order-form.yaml", "store.yaml"}


def test_send_says_that_nothing_listens(tmp_path: Path) -> None:
    environment = {"CHATLEDGER_PROJECTS": str(ROOT / "projects"), "PORT": "1"}
    result = chatledger("send", "hi", folder=tmp_path, **environment)
    assert result.returncode == 1
    assert result.stderr.startswith("error: nothing listens at http://127.0.0.1:1/webhook/chat2desk/order-form: start")


def test_the_broker_that_is_away_is_one_line(tmp_path: Path) -> None:
    result = chatledger("topics", folder=tmp_path, CHATLEDGER_BROKER="127.0.0.1:1")
    assert result.returncode == 1
    assert result.stderr.startswith("error: no broker answers at 127.0.0.1:1: ")
    assert result.stderr.count("\n") == 1


def test_dialog_workers_are_as_many_as_asked_but_one_on_the_embedded_broker() -> None:
    real = UpSettings(broker="localhost:9092", dialog_workers=9)
    assert real.dialog_names == ["dialog-0", "dialog-1", "dialog-2", "dialog-3"]
    assert UpSettings(broker=None, dialog_workers=9).dialog_names == ["dialog-0"]
