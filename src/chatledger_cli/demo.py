"""`chatledger demo`: the embedded default, real-shaped webhooks of many customers, and what came of them."""

from __future__ import annotations

import asyncio
import os
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
from chatledger.settings import read_settings
from chatledger_cli.demo_order_form import OrderFormScene
from chatledger_cli.demo_report import LedgerCounts, Recorded, Summary, count_in_ledger, last_position, print_report
from chatledger_cli.demo_run import Conversations, Counts, Replies
from chatledger_cli.demo_scene import NUMBERS_PER_RUN, Customer, Scene
from chatledger_cli.demo_store import StoreScene
from chatledger_cli.demo_store_scripts import is_playable
from chatledger_cli.provider_stand_in import ProviderStandIn
from chatledger_cli.system import System, running
from chatledger_cli.unset import PUBLIC_BASE_URL_NAMES
from chatledger_cli.up_settings import UpSettings
from chatledger_ledger.verification import BrokerAddress, verify

EXAMPLE_PROJECTS = Path(__file__).parent / "example_projects"
"""What the demo runs where there is no ./projects: a copy of the repository's example, for who installed a package."""
LOG_FILE = "demo.log"
SETTLE_TIMEOUT_S = 30.0
POLL_PAUSE_S = 0.02
PROBLEMS_SHOWN = 5
STORE_EVERY = 3
"""Of so many customers one writes to the store."""
FIGURES = ("webhooks", "acknowledged", "duplicates", "events", "orders", "invoices", "replies")
"""What is counted of each project, in the order of the report."""


class DemoFailed(ChatledgerError):
    """The demo did not end as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run's figures, together and of each project, what is wrong with them, and what the ledger holds by now."""

    summary: Summary
    by_project: dict[str, dict[str, int]]
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

    About every third customer writes to the store over WhatsApp, the others to the order form bot. The events stay
    in the data folder (./var): a second run shows the first one's orders too. Logs are in demo.log there. Ends with
    code 1 when anything is missing or violated.

    Example: chatledger demo --clients 50
    """
    settings = read_settings(UpSettings)
    if "projects" not in settings.model_fields_set and not settings.projects.exists():
        settings = settings.model_copy(update={"projects": EXAMPLE_PROJECTS})
    projects = load_projects(settings.projects)
    found = scenes(projects, settings.projects)
    embedded = settings.model_copy(
        update={"broker": None, "database": None, "old_database_host": None, "port": port, "host": "127.0.0.1"}
    )
    try:
        outcome = asyncio.run(_demo(embedded, projects, found, clients))
    except asyncio.CancelledError:
        raise DemoFailed("stopped before its end; everything was drained") from None
    print_report(outcome.summary, outcome.by_project, outcome.ledger, outcome.reply_ms, Console(stderr=as_json))
    if as_json:
        typer.echo(orjson.dumps(asdict(outcome.summary)).decode())
    if outcome.problems:
        more = len(outcome.problems) - PROBLEMS_SHOWN
        raise DemoFailed("; ".join(outcome.problems[:PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else ""))


def scenes(projects: Mapping[str, Project], folder: Path) -> list[Scene]:
    """Return what there is to show in these projects. Raises ConfigurationError where that is nothing."""
    found: list[Scene] = []
    order_form = default_project(projects, OrderFormScene.CHANNEL)
    if order_form is not None and order_form.flow == OrderFormScene.FLOW:
        found.append(OrderFormScene(order_form))
    store = default_project(projects, StoreScene.CHANNEL)
    if store is not None and store.flow == StoreScene.FLOW and is_playable(store):
        found.append(StoreScene(store))
    if not found:
        raise ConfigurationError(
            f"the demo's customers write to the default project of {OrderFormScene.CHANNEL} with the flow"
            f" {OrderFormScene.FLOW}, and to that of {StoreScene.CHANNEL} with the flow {StoreScene.FLOW} and the"
            f" example's products; {folder} has neither"
        )
    return found


def cast_of(found: Sequence[Scene], clients: int, run: int, first: int) -> dict[Scene, list[Customer]]:
    """Share the customers out: of two scenes the second gets every third one.

    `run` is the run's Unix time in ms; `first` is above the numbers of all customers of earlier runs.
    """
    of_second = clients // STORE_EVERY if len(found) > 1 else 0
    counts = [clients - of_second, of_second]
    return {scene: scene.customers(count, run, first) for scene, count in zip(found, counts, strict=False)}


def environment_of(
    found: Sequence[Scene], projects: Mapping[str, Project], ours: Mapping[str, str], provider_url: str
) -> dict[str, str]:
    """Return the services' environment: with `ours` as it is, the demo would reach real providers and a real CRM."""
    systems = [project.crm for project in projects.values() if project.crm is not None]
    left_out = {*PUBLIC_BASE_URL_NAMES, *(crm.refresh_token_env for crm in systems)}
    environment = {name: value for name, value in ours.items() if name not in left_out}
    environment |= {channel.api_url_env: provider_url for channel in CHANNELS.values()}
    for scene in found:
        environment |= scene.environment(provider_url)
    return environment


