"""The provider's stand-in speaks Twilio, as our own channel reads it: sending, errors, signed status callbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web

from chatledger.channels import CHANNELS, meta, twilio
from chatledger.channels.base import InboundSecrets, OutboundSecrets, ProviderAnswer, WebhookRequest
from chatledger.events.dialog import MessageTemplate, ReplyRequested
from chatledger.events.inbound import DeliveryReported
from chatledger.projects import ChannelSettings
from tests.support.notify import ACCOUNT, SENDER, TOKEN, eventually, whatsapp
from tests.support.provider import ACCEPT_AND_HANG, HANG, RESET, Answer, ScriptedProvider, twilio_error

Heard = list[WebhookRequest]


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@asynccontextmanager
async def callback_receiver() -> AsyncIterator[tuple[str, Heard]]:
    """Somewhere to report to, and what was heard there."""
    heard: Heard = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        heard.append(
            WebhookRequest(headers=headers, query=dict(request.query), body=await request.read(), url=str(request.url))
        )
        return web.Response()

    application = web.Application()
    application.router.add_post("/webhook/twilio/store", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/webhook/twilio/store", heard
    finally:
        await runner.cleanup()


async def send(
    provider: ScriptedProvider,
    *,
    channel: str = "twilio",
    key: str = "key",
    callback_url: str = "",
    content_sid: str | None = None,
    template: MessageTemplate | None = None,
) -> ProviderAnswer:
    """Send one message as notify does."""
    request = whatsapp("+9199", 1, template=template, channel=channel)
    assert isinstance(request.data, ReplyRequested)
    secrets = OutboundSecrets(
        api_url=provider.url, token=TOKEN, account=ACCOUNT, sender=SENDER, callback_url=callback_url
    )
    rendered = CHANNELS[channel].render(key, request.data, secrets, content_sid)
    async with httpx.AsyncClient(timeout=0.3, trust_env=False) as client:
        answer = await client.request(rendered.method, rendered.url, headers=rendered.headers, content=rendered.body)
    return ProviderAnswer(status=answer.status_code, headers=answer.headers, body=answer.content)


async def test_it_takes_a_text_and_answers_with_a_message_id_of_its_own_each_time(provider):
    answers = [await send(provider) for _ in (1, 2)]
    assert [answer.status for answer in answers] == [201, 201]
    ids = [twilio.outcome(answer).provider_message_id for answer in answers]
    assert all(each.startswith("SM") and len(each) == 34 for each in ids)
    assert len(set(ids)) == 2
    first = provider.received[0]
    assert (first.channel, first.client_id, first.text, first.sender) == ("twilio", "+9199", "1", SENDER)
    assert (first.account, first.idempotency_key, first.content_sid) == (ACCOUNT, "key", "")


async def test_it_takes_a_template(provider):
    template = MessageTemplate(content_sid="HX1", variables={"1": "₹5,000"})
    await send(provider, content_sid="HX1", template=template)
    message = provider.received[0]
    assert (message.text, message.content_sid, message.variables) == ("", "HX1", {"1": "₹5,000"})


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (twilio_error(63016), "failed", "63016: "),
        (Answer(status=429, headers={"Retry-After": "7"}), "retry", "20429: "),
        (Answer(status=500), "retry", "20500: "),
    ],
)
async def test_its_errors_are_twilios(provider, answer, kind, reason):
    provider.script("+9199", answer)
    outcome = twilio.outcome(await send(provider))
    assert (outcome.kind, outcome.reason[:7]) == (kind, reason)
    assert outcome.retry_after_s == (7 if answer.headers else None)


@pytest.mark.parametrize("answer", [RESET, HANG, ACCEPT_AND_HANG])
async def test_it_can_leave_a_request_without_an_answer(provider, answer):
    provider.script("+9199", answer)
    with pytest.raises(httpx.TransportError):
        await send(provider)
    assert len(provider.received) == 1


async def test_it_reports_in_any_order_signed_with_the_accounts_token(provider):
    order = ("delivered", "sent", "undelivered", "read", "read")
    provider.script("+9199", Answer(callbacks=order))
    async with callback_receiver() as (url, heard):
        answer = await send(provider, callback_url=url, key="delivery-1")
        await eventually(lambda: len(provider.callback_statuses) == len(order), "all are reported")
    assert provider.callback_statuses == [(status, 200) for status in order]
    events = []
    for request in heard:
        twilio.verify(request, ChannelSettings(), InboundSecrets(tokens=(TOKEN,)))
        events += [received.event for received in twilio.parse(request)]
    assert all(isinstance(event, DeliveryReported) for event in events)
    assert [getattr(event, "status", "") for event in events] == ["delivered", "sent", "failed", "read", "read"]
    assert {getattr(event, "delivery_id", "") for event in events} == {"delivery-1"}
    sent_as = twilio.outcome(answer).provider_message_id
    assert {getattr(event, "provider_message_id", "") for event in events} == {sent_as}


async def test_it_reports_what_it_took_without_saying_so(provider):
    provider.script("+9199", Answer(instead="accept", callbacks=("sent",)))
    async with callback_receiver() as (url, heard):
        with pytest.raises(httpx.TransportError):
            await send(provider, callback_url=url)
        await eventually(lambda: heard, "it is reported all the same")


async def test_it_reports_nothing_of_what_it_refused(provider):
    provider.script("+9199", Answer(status=503, callbacks=("sent",)), Answer(callbacks=("read",)))
    async with callback_receiver() as (url, heard):
        await send(provider, callback_url=url)
        await send(provider, callback_url=url)
        await eventually(lambda: provider.callback_statuses, "the second is reported")
    assert len(heard) == 1
    assert provider.callback_statuses == [("read", 200)]


async def test_it_answers_meta_too(provider):
    answer = await send(provider, channel="meta")
    assert meta.outcome(answer).provider_message_id.startswith("wamid.")
    message = provider.received[0]
    assert (message.channel, message.client_id, message.text, message.idempotency_key) == ("meta", "+9199", "1", "key")
