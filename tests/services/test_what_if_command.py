"""`chatledger what-if` as a developer types it, with changed flows in a process of their own."""

from __future__ import annotations

import asyncio
import re

import orjson
import pytest
import yaml

from chatledger.errors import ConfigurationError
from chatledger_cli.what_if import run as run_module
from tests.replay.store_conversations import CONVERSATIONS
from tests.services.what_if_over import CLIENTS_WORDS, PLACED, decide_first, over, run
from tests.support.ledger import as_records, conversation_of, history, open_ledger
from tests.support.what_if import FLOWS, changed_copy, write_history
from tests.unit.projects_at_hand import FOLDER, STORE_DOCUMENT

__all__ = ["over", "run"]


class TestWithoutAChange:
    def test_nothing_differs(self, over):
        code, report = over()
        assert (code, report["differs"]) == (0, False)
        totals = report["totals"]
        assert (totals["conversations"], totals["decisions"]) == (3, 5 + 2 + 13)
        assert (totals["decisions_differ"], totals["not_decided"], totals["without_input"]) == (0, 0, 0)

    def test_the_installed_flows_and_project_files_are_no_change(self, over):
        code, report = over("--flow", FLOWS, "--project", FOLDER / "store.yaml")
        assert (code, report["compared_with"]["modules"]) == (0, [])
        assert report["compared_with"]["changed_projects"] == ["store"]

    @pytest.mark.postgres
    def test_nothing_differs_in_the_ledger(self, run, postgres_url, monkeypatch, tmp_path):
        recorded(postgres_url, monkeypatch)
        ended = run("--html", tmp_path / "page.html")
        assert ended.exit_code == 0, ended.output
        assert "nothing differs: 20 decisions of 3 conversations compared" in ended.stdout
        assert "Nothing would differ" in (tmp_path / "page.html").read_text()


@pytest.mark.postgres
def test_a_changed_text_in_the_ledger_is_found_where_it_is_said(run, postgres_url, monkeypatch, tmp_path):
    recorded(postgres_url, monkeypatch)
    changed = changed_copy(tmp_path, "store_orders", 'turn.reply("status",', 'turn.reply("status_none",')
    ended = run("--flow", changed, "--html", tmp_path / "page.html")
    assert ended.exit_code == 1, ended.output
    assert "1 of 20 decisions differ, in 1 of 3 conversations" in ended.stdout
    assert "reply text changed: reply.requested" in ended.stdout
    for bounds in (
        ("--project-name", "order-form"),
        ("--conversation", conversation_of("1000077")),
        ("--since", "-0s"),
    ):
        ended = run("--flow", changed, "--json", *bounds)
        assert ended.exit_code == 0 or "nothing to compare" in str(ended.exception)
    shown = run("--flow", changed, "--show-personal", "--conversation", "store/twilio/+919900000001")
    assert '+ reply.requested text: "You have no orders' in shown.stdout


class TestChangedFlow:
    def test_a_changed_rule_adds_and_removes_events(self, over, tmp_path):
        changed = decide_first(tmp_path, 'if text == "yes":\n    return [dialog.MessageDeferred()]')
        code, report = over("--flow", changed)
        assert code == 1
        assert {(each["kind"], each["type"], each["count"]) for each in report["kinds"]} == {
            ("event added", "message.deferred", 1),
            ("event removed", "order.placed", 1),
        }
        (conversation,) = report["conversations"]
        assert (conversation["differing"], conversation["decisions"]) == (1, 13)
        (turn,) = [each for each in conversation["turns"] if each["differs"]]
        assert turn["position"] == conversation["first"]["position"]
        assert [each["type"] for each in turn["decided"]] == ["message.deferred"]
        assert [each["module"] for each in report["compared_with"]["modules"]] == ["chatledger.flows.store"]

    def test_a_folder_of_flows_and_a_whole_checkout_are_taken_too(self, over, tmp_path):
        flows = tmp_path / "checkout" / "src" / "chatledger" / "flows"
        decide_first(flows, 'if text == "yes":\n    return [dialog.MessageDeferred()]')
        for path in (flows, tmp_path / "checkout"):
            code, report = over("--flow", path)
            assert (code, report["totals"]["decisions_differ"]) == (1, 1)

    def test_a_new_module_may_define_a_flow_over_another(self, over, tmp_path):
        (tmp_path / "my-store.py").write_text(
            "from dataclasses import replace\n"
            "from chatledger.events import dialog\n"
            "from chatledger.flows.store import FLOW as STORE\n"
            "def decide(state, message, project):\n"
            "    return [dialog.MessageDeferred()]\n"
            "FLOW = replace(STORE, decide=decide)\n"
        )
        code, report = over("--flow", tmp_path / "my-store.py")
        assert (code, report["compared_with"]["flows"]) == (1, ["store"])
        assert (
            report["totals"]["decisions_differ"]
            == sum(isinstance(each, str) for each in CONVERSATIONS["store-order"]) + 1
        )

    def test_texts_beside_a_changed_flow_belong_to_it(self, over, tmp_path):
        texts = tmp_path / "texts"
        texts.mkdir()
        (texts / "__init__.py").write_text('"""Texts."""\n')
        for path in (FLOWS.parent / "texts").glob("*.yaml"):
            (texts / path.name).write_text(path.read_text().replace("You have no", "You never had a"))
        changed_copy(tmp_path / "flows", "store_orders", 'turn.reply("status",', 'turn.reply("status_none",')
        _, report = over("--flow", tmp_path / "flows", "--show-personal")
        assert "You never had a" in orjson.dumps(report).decode()

    def test_followed_it_goes_on_from_there(self, over, tmp_path):
        changed = decide_first(tmp_path, 'if text == "Cement x 100":\n    return [dialog.MessageDeferred()]')
        assert over("--flow", changed)[1]["totals"]["decisions_differ"] == 1
        assert over("--flow", changed, "--follow")[1]["totals"]["decisions_differ"] > 1


