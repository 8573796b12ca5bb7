"""A breaker stops calling a service that fails, probes it with one call, and lets all through when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from prometheus_client import REGISTRY

from chatledger.adapters.breakers import Breaker, new_breaker
from chatledger.errors import BreakerOpen, OutsideUnavailable

PAUSE_S = 30.0


class Failed(Exception):
    pass


@dataclass
class Service:
    """An outside service behind a breaker, and the clock that the breaker looks at."""

    now_s: float = 1000.0
    fails: bool = False
    calls: int = 0
    seen: list[tuple[str, int]] = field(default_factory=list)

    def breaker(self, name: str = "service") -> Breaker:
        return new_breaker(
            name,
            failures_max=5,
            pause_s=PAUSE_S,
            changed=lambda breaker: self.seen.append((state_of(breaker), breaker.failures)),
            monotonic=lambda: self.now_s,
        )

    async def work(self) -> str:
        self.calls += 1
        if self.fails:
            raise Failed
        return "done"


def state_of(breaker: Breaker) -> str:
    """The state, as a word that a checker does not take for the one it was before."""
    return breaker.state


async def failures(breaker: Breaker, work: Callable[[], Awaitable[str]], times: int) -> None:
    for _ in range(times):
        with pytest.raises(Failed):
            await breaker.call(work)


async def test_it_opens_after_five_failures_in_a_row_and_then_calls_no_more():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 4)
    assert (state_of(breaker), breaker.failures) == ("closed", 4)
    await failures(breaker, service.work, 1)
    assert (state_of(breaker), breaker.failures, service.calls) == ("open", 5, 5)
    service.now_s += 10
    with pytest.raises(BreakerOpen) as refused:
        await breaker.call(service.work)
    assert refused.value.retry_after_s == 20
    assert isinstance(refused.value, OutsideUnavailable)
    assert service.calls == 5


async def test_a_success_starts_the_count_again():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 4)
    service.fails = False
    assert await breaker.call(service.work) == "done"
    assert breaker.failures == 0
    service.fails = True
    await failures(breaker, service.work, 4)
    assert state_of(breaker) == "closed"


async def test_after_the_pause_a_success_closes_it_and_a_failure_opens_it_for_another_pause():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 5)
    service.now_s += PAUSE_S
    await failures(breaker, service.work, 1)
    assert (state_of(breaker), breaker.retry_after_s) == ("open", PAUSE_S)
    service.now_s += PAUSE_S
    service.fails = False
    assert await breaker.call(service.work) == "done"
    assert (state_of(breaker), breaker.failures, breaker.retry_after_s) == ("closed", 0, 0)
    assert [state for state, _ in service.seen[4:]] == ["open", "half_open", "open", "half_open", "closed"]


async def test_half_open_lets_exactly_one_of_many_through():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 5)
    service.now_s += PAUSE_S
    answered = asyncio.Event()
    probes = 0

    async def slow() -> str:
        nonlocal probes
        probes += 1
        await answered.wait()
        return "done"

    calls = [asyncio.create_task(breaker.call(slow)) for _ in range(64)]
    await asyncio.sleep(0)
    assert state_of(breaker) == "half_open"
    answered.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert probes == 1
    assert results.count("done") == 1
    refused = [each for each in results if isinstance(each, BreakerOpen)]
    assert len(refused) == 63
    assert all(each.retry_after_s > 0 for each in refused)
    assert state_of(breaker) == "closed"


async def test_with_64_calls_in_flight_it_opens_once_and_what_ends_later_changes_nothing():
    service = Service()
    breaker = service.breaker("in-flight")
    before = REGISTRY.get_sample_value("chatledger_breaker_openings_total", {"name": "in-flight"}) or 0.0
    gates = [asyncio.Event() for _ in range(64)]

    async def call(index: int) -> str:
        await gates[index].wait()
        return await service.work()

    calls = [asyncio.create_task(breaker.call(partial(call, index))) for index in range(64)]
    await asyncio.sleep(0)
    service.fails = True
    for gate in gates[:40]:
        gate.set()
    await asyncio.gather(*calls[:40], return_exceptions=True)
    assert state_of(breaker) == "open"
    assert REGISTRY.get_sample_value("chatledger_breaker_openings_total", {"name": "in-flight"}) == before + 1
    assert REGISTRY.get_sample_value("chatledger_breaker_state", {"name": "in-flight"}) == 2

    # One that began while it was closed succeeds now: it tells of the past, and only a probe can close it.
    service.fails = False
    gates[40].set()
    assert await calls[40] == "done"
    assert state_of(breaker) == "open"

    # While the probe is on its way, others that began long ago fail: they do not speak for the probe.
    service.now_s += PAUSE_S
    answered = asyncio.Event()

    async def probe() -> str:
        await answered.wait()
        return "done"

    probing = asyncio.create_task(breaker.call(probe))
    await asyncio.sleep(0)
    service.fails = True
    for gate in gates[41:]:
        gate.set()
    await asyncio.gather(*calls[41:], return_exceptions=True)
    assert state_of(breaker) == "half_open"
    answered.set()
    assert await probing == "done"
    assert state_of(breaker) == "closed"
    assert REGISTRY.get_sample_value("chatledger_breaker_openings_total", {"name": "in-flight"}) == before + 1


async def test_a_cancelled_probe_leaves_the_next_call_to_be_the_probe():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 5)
    service.now_s += PAUSE_S
    probing = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert (state_of(breaker), breaker.retry_after_s) == ("half_open", 0)
    service.fails = False
    assert await breaker.call(service.work) == "done"
    assert state_of(breaker) == "closed"


async def test_a_cancelled_call_is_no_failure():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 4)
    hanging = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    assert (state_of(breaker), breaker.failures) == ("closed", 4)


async def test_every_change_is_told():
    service = Service(fails=True)
    breaker = service.breaker()
    await failures(breaker, service.work, 5)
    assert service.seen == [("closed", 1), ("closed", 2), ("closed", 3), ("closed", 4), ("open", 5)]


async def test_breakers_know_nothing_of_each_other():
    service = Service(fails=True)
    one, other = service.breaker("one"), service.breaker("other")
    await failures(one, service.work, 5)
    await failures(other, service.work, 1)
    assert (one.state, other.state, other.failures) == ("open", "closed", 1)
