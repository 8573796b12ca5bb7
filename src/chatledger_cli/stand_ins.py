"""What answers in the place of the outside with `chatledger up --stand-in`: chat providers, and Zoho where it is used.

The stand-ins hold HTTP servers and clients, so nothing imports this module where they are not wanted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from typing import Any

from babel.numbers import get_currency_precision

from chatledger.channels import CHANNELS
from chatledger.projects import Project
from chatledger_cli.provider_stand_in import Answer, ProviderStandIn, ReceivedMessage
from chatledger_cli.supervisor import Say
from chatledger_cli.zoho_stand_in import ZohoStandIn


@contextlib.asynccontextmanager
async def stand_ins(projects: Mapping[str, Project], say: Say) -> AsyncIterator[dict[str, str]]:
    """Yield the environment that leads every service to a stand-in, while they run."""

    def show(message: ReceivedMessage) -> Answer:
        say(f"reply to client {message.client_id}: {message.text}")
        return Answer(callbacks=("delivered", "read"))  # a client who is always looking

    provider = await ProviderStandIn(show, first_number=time.time_ns() // 1_000).start()
    try:
        environment = {channel.api_url_env: provider.url for channel in CHANNELS.values()}
        synced = [project for project in projects.values() if project.crm]
        async with _zoho(synced) as its_place:
            yield environment | its_place
    finally:
        await provider.stop()


@contextlib.asynccontextmanager
async def _zoho(synced: Iterable[Project]) -> AsyncIterator[dict[str, str]]:
    """A Zoho that has what the projects' catalogues say; nothing where no project uses it."""
    projects = list(synced)
    if not projects:
        yield {}
        return
    zoho = await ZohoStandIn([product for project in projects for product in _products(project)]).start()
    try:
        secrets = {
            name: "stand-in"
            for project in projects
            if project.crm
            for name in (project.crm.client_id_env, project.crm.client_secret_env, project.crm.refresh_token_env)
        }
        yield {"ZOHO_API_URL": zoho.url, "ZOHO_ACCOUNTS_URL": zoho.url, **secrets}
    finally:
        await zoho.stop()


def _products(project: Project) -> list[dict[str, Any]]:
    if project.store is None:
        return []
    decimals = get_currency_precision(project.store.currency)
    return [
        {
            "Product_Code": product.sku,
            "Unit_Price": str(Decimal(product.price_minor).scaleb(-decimals)),
            "Qty_in_Stock": str(1_000 if product.stock is None else product.stock),
        }
        for product in project.store.catalogue
    ]
