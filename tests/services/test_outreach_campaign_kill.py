"""A campaign whose process is killed again and again: each client is told once, and nobody is left out."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest

from chatledger_outreach.campaigns import CampaignStatus
from tests.support.campaigns import campaigning, conversation
from tests.support.outreach import with_terms

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
CLIENTS = 300
LIVES_S = (0.1, 1.5)
LIVES_MAX = 30


async def test_whatever_dies_when_each_client_is_told_once(postgres_url):
    chance = random.Random(7)
    loud = with_terms(quiet_from=0, quiet_until=0)
    async with campaigning(postgres_url, projects=loud, now=datetime.now(UTC)) as bench:
        await bench.rows(
            "INSERT INTO outreach.clients (conversation, project, channel, client_id, time_zone)"
            " SELECT 'store/twilio/+9199' || lpad(number::text, 8, '0'), 'store', 'twilio', number::text, 'UTC'"
            " FROM generate_series(1, %s) AS number RETURNING 1",
            CLIENTS,
        )
        campaign = await bench.start(rate_per_s=200, batch_size=10)
        lives = 0
        while (await bench.read(campaign)).campaign.status is not CampaignStatus.COMPLETED:
            lives += 1
            assert lives <= LIVES_MAX
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.campaign_worker", postgres_url),
                stdout=asyncio.subprocess.PIPE,
            )
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"ready\n"
            await asyncio.sleep(chance.uniform(*LIVES_S))
            worker.kill()
            await worker.wait()
        assert lives > 1
        told = Counter(await bench.told(campaign))
        assert told == {conversation(number): 1 for number in range(1, CLIENTS + 1)}
        batches = [each.data for each in await bench.events() if each.data.type == "campaign.batch_released"]
        places = [place for each in batches for place in range(each.first, each.first + each.count)]  # type: ignore[attr-defined]  # its type says what it is
        assert places == list(range(CLIENTS))
