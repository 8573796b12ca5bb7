"""A sender who is slow with the body, or never sends it, does not keep its connection."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from chatledger_ingress import edge
from chatledger_ingress.edge import SlowBody, read_body


@pytest.mark.parametrize("before", [0, 1])
async def test_a_body_that_does_not_come_ends_in_bounded_time(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_TIMEOUT_S", 0.05)
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}] * before

    async def receive() -> MutableMapping[str, Any]:
        if pieces:
            return pieces.pop()
        await asyncio.Event().wait()
        raise AssertionError("never")

    async with asyncio.timeout(5):
        with pytest.raises(SlowBody):
            await read_body(receive, 1024)
