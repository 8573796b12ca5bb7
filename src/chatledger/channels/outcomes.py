"""What an HTTP status means for a delivery, the same for every provider: final, or worth another try."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from chatledger.channels.base import Outcome, ProviderAnswer

RETRYABLE_4XX = frozenset({408, 425, 429})
RETRY_AFTER_MAX_S = 3600.0
"""A provider that asks for more is tried again after an hour all the same."""


def outcome_of_status(answer: ProviderAnswer) -> Outcome | None:
    """Return the outcome of any status but 2xx; None for a 2xx, whose body the channel reads."""
    status = answer.status
    if 200 <= status < 300:
        return None
    reason = f"HTTP {status}"
    if status in RETRYABLE_4XX or status >= 500:
        return Outcome(kind="retry", reason=reason, retry_after_s=_retry_after_s(answer))
    return Outcome(kind="failed", reason=f"{reason}: {answer.body[:200].decode(errors='replace')}")


def _retry_after_s(answer: ProviderAnswer) -> float | None:
    """Read Retry-After (RFC 9110, section 10.2.3): seconds, or a date, which counts from the answer's own Date."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), RETRY_AFTER_MAX_S)
