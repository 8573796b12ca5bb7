"""The small read models: when clients last wrote, and the copy of the CRM's stock and prices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from chatledger import topics
from chatledger.adapters.ledger_records import recorded
from chatledger.adapters.postgres import PostgresPositions, migrate, open_pool
from chatledger.events.envelope import Envelope, conversation_id
from chatledger.events.inbound import MessageReceived
from chatledger_cli.zoho_stand_in import ZohoStandIn
from chatledger_crm.rebuild import REBUILDABLES as CRM
from chatledger_notify.rebuild import REBUILDABLES as NOTIFY
from chatledger_notify.report_intake import ReportIntake
from chatledger_notify.report_store import ReportStore
from tests.support.crm import CEMENT, ROD, crm
from tests.support.ledger import open_ledger
from tests.support.outreach import STORE, told
from tests.support.rebuilding import RecordingPublisher, check, execute, likeness_of, remake, rows_of

pytestmark = pytest.mark.postgres
[INVENTORY], [LAST_MESSAGES] = CRM, NOTIFY
PROJECTS = {"store": STORE}


def wrote(client: int, *, ago: timedelta, number: int = 1, channel: str = "twilio") -> Envelope:
    event = MessageReceived(
        channel=channel,
        client_id=str(client),
        provider_message_id=f"SM{client}-{number}",
        text="hi",
        reply_to={},
        raw={},
    )
    key = conversation_id("store", channel, str(client))
    return told(event, key=key, time=datetime.now(UTC) - ago, number=number)


async def test_when_clients_last_wrote_is_as_it_was(postgres_url: str) -> None:
    hours = timedelta(hours=1)
    told_in = [
        wrote(1, ago=5 * hours),
        wrote(1, ago=2 * hours, number=2),
        wrote(2, ago=71 * hours),
        wrote(3, ago=100 * hours),
        wrote(4, ago=hours, channel="chat2desk"),
    ]
    records = [recorded(each, topic=topics.INBOUND, offset=offset) for offset, each in enumerate(told_in)]
    await migrate(postgres_url, schema="notify", package="chatledger_notify")
    pool = await open_pool(postgres_url)
    positions = PostgresPositions(pool, schema="notify", incarnation="tests")
    intake = ReportIntake(
        store=ReportStore(pool),
        positions=positions,
        windowed={b"twilio"},
        folding=None,  # type: ignore[arg-type]  # no report comes that would be folded
    )
    try:
        async with open_ledger(postgres_url) as ledger, pool.connection() as connection:
            await ledger.append(records)
            await intake.handle(connection, records)
        async with open_ledger(postgres_url) as ledger:
            later = recorded(wrote(5, ago=hours), topic=topics.INBOUND, offset=len(records))
            await ledger.append([later])
    finally:
        await pool.close()
    good = await rows_of(postgres_url, LAST_MESSAGES)
    assert len(good["clients"]) == 3
    assert await check(postgres_url, LAST_MESSAGES, PROJECTS) == [], "the one that is to be forgotten is no difference"
    lost, edited = conversation_id("store", "twilio", "1"), conversation_id("store", "twilio", "2")
    await execute(
        postgres_url,
        f"DELETE FROM notify.clients WHERE conversation = '{lost}'",
        f"UPDATE notify.clients SET last_message_at = now() WHERE conversation = '{edited}'",
    )
    assert await check(postgres_url, LAST_MESSAGES, PROJECTS) == [
        ("notify.clients", (lost,), "missing"),
        ("notify.clients", (edited,), "different"),
    ]
    outcome = await remake(postgres_url, LAST_MESSAGES, PROJECTS)
    kept = [each for each in good["clients"] if each["conversation"] in (lost, edited)]
    assert (await rows_of(postgres_url, LAST_MESSAGES))["clients"] == kept
    assert outcome.rows == 2, "what was recorded and not handled is not in it"


@pytest.fixture
async def zoho() -> AsyncIterator[ZohoStandIn]:
    stand_in = await ZohoStandIn([CEMENT, ROD]).start()
    yield stand_in
    await stand_in.stop()


async def test_stock_and_prices_are_as_they_were_and_the_crms_own_ids_stay(
    postgres_url: str, zoho: ZohoStandIn
) -> None:
    quarter = timedelta(minutes=15)
    async with crm(postgres_url, zoho) as worker, open_ledger(postgres_url) as ledger:
        recording = RecordingPublisher(ledger)
        await worker.refresh()
        zoho.set_products([CEMENT, {**ROD, "Qty_in_Stock": 11}])
        await worker.refresh(after=quarter)
        await recording.publish(topics.INVENTORY, await worker.envelopes())
        good, like = await rows_of(postgres_url, INVENTORY), await likeness_of(postgres_url, INVENTORY)
        assert [(each["sku"], each["stock"], each["version"]) for each in good["inventory"]] == [
            ("CEM-50", 40, 1),
            ("ROD-12", 11, 2),
        ]
        assert all(each["reference"] for each in good["inventory"])
        assert await check(postgres_url, INVENTORY, PROJECTS) == []
        await execute(
            postgres_url,
            "UPDATE crm.inventory SET stock = 9999, price_minor = NULL WHERE sku = 'ROD-12'",
            "INSERT INTO crm.inventory SELECT project, 'GHOST', reference, 1, 1, fetched_at, event_id, 1"
            " FROM crm.inventory WHERE sku = 'ROD-12'",
        )
        assert len(await check(postgres_url, INVENTORY, PROJECTS)) == 2
        await remake(postgres_url, INVENTORY, PROJECTS)
        assert await rows_of(postgres_url, INVENTORY) == good
        assert await likeness_of(postgres_url, INVENTORY) == like
        await worker.refresh(after=quarter)
        assert await worker.events() == [], "nothing is told anew"
        await execute(postgres_url, "DELETE FROM crm.inventory WHERE sku = 'ROD-12'")
        await remake(postgres_url, INVENTORY, PROJECTS)
        [rod] = [each for each in (await rows_of(postgres_url, INVENTORY))["inventory"] if each["sku"] == "ROD-12"]
        assert (rod["stock"], rod["reference"]) == (11, None)
        await worker.refresh(after=quarter)
        [rod] = [each for each in (await rows_of(postgres_url, INVENTORY))["inventory"] if each["sku"] == "ROD-12"]
        assert (rod["stock"], rod["reference"]) == (11, good["inventory"][1]["reference"]), "the next fetch knows it"