class TestChangedProject:
    def test_another_price_shows_other_totals(self, over, tmp_path):
        path = tmp_path / "dearer.yaml"
        path.write_text((FOLDER / "store.yaml").read_text().replace('price: "50.00"', 'price: "55.00"'))
        code, report = over("--project", path, "--show-personal")
        assert (code, report["compared_with"]["changed_projects"]) == (1, ["store"])
        fields = [
            field
            for each in report["conversations"][0]["turns"]
            for change in each["changes"]
            for field in change["fields"]
        ]
        assert ("items[0].unit_price_minor", 5_000, 5_500) in [(f["path"], f["recorded"], f["decided"]) for f in fields]
        text = next(field for field in fields if field["path"] == "text")
        assert "₹5,000" in text["recorded"]
        assert "₹5,500" in text["decided"]

    def test_a_wrong_file_is_refused_with_its_field(self, over, tmp_path):
        path = tmp_path / "wrong.yaml"
        path.write_text(yaml.safe_dump(STORE_DOCUMENT | {"region": "XX"}))
        with pytest.raises(ConfigurationError, match=r"wrong.yaml: region: XX is no ISO 3166"):
            over("--project", path)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            over("--project", tmp_path / "missing.yaml")

    def test_conversations_of_no_project_are_left_out_and_said_so(self, over, tmp_path, monkeypatch):
        monkeypatch.setenv("CHATLEDGER_PROJECTS", str(tmp_path))
        code, report = over("--project", FOLDER / "store.yaml")
        assert (code, report["projects_missing"]) == (0, ["order-form"])
        assert report["totals"]["conversations_without_project"] == 2
        with pytest.raises(ConfigurationError, match="no project files"):
            over()


