"""The metrics page: every metric is on it, in the form that Prometheus reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from chatledger import metrics


def families(page: bytes) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name.startswith("chatledger_")
    }


def test_the_page_shows_every_metric() -> None:
    metrics.ACKNOWLEDGED.labels("page-test", "chat2desk").inc()
    metrics.LAG.labels("page-test", "chat.inbound", "0").set(7)
    metrics.REPLY_AGE.observe(0.02)
    shown = families(metrics.render_metrics())
    assert shown["chatledger_webhooks_acknowledged_total"] >= 1
    assert shown["chatledger_lag_records"] == 7
    assert shown["chatledger_reply_age_seconds_count"] >= 1
    assert metrics.CONTENT_TYPE.startswith("text/plain")


COUNT_ONE = """
from chatledger import metrics
metrics.HANDLED.labels("dialog").inc()
metrics.LAG.labels("dialog", "chat.inbound", "0").set(3)
"""
SHOW = "import sys; from chatledger import metrics; sys.stdout.buffer.write(metrics.render_metrics())"


def test_one_process_shows_the_metrics_of_all_that_share_a_folder(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNT_ONE], env=environment, check=True)
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environment, check=True, capture_output=True).stdout
    assert families(shown)["chatledger_records_handled_total"] == 2
    assert families(shown)["chatledger_lag_records"] == 3
