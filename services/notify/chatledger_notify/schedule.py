"""When to try again: quick tries first, then the slow schedule, then never."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySchedule:
    """The pauses after each try that did not succeed, in seconds. When they have run out the message has failed."""

    quick_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    slow_s: tuple[float, ...] = (60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0)
    jitter_share: float = 0.2
    """By how much of itself a pause may be longer or shorter, so that clients do not all come back at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingLimits:
    """How much is sent at once, and when it is let be. Times are in seconds.

    `breaker_failures` in a row open a provider's breaker for `breaker_pause_s`. A provider that can call us back and
    did not answer is given `ambiguous_pause_s` to tell that it took the message.
    """

    schedule: RetrySchedule = field(default_factory=RetrySchedule)
    concurrency: int = 64
    breaker_failures: int = 5
    breaker_pause_s: float = 30.0
    ambiguous_pause_s: float = 30.0


def next_attempt(attempts: int, *, retry_after_s: float | None, jitter: float, schedule: RetrySchedule) -> float | None:
    """Return the pause in seconds after `attempts` tries, None where no try is left.

    `jitter` is between -1 and 1. A provider that asks for a longer pause than ours gets it.
    """
    pauses = schedule.quick_s + schedule.slow_s
    if attempts > len(pauses):
        return None
    pause = pauses[attempts - 1] * (1 + schedule.jitter_share * jitter)
    return max(pause, retry_after_s or 0.0)