class TestFailingFlow:
    def test_an_exception_is_told_with_file_and_line_for_each_conversation(self, over, tmp_path):
        changed = decide_first(
            tmp_path, 'if text == "status":\n    raise KeyError("secret of " + message.data.client_id)'
        )
        code, report = over("--flow", changed)
        assert (code, report["totals"]["decisions_failed"]) == (2, 1)
        (turn,) = [each for each in report["conversations"][0]["turns"] if each["differs"]]
        line = (
            changed.read_text().splitlines().index('        raise KeyError("secret of " + message.data.client_id)') + 1
        )
        assert turn["failure"] == {"error": "KeyError", "place": f"{changed}, line {line}, in decide", "text": ""}
        _, report = over("--flow", changed, "--show-personal")
        assert "secret of +919900000001" in orjson.dumps(report).decode()

    def test_what_is_no_decision_is_one_too(self, over, tmp_path):
        changed = decide_first(tmp_path, 'if text == "status":\n    return None')
        changed.write_text(changed.read_text() + "\nFLOW = Flow(**{f: getattr(FLOW, f) for f in FLOW.__slots__})\n")
        _, report = over("--flow", changed)
        assert report["totals"]["decisions_failed"] == 1

    @pytest.mark.parametrize("loop", ["while True: pass", "while True:\n    try: 1 / 0\n    except Exception: pass"])
    def test_an_endless_loop_ends_after_its_time_with_its_place(self, over, tmp_path, loop):
        code, report = over(
            "--flow",
            decide_first(tmp_path, f'if text == "status": \n    {loop.replace(chr(10), chr(10) + "    ")}'),
            "--limit-s",
            "0.2",
        )
        (failed,) = report["kinds"]
        assert (code, failed["kind"]) == (2, "flow failed")
        assert re.search(r"it took longer than 0.2 s at .*store.py, line \d+, in decide", failed["type"])

    def test_a_flow_that_always_loops_is_given_up(self, over, tmp_path):
        with pytest.raises(ConfigurationError, match=r"3 times it took longer than 0.05 s, now at .*store.py, line"):
            over("--flow", decide_first(tmp_path, "while True: pass"), "--limit-s", "0.05")

    def test_a_loop_that_nothing_interrupts_is_ended_from_outside(self, over, tmp_path, monkeypatch, capfd):
        monkeypatch.setattr(run_module, "PATIENCE_S", 5.0)
        stuck = "while True:\n    try:\n        while True: sum(())\n    except BaseException: pass"
        with pytest.raises(
            ConfigurationError, match=r"did not come back for .* while it decided about the input [0-9a-f-]{36}"
        ):
            over("--flow", decide_first(tmp_path, stuck), "--limit-s", "0.1")
        assert "store.py" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("death", "how"), [("os._exit(3)", "with exit code 3"), ("os.kill(os.getpid(), 9)", "by SIGKILL")]
    )
    def test_a_process_that_dies_is_told_with_its_input(self, over, tmp_path, death, how):
        with pytest.raises(ConfigurationError, match=rf"ended {how} while it decided about the input [0-9a-f-]{{36}}"):
            over("--flow", decide_first(tmp_path, f"import os\n{death}"))

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named 'nothing_of_that_name'.*line 1"),
            ("def decide(:\n", "SyntaxError.*store.py, line 1"),
            ("import sys\nsys.exit('enough')\n", "SystemExit: enough.*line 2"),
        ],
    )
    def test_code_that_cannot_be_imported_is_refused_with_its_place(self, over, tmp_path, code, said):
        (tmp_path / "store.py").write_text(code)
        with pytest.raises(ConfigurationError, match=f"(?s)cannot be imported: {said}"):
            over("--flow", tmp_path / "store.py")

    def test_a_path_without_flow_code_is_refused(self, over, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ConfigurationError, match="there is no Python file in it"):
            over("--flow", tmp_path / "empty")
        with pytest.raises(ConfigurationError, match="there is no such file or folder"):
            over("--flow", tmp_path / "store.py")


class TestHistory:
    def test_lines_that_are_no_events_are_counted(self, run, tmp_path):
        path = write_history(tmp_path / "history.ndjson", PLACED)
        path.write_bytes(b"not JSON\n[]\n" + path.read_bytes())
        ended = run("--history", path)
        assert ended.exit_code == 0, ended.output
        assert "2 lines of the history not readable" in ended.stdout

    def test_a_history_that_has_nothing_to_compare_is_no_success(self, run, tmp_path):
        path = write_history(tmp_path / "history.ndjson", PLACED)
        for words in (("--since", "2999-01-01"), ("--conversation", "store/twilio/nobody"), ("--until", "2000-01-01")):
            assert "nothing to compare" in str(run("--history", path, *words).exception)
        assert "cannot be read" in str(run("--history", tmp_path / "missing").exception)

    def test_a_ledger_that_is_away_is_no_difference(self, run, monkeypatch):
        monkeypatch.setenv("CHATLEDGER_DATABASE", "postgresql://nobody@127.0.0.1:9/none")
        ended = run()
        assert isinstance(ended.exception, ConfigurationError)
        assert "does not answer" in str(ended.exception)

    def test_a_mistake_of_ours_is_no_difference(self, run, tmp_path, monkeypatch):
        path = write_history(tmp_path / "history.ndjson", PLACED)
        monkeypatch.setattr(run_module, "PROGRAM", "chatledger_cli.nothing_of_that_name")
        assert "ended with exit code 1" in str(run("--history", path).exception)
        monkeypatch.setattr(run_module, "PROGRAM", None)
        assert run("--history", path).exit_code == 2

    def test_examples_are_as_many_as_asked_for_and_the_rest_is_counted(self, run, tmp_path):
        placed = [each for number in range(12) for each in history(f"10000{number:02d}")]
        path = write_history(tmp_path / "history.ndjson", placed)
        (tmp_path / "order_form.py").write_text(
            (FLOWS / "order_form.py").read_text() + "\nFLOW = Flow(**{f: getattr(FLOW, f) for f in FLOW.__slots__}"
            " | {'decide': lambda state, message, project: []})\n"
        )
        ended = run("--history", path, "--flow", tmp_path / "order_form.py", "--examples", "3")
        assert ended.exit_code == 1, ended.output
        assert ended.stdout.count("first at position") == 3
        assert "9 more conversations differ" in ended.stdout
        assert not [words for words in CLIENTS_WORDS if words in ended.stdout]


def recorded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger in Postgres that has all of it."""

    async def record() -> None:
        async with open_ledger(url) as ledger:
            await ledger.append(as_records(PLACED))

    asyncio.run(record())
    monkeypatch.setenv("CHATLEDGER_DATABASE", url)
