"""Billing's settings: those that every service has."""

from __future__ import annotations

from chatledger.settings import CommonSettings


class BillingSettings(CommonSettings):
    """What billing reads from the environment."""
