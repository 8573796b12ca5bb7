"""This service when its broker was replaced."""

from __future__ import annotations

from chatledger.adapters.broker_loss import OutboxAtLoss
from chatledger_outreach.handlers import TOPICS
from chatledger_outreach.relay import NAME as RELAY_NAME
from chatledger_outreach.settings import SERVICE

AT_LOSS = OutboxAtLoss(name=SERVICE, topics=TOPICS, lock=RELAY_NAME)
