"""The metrics of all services, in one place, for GET /metrics in Prometheus text form.

Where PROMETHEUS_MULTIPROC_DIR is set (as `chatledger up` does for its children), one process's page shows them all.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

ACKNOWLEDGED = Counter(
    "chatledger_webhooks_acknowledged_total", "Webhooks answered 2xx after the broker had them.", ["project", "channel"]
)
REFUSED = Counter("chatledger_webhooks_refused_total", "Webhooks answered otherwise, by HTTP status.", ["status"])
DUPLICATES = Counter("chatledger_duplicates_total", "Records that were there already, by who noticed.", ["service"])
HANDLED = Counter("chatledger_records_handled_total", "Records that a service has handled.", ["service"])
DEAD_LETTERS = Counter("chatledger_dead_letters_total", "Records that a service could not process.", ["service"])
SENT = Counter("chatledger_deliveries_total", "Deliveries that ended, by how.", ["channel", "outcome"])
BREAKER_STATE = Gauge(
    "chatledger_breaker_state",
    "A breaker's state: 0 closed, 1 half open, 2 open.",
    ["name"],
    multiprocess_mode="mostrecent",
)
BREAKER_OPENINGS = Counter("chatledger_breaker_openings_total", "How often a breaker went open.", ["name"])
INVENTORY_AGE = Gauge(
    "chatledger_inventory_age_seconds",
    "How long ago a project's CRM last told its stock and prices.",
    ["project"],
    multiprocess_mode="mostrecent",
)
ORDERS_SYNCED = Counter(
    "chatledger_orders_synced_total", "Changes of orders that a CRM took or refused, by which.", ["outcome"]
)
LAG = Gauge(
    "chatledger_lag_records",
    "Records of a partition that a service has not handled yet.",
    ["service", "topic", "partition"],
    multiprocess_mode="mostrecent",
)
REPLY_AGE = Histogram(
    "chatledger_reply_age_seconds",
    "From the webhook's receipt to the provider's acceptance of the reply.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)


def render_metrics() -> bytes:
    """Return the page of all metrics of this process, or of all processes that share the multiprocess folder."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
