"""Settings of the recorder, from the environment: those that every service shares."""

from __future__ import annotations

from chatledger.settings import DatabaseSettings


class LedgerSettings(DatabaseSettings):
    """What the recorder needs: a broker, a database, and which life of the broker it is."""
