"""How much memory the embedded Postgres may take for its buffers."""

from __future__ import annotations

import psutil
import pytest

from chatledger.adapters.embedded_postgres_settings import memory_bytes, server_settings

GIB = 1024**3


@pytest.mark.parametrize(
    ("memory", "buffers"), [(64 * GIB, "1024MB"), (4 * GIB, "1024MB"), (2 * GIB, "512MB"), (GIB // 4, "128MB")]
)
def test_a_quarter_of_the_memory_is_for_buffers_within_bounds(memory, buffers):
    assert server_settings(memory)["shared_buffers"] == buffers


def test_what_was_acknowledged_is_on_the_disk_whatever_the_machine():
    settings = server_settings(GIB)
    assert (settings["fsync"], settings["synchronous_commit"]) == ("on", "on")


@pytest.mark.parametrize(("limit", "is_limited"), [("268435456\n", True), ("max\n", False), (None, False)])
def test_a_container_has_no_more_memory_than_its_limit(tmp_path, limit, is_limited):
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    assert memory_bytes(file) == (int(limit) if is_limited else psutil.virtual_memory().total)
