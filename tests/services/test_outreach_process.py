"""The outreach process: from a broker's records to its notices, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from chatledger.adapters.embedded_broker import EmbeddedBroker
from chatledger.events.inbound import NoticeDue
from chatledger.topics import BILLING, INBOUND, OUTREACH
from tests.support.notify import eventually, publishing, reading
from tests.support.outreach import invoice

pytestmark = pytest.mark.postgres
PROJECTS = Path(__file__).resolve().parents[2] / "projects"


@contextmanager
def process(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a child process, killed at the end if it still runs."""
    with log.open("ab") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "chatledger_outreach"], env={**os.environ, **environment}, stderr=stderr
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """A folder with the shop's file, whose clients may be written to at any hour."""
    folder = tmp_path / "projects"
    folder.mkdir()
    document = yaml.safe_load((PROJECTS / "store.yaml").read_text("utf-8"))
    document["outreach"] |= {"quiet_from": 0, "quiet_until": 0}
    (folder / "store.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), "utf-8")
    return folder


@pytest.mark.slow
async def test_an_invoice_of_last_month_is_reminded_of_through_a_real_broker_once(postgres_url, projects, tmp_path):
    log = tmp_path / "outreach.log"
    issued = datetime.now(UTC) - timedelta(days=30)
    record = invoice(due_on=(issued + timedelta(days=14)).date(), time=issued)
    with EmbeddedBroker() as broker:
        environment = {
            "CHATLEDGER_BROKER": broker.bootstrap_servers,
            "CHATLEDGER_INCARNATION": broker.incarnation,
            "CHATLEDGER_DATABASE": postgres_url,
            "CHATLEDGER_PROJECTS": str(projects),
        }
        async with (
            publishing(broker.bootstrap_servers) as publisher,
            reading(broker.bootstrap_servers, INBOUND) as inbound,
            reading(broker.bootstrap_servers, OUTREACH) as outreach,
        ):
            await publisher.publish(BILLING, [record])
            with process(environment, log) as first:
                await eventually(lambda: inbound.envelopes, "the conversation is told")
                first.send_signal(signal.SIGTERM)
                await eventually(lambda: first.poll() is not None, "it drains")
            assert first.returncode == 0, log.read_text()[-4000:]
            with process(environment, log) as second:
                other = invoice(due_on=(issued + timedelta(days=15)).date(), time=issued, id="inv-2")
                await publisher.publish(BILLING, [record, other])
                await eventually(lambda: len(inbound.envelopes) > 1, "the next one is told of too")
                second.send_signal(signal.SIGTERM)
                await eventually(lambda: second.poll() is not None, "it drains")
            assert second.returncode == 0, log.read_text()[-4000:]
        notices = [each.data for each in inbound.envelopes if isinstance(each.data, NoticeDue)]
        assert [each.about for each in notices] == ["inv-1", "inv-2"]
        assert [each.data.type for each in outreach.envelopes] == ["reminder.scheduled", "reminder.due"] * 2
        assert "990000" not in log.read_text()


async def test_without_a_project_that_reminds_anybody_it_waits_and_needs_no_database(projects, tmp_path):
    (projects / "store.yaml").unlink()
    (projects / "order-form.yaml").write_bytes((PROJECTS / "order-form.yaml").read_bytes())
    log = tmp_path / "outreach.log"
    environment = {
        "CHATLEDGER_BROKER": "127.0.0.1:9",
        "CHATLEDGER_DATABASE": "postgresql://127.0.0.1:9/none",
        "CHATLEDGER_PROJECTS": str(projects),
    }
    with process(environment, log) as idle:
        await eventually(lambda: "outreach.idle" in log.read_text(), "it says so")
        idle.send_signal(signal.SIGTERM)
        await eventually(lambda: idle.poll() is not None, "it ends")
    assert idle.returncode == 0


def test_a_database_that_is_away_is_told_apart_from_a_failure(projects):
    environment = {
        **os.environ,
        "CHATLEDGER_BROKER": "127.0.0.1:9",
        "CHATLEDGER_DATABASE": "postgresql://127.0.0.1:9/none",
        "CHATLEDGER_PROJECTS": str(projects),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "chatledger_outreach"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 75, ended.stderr[-2000:]


def test_a_wrong_database_url_is_named_in_one_line_with_status_2(projects):
    environment = {
        **os.environ,
        "CHATLEDGER_BROKER": "127.0.0.1:9",
        "CHATLEDGER_DATABASE": "no url",
        "CHATLEDGER_PROJECTS": str(projects),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "chatledger_outreach"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert ended.stderr.startswith("chatledger-outreach: CHATLEDGER_DATABASE")
