"""A campaign: from the request to start it to the provider's stand-in receiving the last message.

Real Kafka, real Postgres, every service and the stand-in on this machine. Every client wrote before. The campaign's
rate is set out of reach, so what is counted is what the line carries: batches, a decision of each conversation, and a
request to the provider; nothing is said twice. There is no peer.

    python -m benchmarks.campaign [--clients N] [--reports]

With `--reports` the stand-in reports by webhooks, two or three a message, what became of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.report import report
from benchmarks.running_system import free_port
from tests.e2e.campaign_scene import TwilioStandIn, phone, shop
from tests.e2e.up_process import until
from tests.support.kafka import RealKafka
from tests.support.postgres import fresh_database, temporary_postgres

CLIENTS = 10_000
RATE, BATCH = 10_000, 500
TIMEOUT_S = 300.0


def measure(clients: int, reports: bool) -> None:
    """Run one campaign, and print its line. Raises AssertionError when somebody is told twice, or not."""
    with (
        RealKafka() as kafka,
        temporary_postgres() as server,
        fresh_database(server) as database,
        tempfile.TemporaryDirectory() as folder,
        TwilioStandIn(reports=reports) as provider,
        shop(Path(folder), provider, port=free_port(), broker=kafka.bootstrap_servers, database=database) as scene,
    ):
        scene.write(range(1, clients + 1), "Hi")
        scene.up.run("verify", "--settle", "60")
        scene.start_campaign(ratePerSecond=RATE, batchSize=BATCH)
        until(lambda: len(scene.told()) >= clients, timeout_s=TIMEOUT_S, what="every client is told")
        told = scene.told()
        assert Counter(each.client_id for each in told) == {phone(number): 1 for number in range(1, clients + 1)}
        seconds = told[-1].arrived_at - told[0].arrived_at
        report("campaign_rate", "messages/s", (clients - 1) / seconds, None, None)


def run() -> None:
    """Print campaign_rate."""
    measure(CLIENTS, reports=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"how many clients are told ({CLIENTS})")
    parser.add_argument("--reports", action="store_true", help="have the stand-in report what became of each")
    chosen = parser.parse_args()
    measure(chosen.clients, chosen.reports)
