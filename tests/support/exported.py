"""A ledger of both flows for the tests of exports, and the validator of object-centric event logs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from chatledger import topics
from chatledger.events import Envelope, dialog, orders, outreach
from chatledger.events.deliveries import MessageDelivered, MessageRead, MessageUndelivered
from chatledger.events.envelope import from_outside
from chatledger.events.ids import derive_id
from chatledger.ports import ConsumedRecord
from tests.support.ledger import Placed, as_records, open_ledger
from tests.support.ledger import history as order_form_history
from tests.support.store_history import START, StoreHistory, campaign, invoice_of, payments_of

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR_VERSION = "0.1.3"
CACHE = ROOT / "var" / "test-tools" / f"ocel-cli-{VALIDATOR_VERSION}"
"""Built once; `var` is what runs leave behind, and no part of the repository."""
_BUILD_TIMEOUT_S = 600


def both_flows() -> Placed:
    """Two customers of the order form, a store's client with an order that is paid and one that is not, a campaign."""
    store = StoreHistory()
    paid = store.ordered(tax_inclusive=False)
    payments_of(store, paid, [40, 60])
    cancelled = store.ordered(tax_inclusive=True, invoice_number=2)
    invoice = f"invoice-{invoice_of(cancelled)}"
    store.billed(
        store.of_stream(f"order-{paid}"), f"order-{paid}", orders.OrderAdvanced(order_id=paid, status="shipped")
    )
    store.billed(
        store.of_stream(f"order-{cancelled}"),
        f"order-{cancelled}",
        dialog.OrderCancelled(reason="client", order_id=cancelled),
    )
    voided = orders.InvoiceVoided(
        invoice_id=invoice_of(cancelled), credit_note="CN-2026-000001", reason="order_cancelled"
    )
    store.billed(store.of_stream(invoice), invoice, voided)
    read = store.replied(store.said("hello"))
    told = {"delivery_id": read.id, "channel": "twilio", "provider_message_id": "SM1"}
    store.sent(read, MessageDelivered(**told), MessageRead(**told))
    lost = store.replied(store.said("are you there?"))
    store.sent(
        lost,
        MessageUndelivered(delivery_id=lost.id, channel="twilio", provider_message_id="SM1", reason="63016"),
    )
    store.replied(store.said("and now?"), "It waits.")
    tagged = from_outside(
        outreach.ClientTagged(tags=("builder",)),
        id=derive_id("tagged"),
        source="/chatledger/outreach",
        conversation=store.conversation,
        time=START,
    )
    return [
        *order_form_history("77"),
        *order_form_history("78", ["hi", "Baker Street 221b"]),
        *store.placed,
        (topics.OUTREACH, tagged),
        campaign(derive_id("campaign")),
    ]


def record(url: str, placed: Iterable[tuple[str, Envelope]]) -> None:
    """Record envelopes in a ledger on an empty database."""
    record_raw(url, as_records(placed))


def record_raw(url: str, records: list[ConsumedRecord]) -> None:
    """The same for records, whatever is in them."""

    async def append() -> None:
        async with open_ledger(url) as ledger:
            await ledger.append(records)

    asyncio.run(append())


def recorded_on(url: str, days: Iterable[tuple[datetime, int]]) -> None:
    """Pretend that the events up to each position were recorded at that time: the owner's trigger is set aside."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER events_append_only")
        after = 0
        for day, until in days:
            connection.execute(
                "UPDATE ledger.events SET recorded_at = %s WHERE position > %s AND position <= %s", (day, after, until)
            )
            after = until
        connection.execute("ALTER TABLE ledger.events ENABLE TRIGGER events_append_only")


def validator() -> Path:
    """The program `ocel` of the crate ocel-cli, built by cargo at the first call; a minute on two cores.

    Skips the test where there is no cargo, or it cannot build; fails it under CI=true.
    """
    program = CACHE / "bin" / "ocel"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Several test runs may start at once; one of them builds, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build()
    return program


def _build() -> None:
    if shutil.which("cargo") is None:
        _without_validator("cargo is missing: install Rust, which builds ocel-cli")
    command = ["cargo", "install", "ocel-cli", "--version", VALIDATOR_VERSION, "--locked", "--root", str(CACHE)]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(CACHE / "target")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
    )
    shutil.rmtree(CACHE / "target", ignore_errors=True)
    if done.returncode != 0:
        _without_validator(f"cargo could not build ocel-cli: {done.stderr[-2000:]}")


def _without_validator(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no validator of event logs, and CI=true asks for one: {reason}")
    pytest.skip(f"no validator of event logs: {reason}")
