"""A campaign to ten thousand clients over the whole line: paused and resumed in mid-run, then counted."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.running_system import free_port
from chatledger.events.outreach import CampaignBatchReleased
from chatledger_outreach.campaign_metrics import metrics_from_events
from tests.e2e.campaign_scene import Scene, TwilioStandIn, phone, shop, wait
from tests.e2e.up_process import until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]
CLIENTS = 10_000
OPTED_OUT = range(7, CLIENTS, 20)
RESPONDING = range(1, CLIENTS, 100)
RATE, BATCH = 500, 250
CAMPAIGN_TIMEOUT_S = 180.0
PAUSE_S = 3.0


def progress(scene: Scene, campaign: str) -> int:
    released: int = scene.ask("GET", f"/{campaign}")["released"]
    return released


def reported(scene: Scene, campaign: str) -> int:
    """How many messages the provider has told the fate of; its reports come after the messages."""
    metrics = scene.ask("GET", f"/{campaign}/metrics")
    return int(metrics["delivered"] + metrics["failed"])


def test_ten_thousand_clients(tmp_path: Path) -> None:
    wanted = {phone(number) for number in range(1, CLIENTS + 1) if number not in OPTED_OUT}
    with TwilioStandIn() as provider, shop(tmp_path, provider, port=free_port()) as scene:
        scene.write(range(1, CLIENTS + 1), "Hi")
        scene.write(OPTED_OUT, "stop")
        scene.up.run("verify", "--settle", "60")

        campaign = scene.start_campaign(ratePerSecond=RATE, batchSize=BATCH)
        until(lambda: progress(scene, campaign) >= CLIENTS // 3, timeout_s=CAMPAIGN_TIMEOUT_S, what="a third is told")
        paused = scene.ask("POST", f"/{campaign}/pause")
        until(lambda: len(scene.told()) == paused["released"], timeout_s=60, what="what was released arrives")
        wait(PAUSE_S)
        assert len(scene.told()) == paused["released"] == progress(scene, campaign) < len(wanted)
        scene.ask("POST", f"/{campaign}/resume")
        until(lambda: len(scene.told()) >= len(wanted), timeout_s=CAMPAIGN_TIMEOUT_S, what="everybody is told")
        scene.write(RESPONDING, "status")

        assert Counter(message.client_id for message in scene.told()) == dict.fromkeys(wanted, 1)
        until(
            lambda: reported(scene, campaign) == len(wanted), timeout_s=CAMPAIGN_TIMEOUT_S, what="each fate is reported"
        )
        report = json.loads(scene.up.run("verify", "--settle", "60", "--json").stdout)
        assert report["violations"] == 0
        metrics = scene.ask("GET", f"/{campaign}/metrics")
        ledger = scene.ledger()
        counted = metrics_from_events(campaign, ledger)
        assert {name: metrics[name] for name in counted.__dataclass_fields__} == {
            name: getattr(counted, name) for name in counted.__dataclass_fields__
        }
        assert (metrics["status"], metrics["targeted"], metrics["sent"]) == ("completed", len(wanted), len(wanted))
        assert metrics["delivered"] + metrics["failed"] == len(wanted)
        assert metrics["responses"] == len([number for number in RESPONDING if phone(number) in wanted])

        batches = [(each.time, each.data) for each in ledger if isinstance(each.data, CampaignBatchReleased)]
        for (before, batch), (after, _) in pairwise(batches):
            assert (after - before).total_seconds() >= batch.count / RATE
