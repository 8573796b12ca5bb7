"""Fixtures for every test: a real Kafka and a real Postgres, started once, when the first test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatledger.adapters.embedded_postgres import EmbeddedPostgres
from tests.support.kafka import RealKafka, require_java_and_maven
from tests.support.postgres import fresh_database, temporary_postgres


@pytest.fixture(scope="session")
def real_kafka() -> Iterator[RealKafka]:
    """Apache Kafka for the whole run; tests keep apart by topic and group names. Mark its tests `kafka`.

    A test that kills the broker takes a RealKafka of its own.
    """
    require_java_and_maven()
    with RealKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """Postgres for the whole run. A test that kills or stops it takes a server of its own."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database, for one test. Mark its tests `postgres`."""
    with fresh_database(postgres_server) as url:
        yield url
