"""Which tables of notify can be made anew from the ledger: when each client last wrote.

The others are no read models but what is to be done: deliveries and timers on their way, reports that wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chatledger.adapters.clock import SystemClock
from chatledger.adapters.postgres import Connection
from chatledger.adapters.rebuilding.declared import Making, Rebuildable
from chatledger.adapters.rebuilding.live_standing import ConsumerStanding
from chatledger.adapters.rebuilding.shadow_tables import Table
from chatledger.channels import CHANNELS
from chatledger.events.inbound import MessageReceived
from chatledger.ports import LedgerEvent
from chatledger.projects import Project
from chatledger.topics import INBOUND
from chatledger_notify.handlers import SERVICE
from chatledger_notify.report_store import CLIENT_AGE_MAX, save_clients

SCHEMA = "notify"


def _begin(projects: Mapping[str, Project]) -> Making:
    earliest = SystemClock().now() - CLIENT_AGE_MAX
    windowed = {name for name, channel in CHANNELS.items() if channel.free_text_window is not None}

    async def apply(connection: Connection, events: Sequence[LedgerEvent]) -> None:
        clients: dict[str, datetime] = {}
        for envelope in (event.envelope for event in events):
            conversation, time = envelope.conversation, envelope.time
            if conversation.split("/", 2)[1] in windowed and time >= earliest:
                clients[conversation] = max(time, clients.get(conversation, time))
        if clients:
            await save_clients(connection, clients)

    return Making(standings=(ConsumerStanding(SCHEMA, (INBOUND,)),), apply=apply, since_time=earliest)


REBUILDABLES = (
    Rebuildable(
        name="notify.clients",
        sentence="When each client of the last days last wrote, for channels that ask for it.",
        service=SERVICE,
        schema=SCHEMA,
        # Older rows are cleared away now and then, and count for nothing until then.
        tables=(Table(name="clients", compared=f"last_message_at > now() - interval '{CLIENT_AGE_MAX.days} days'"),),
        types=(MessageReceived.type,),
        begin=_begin,
        locked_first=(f"{SCHEMA}.positions",),
    ),
)
