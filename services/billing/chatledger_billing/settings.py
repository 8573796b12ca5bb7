"""Billing's settings: those that every service has."""

from __future__ import annotations

from chatledger.settings import DatabaseSettings

SERVICE = "billing"


class BillingSettings(DatabaseSettings):
    """What billing reads from the environment."""
