"""One try of a delivery: may it go out now, and in which form; then the provider; then what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from chatledger.channels import CHANNELS
from chatledger.logs import about
from chatledger.metrics import REPLY_AGE, SENT
from chatledger.ports import Clock
from chatledger_notify.deliveries import Account, Delivery, Result, blocked, result_of
from chatledger_notify.failpoint import AFTER_SEND, Failpoint
from chatledger_notify.provider import Provider
from chatledger_notify.schedule import RetrySchedule
from chatledger_notify.store import NotifyStore
from chatledger_notify.window import FREE_TEXT, Blocked, Form, is_open, last_message_at, template_or_block

Templates = Mapping[Account, Mapping[str, str]]
"""Of each project's channel the provider's ids of templates, by the purpose of a message."""

_log = structlog.get_logger()


class Attempts:
    """Makes tries. Time and chance come from outside."""

    def __init__(
        self,
        *,
        store: NotifyStore,
        provider: Provider,
        templates: Templates,
        clock: Clock,
        jitter: Callable[[], float],
        schedule: RetrySchedule,
        failpoint: Failpoint | None = None,
    ) -> None:
        self._store, self._provider, self._templates = store, provider, templates
        self._clock, self._jitter, self._schedule, self._failpoint = clock, jitter, schedule, failpoint

    async def make(self, delivery: Delivery) -> Result:
        """Try once, unless the provider would refuse it. Raises BreakerOpen: then nothing was tried."""
        self._provider.look(delivery.account)
        form = await self._form(delivery)
        if isinstance(form, Blocked):
            result = blocked(delivery, form.reason, at=self._clock.now())
        else:
            result = await self._tried(delivery, form)
        _tell(result)
        return result

    async def _tried(self, delivery: Delivery, form: Form) -> Result:
        made = await self._provider.attempt(delivery, form)
        if self._failpoint is not None:
            self._failpoint.reached(AFTER_SEND)
        # The provider may have asked for a pause of its own, or may yet tell that it took the message.
        may_go_early = made.down and made.outcome.retry_after_s is None
        return result_of(
            delivery,
            made.outcome,
            http_status=made.http_status,
            at=self._clock.now(),
            schedule=self._schedule,
            jitter=self._jitter(),
            provider_down=may_go_early,
        )

    async def _form(self, delivery: Delivery) -> Form | Blocked:
        window = CHANNELS[delivery.reply.channel].free_text_window
        if window is None or is_open(window, last_message_at(delivery), self._clock.now()):
            return FREE_TEXT
        # The client may have written since the message was asked for.
        last = await self._store.last_message_at(delivery.request.conversation)
        if is_open(window, last, self._clock.now()):
            return FREE_TEXT
        return template_or_block(delivery, self._templates.get(delivery.account, {}), window)


def _tell(result: Result) -> None:
    """Put a try into the metrics and the log; what was written to the client is masked."""
    request = result.delivery.request
    age_s = max(0.0, (result.at - request.time).total_seconds())
    if result.ended:
        SENT.labels(result.delivery.reply.channel, result.status).inc()
    if result.status == "sent":
        REPLY_AGE.observe(age_s)
    _log.log(
        20 if result.status == "sent" else 30,
        f"delivery.{result.status}",
        **about(request),
        attempts=result.attempts,
        age_s=round(age_s, 3),
        http_status=result.http_status,
        reason=result.reason,
        next_attempt_at=result.next_attempt_at and result.next_attempt_at.isoformat(),
    )
