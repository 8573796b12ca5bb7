"""`chatledger demo`: the embedded default, real-shaped webhooks of many customers, and what came of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TextIO

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chatledger.channels import CHANNELS
from chatledger.errors import ChatledgerError, ConfigurationError
from chatledger.project_files import default_project, load_projects
from chatledger.projects import Project
from chatledger_cli.demo_customers import NUMBERS_PER_RUN, Customer, customers
from chatledger_cli.demo_report import LedgerCounts, Summary, count_in_ledger, last_position, print_report
from chatledger_cli.demo_run import Conversations, Replies
from chatledger_cli.provider_stand_in import ProviderStandIn
from chatledger_cli.system import System, running
from chatledger_cli.up_settings import UpSettings, read_settings
from chatledger_ledger.verification import BrokerAddress, verify

CHANNEL = "chat2desk"
FLOW = "order_form"
EXAMPLE_PROJECTS = Path(__file__).parent / "example_projects"
"""What the demo runs where there is no ./projects: a copy of the repository's example, for who installed a package."""
LOG_FILE = "demo.log"
SETTLE_TIMEOUT_S = 30.0
PROBLEMS_SHOWN = 5


class DemoFailed(ChatledgerError):
    """The demo did not end as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run's figures, what is wrong with them, and what the ledger holds by now."""

    summary: Summary
    problems: list[str]
    ledger: LedgerCounts
    reply_ms: list[float]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    clients: Annotated[int, typer.Option(min=1, max=NUMBERS_PER_RUN, help="How many customers write.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The HTTP port; 0: a free one.")] = 0,
) -> None:
    """Start everything embedded, let customers order over HTTP, check the ledger, and show what came of it.

    The events stay in the data folder (./var): a second run shows the first one's orders too. Logs are in demo.log
    there. Ends with code 1 when anything is missing or violated.

    Example: chatledger demo --clients 50
    """
    settings = read_settings(UpSettings)
    if "projects" not in settings.model_fields_set and not settings.projects.exists():
        settings = settings.model_copy(update={"projects": EXAMPLE_PROJECTS})
    project = _project(settings.projects)
    embedded = settings.model_copy(
        update={"broker": None, "database": None, "old_database_host": None, "port": port, "host": "127.0.0.1"}
    )
    try:
        outcome = asyncio.run(_demo(embedded, project, clients))
    except asyncio.CancelledError:
        raise DemoFailed("stopped before its end; everything was drained") from None
    print_report(outcome.summary, outcome.ledger, outcome.reply_ms, Console(stderr=as_json))
    if as_json:
        typer.echo(orjson.dumps(asdict(outcome.summary)).decode())
    if outcome.problems:
        more = len(outcome.problems) - PROBLEMS_SHOWN
        raise DemoFailed("; ".join(outcome.problems[:PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else ""))


def _project(folder: Path) -> Project:
    project = default_project(load_projects(folder), CHANNEL)
    if project is None or project.flow != FLOW:
        raise ConfigurationError(
            f"the demo's customers write to the default project of {CHANNEL}, with the flow {FLOW}; {folder} has none"
        )
    return project


async def _demo(settings: UpSettings, project: Project, clients: int) -> Outcome:
    started = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    replies = Replies()
    provider = await ProviderStandIn(replies.take).start()
    token = secrets.token_urlsafe(16)
    try:
        with (settings.data_dir / LOG_FILE).open("w") as log_file:
            environment = _environment(project, token, provider.url)
            async with _started(settings, environment, log_file) as system:
                return await _run(system, project, token, clients, replies, started)
    finally:
        await provider.stop()


def _environment(project: Project, token: str, provider_url: str) -> Mapping[str, str]:
    """The services' environment: whoever posts needs this run's token, and replies go to the stand-in."""
    channel = project.channels[CHANNEL]
    ours = {
        channel.webhook_token_env: token,
        channel.api_token_env: "demo",
        CHANNELS[CHANNEL].api_url_env: provider_url,
    }
    return {**os.environ, **ours}


def _started(
    settings: UpSettings, environment: Mapping[str, str], log_file: TextIO
) -> AbstractAsyncContextManager[System]:
    def log(name: str, line: str) -> None:
        log_file.write(f"{name} {line}\n")
        log_file.flush()

    return running(settings, environment, say=lambda line: log("up", line), log=log)


async def _run(system: System, project: Project, token: str, clients: int, replies: Replies, started: float) -> Outcome:
    database = system.backends.database
    before = await last_position(database)
    everybody = list(customers(clients, time.time_ns() // 1_000_000))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{clients} customers write", total=sum(len(each.texts) for each in everybody))
        conversations = Conversations(url=system.url, token=token, replies=replies, told=lambda: progress.advance(bar))
        await _unless_a_service_is_given_up(system, conversations.run(everybody))
        progress.update(bar, description="waiting until all is recorded")
        left = await system.lags.settle(timeout_s=SETTLE_TIMEOUT_S, outbox=True)
        progress.update(bar, description="verifying the ledger")
        broker = BrokerAddress(bootstrap_servers=system.backends.broker, incarnation=system.backends.incarnation)
        report = await verify(
            database, broker=broker, acknowledged=sorted(conversations.counts.event_ids), settle_s=SETTLE_TIMEOUT_S
        )
        progress.update(bar, description=f"{clients} customers wrote")
    ledger = await count_in_ledger(database, after=before)
    counts = conversations.counts
    summary = Summary(
        webhooks=counts.webhooks,
        acknowledged=counts.acknowledged,
        duplicates=counts.duplicates,
        events=ledger.events,
        orders=ledger.orders,
        invoices=ledger.invoices,
        replies=replies.count,
        violations=report.violations,
        seconds=round(time.monotonic() - started, 1),
    )
    violations = [f"{finding.name}: {example}" for finding in report.findings for example in finding.examples]
    problems = [*violations, *counts.missing, *_shortfalls(summary, everybody, project)]
    if left:
        problems.append(f"{left} records were not read within {SETTLE_TIMEOUT_S:g} s")
    return Outcome(summary=summary, problems=problems, ledger=ledger, reply_ms=counts.reply_ms)


async def _unless_a_service_is_given_up(system: System, work: Coroutine[None, None, None]) -> None:
    """Do the work. Raises what the work raises, or why a service was given up."""
    working = asyncio.create_task(work)
    failed = asyncio.create_task(system.supervisor.failed())
    try:
        await asyncio.wait([working, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        await working
    except* ChatledgerError as several:
        raise several.exceptions[0] from None
    finally:
        working.cancel()
        failed.cancel()


def _shortfalls(summary: Summary, everybody: Sequence[Customer], project: Project) -> list[str]:
    """What was to come and did not, or came too often."""
    orders = sum(customer.orders for customer in everybody)
    expected = {
        "orders": (summary.orders, orders),
        "invoices": (summary.invoices, orders if project.offer.price else 0),
        "replies": (summary.replies, sum(len(customer.texts) for customer in everybody)),
    }
    return [f"{what}: {is_so} instead of {wanted}" for what, (is_so, wanted) in expected.items() if is_so != wanted]
