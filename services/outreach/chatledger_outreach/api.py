"""The HTTP API of reminders and clients, and, with it, of campaigns: to be mounted in any FastAPI application."""

from __future__ import annotations

from fastapi import APIRouter

from chatledger.http_api import Guard
from chatledger_outreach import campaign_api, reminder_api
from chatledger_outreach.parts import Outreach

PREFIX = "/whatsapp"


def router(outreach: Outreach, guard: Guard) -> APIRouter:
    """Return the routes, all below /whatsapp. Whoever mounts them opens and closes `outreach`."""
    routes = APIRouter(prefix=PREFIX)
    routes.include_router(reminder_api.router(outreach, guard))
    routes.include_router(campaign_api.router(outreach, guard))
    return routes
