"""Billing's settings: those that every service has."""

from __future__ import annotations

from chatledger.settings import CommonSettings

SERVICE = "billing"


class BillingSettings(CommonSettings):
    """What billing reads from the environment."""