async def _demo(settings: UpSettings, projects: Mapping[str, Project], found: Sequence[Scene], clients: int) -> Outcome:
    started = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    replies = Replies()
    # A provider gives no id twice, so neither does one run after another.
    provider = await ProviderStandIn(replies.take, first_number=time.time_ns() // 1_000_000 * NUMBERS_PER_RUN).start()
    environment = environment_of(found, projects, os.environ, provider.url)
    try:
        with (settings.data_dir / LOG_FILE).open("w") as log_file:
            async with _started(settings, environment, log_file) as system:
                return await _run(system, found, clients, replies, provider, started)
    finally:
        await provider.stop()


def _started(
    settings: UpSettings, environment: Mapping[str, str], log_file: TextIO
) -> AbstractAsyncContextManager[System]:
    def log(name: str, line: str) -> None:
        log_file.write(f"{name} {line}\n")
        log_file.flush()

    return running(settings, environment, say=lambda line: log("up", line), log=log, providers_are_here=True)


async def _run(
    system: System, found: Sequence[Scene], clients: int, replies: Replies, provider: ProviderStandIn, started: float
) -> Outcome:
    database = system.backends.database
    before = await last_position(database)
    cast = cast_of(found, clients, time.time_ns() // 1_000_000, before)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        steps = sum(len(customer.steps) for customers in cast.values() for customer in customers)
        bar = progress.add_task(f"{clients} customers write", total=steps)
        conversations = Conversations(url=system.url, replies=replies, told=lambda: progress.advance(bar))
        await _unless_a_service_is_given_up(system, conversations.run(cast))
        await _until_reported(provider, replies)
        progress.update(bar, description="waiting until all is recorded")
        left = await system.lags.settle(timeout_s=SETTLE_TIMEOUT_S, outbox=True)
        conversations.count_unasked(cast)
        conversations.count_reports(found[-1], provider.callback_statuses, replies.reports_due)
        progress.update(bar, description="verifying the ledger")
        broker = BrokerAddress(bootstrap_servers=system.backends.broker, incarnation=system.backends.incarnation)
        acknowledged = sorted(set().union(*(counts.event_ids for counts in conversations.counts.values())))
        report = await verify(database, broker=broker, acknowledged=acknowledged, settle_s=SETTLE_TIMEOUT_S)
        progress.update(bar, description=f"{clients} customers wrote")
    ledger = await count_in_ledger(database, after=before)
    by_project = {
        name: _figures(counts, ledger.by_project.get(name, Recorded())) for name, counts in conversations.counts.items()
    }
    together = {name: sum(each[name] for each in by_project.values()) for name in FIGURES}
    together["events"] = sum(each.events for each in ledger.by_project.values())
    summary = Summary(**together, violations=report.violations, seconds=round(time.monotonic() - started, 1))
    problems = [f"{finding.name}: {example}" for finding in report.findings for example in finding.examples]
    for counts in conversations.counts.values():
        problems += counts.problems
    for scene, customers in cast.items():
        problems += _shortfalls(scene, customers, by_project[scene.project.name])
    if left:
        problems.append(f"{left} records were not read within {SETTLE_TIMEOUT_S:g} s")
    return Outcome(
        summary=summary,
        by_project=by_project,
        problems=problems,
        ledger=ledger,
        reply_ms=[each for counts in conversations.counts.values() for each in counts.reply_ms],
    )


def _figures(counts: Counts, recorded: Recorded) -> dict[str, int]:
    both = {**asdict(recorded), "webhooks": counts.webhooks, "acknowledged": counts.acknowledged}
    both |= {"duplicates": counts.duplicates, "replies": counts.replies}
    return {name: both[name] for name in FIGURES}


async def _until_reported(provider: ProviderStandIn, replies: Replies) -> None:
    """Wait, for a bounded time, until the provider has posted what it has to report."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while (  # noqa: ASYNC110 (nothing tells when there is one more)
        len(provider.callback_statuses) < replies.reports_due and time.monotonic() < deadline
    ):
        await asyncio.sleep(POLL_PAUSE_S)


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


def _shortfalls(scene: Scene, customers: Sequence[Customer], figures: Mapping[str, int]) -> list[str]:
    """What was to come of a project's customers and did not, or came too often."""
    expected = {
        "orders": sum(customer.orders for customer in customers),
        "invoices": scene.invoices(customers),
        "replies": sum(customer.replies for customer in customers),
    }
    return [
        f"{scene.project.name}: {what}: {figures[what]} instead of {wanted}"
        for what, wanted in expected.items()
        if figures[what] != wanted
    ]
