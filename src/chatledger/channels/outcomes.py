"""What an HTTP status means for a delivery, the same for every provider: final, or worth another try."""

from __future__ import annotations

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
    """Read Retry-After where it is a number of seconds (RFC 9110, section 10.2.3); a date counts as absent."""
    text = answer.headers.get("retry-after", "").strip()
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else None
