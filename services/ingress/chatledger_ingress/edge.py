"""HTTP in, HTTP out: the webhook endpoint as plain ASGI, because it is the hot path.

It reads the body up to a limit, hands a value to `handlers.accept` and writes the answer. A framework's request and
response objects would cost as much as all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

import structlog
from starlette.types import Message, Receive, Scope, Send

from chatledger.channels import CHANNELS
from chatledger.channels.base import WebhookRequest
from chatledger.errors import (
    BodyTooLarge,
    BrokerUnavailable,
    MalformedBody,
    NotAuthentic,
    SenderError,
    UnknownProject,
    WrongMediaType,
)
from chatledger.events.envelope import Envelope
from chatledger.http_problems import MEDIA_TYPE, Problem, problem_of_status
from chatledger.logs import mask_client
from chatledger.metrics import ACKNOWLEDGED, REFUSED
from chatledger.ports import Clock, Publisher
from chatledger_ingress.handlers import Routes, Target, accept
from chatledger_ingress.problems import SLOW_BODY, UNEXPECTED, problem_of

BODY_TIMEOUT_S = 10.0
"""A provider sends its few KiB at once; somebody who dribbles them holds a connection no longer than this."""
QUERY_FIELDS_MAX = 20
EVENT_IDS_MAX = 20
"""Of a batch no more are named in the answer: proxies take headers of a few KiB."""
PATH_PREFIXES = ("/webhook/", *sorted({path for channel in CHANNELS.values() for path in channel.paths}))

log = structlog.get_logger()


class SlowBody(Exception):
    """The body did not arrive in time."""


class SenderWentAway(Exception):
    """The connection was closed before the body had come."""


class WebhookEndpoint:
    """POST to the channels' paths, bare or followed by a project; GET where a provider asks whether a path is ours.

    `public_base_url` is what stands before the path in the address that providers know; without it the Host header
    tells.
    """

    def __init__(
        self, routes: Routes, *, publisher: Publisher, clock: Clock, body_bytes_max: int, public_base_url: str = ""
    ) -> None:
        self._routes = routes
        self._publisher, self._clock = publisher, clock
        self._body_bytes_max = body_bytes_max
        self._public_base_url = public_base_url.rstrip("/")
        self._acknowledged = {
            id(target): ACKNOWLEDGED.labels(target.door.project, target.door.channel)
            for route in routes.values()
            for target in route.values()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever comes."""
        try:
            if scope["method"] != "POST":
                refusal = await self._ask(scope, send)
            else:
                await self._take(scope, receive, send)
                return
        except SenderError as wrong:
            refusal = problem_of(wrong)
        except BrokerUnavailable as wrong:
            log.warning("webhook.not_stored", path=scope["path"], error=str(wrong))
            refusal = problem_of(wrong)
        except SlowBody:
            refusal = SLOW_BODY
        except SenderWentAway:
            return
        except Exception:
            log.exception("webhook.failed", path=scope["path"])
            refusal = UNEXPECTED
        if refusal is None:
            return
        REFUSED.labels(refusal.status).inc()
        await send_problem(send, refusal, instance=scope["path"])

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"])
        if route is None:
            raise UnknownProject(f"no project takes webhooks at {scope['path']}; GET / lists those that do")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        target = route.get(headers.get("content-type", "").partition(";")[0].strip().lower())
        if target is None:
            raise WrongMediaType(f"Content-Type: send {' or '.join(route)}")
        _check_declared_length(headers.get("content-length"), self._body_bytes_max)
        request = WebhookRequest(
            headers=headers,
            query=_query(scope["query_string"]),
            body=await read_body(receive, self._body_bytes_max),
            url=self._url(scope, headers),
        )
        envelopes = await accept(target, request, publisher=self._publisher, clock=self._clock)
        self._acknowledged[id(target)].inc()
        _log_accepted(target, envelopes)
        channel = target.channel
        event_ids = ",".join([envelope.id for envelope in envelopes[:EVENT_IDS_MAX]])
        await _send(
            send,
            200,
            channel.acknowledgement,
            [(b"content-type", channel.acknowledgement_type.encode()), (b"x-event-id", event_ids.encode())],
        )

    async def _ask(self, scope: Scope, send: Send) -> Problem | None:
        """Answer a provider's question whether the path is ours; return the problem where it is none, or a stranger's.

        Where several channels share the path the token of any of them will do.
        """
        targets = self._routes.get(scope["path"], {}).values()
        askable = [(target.channel.challenge, target.secrets) for target in targets if target.channel.challenge]
        if scope["method"] != "GET" or not askable:
            allowed = "GET, POST" if askable else "POST"
            return problem_of_status(405, "webhooks are sent by POST", {"allow": allowed})
        query = _query(scope["query_string"])
        refusal = ""
        for challenge, secrets in askable:
            try:
                answer = challenge(query, secrets)
            except NotAuthentic as wrong:
                refusal = str(wrong)
            else:
                await _send(
                    send, 200, answer, [(b"content-type", b"text/plain"), (b"x-content-type-options", b"nosniff")]
                )
                return None
        return problem_of_status(403, refusal)

    def _url(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """The address as the sender wrote it: it may be part of what they signed."""
        base = self._public_base_url or f"{scope['scheme']}://{headers.get('host', '')}"
        raw_path = scope.get("raw_path")
        path = raw_path.decode("latin-1") if raw_path else quote(scope["path"])
        query = scope["query_string"]
        return f"{base}{path}?{query.decode('latin-1')}" if query else base + path


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """Read a request's body. Raises BodyTooLarge as soon as it is, SlowBody, SenderWentAway."""
    body, more = b"", True
    try:
        # Around the first piece too: who sends the head alone would hold the connection for ever.
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more and len(body) <= bytes_max:
                message = await receive()
                body += _chunk(message)
                more = message.get("more_body", False)
    except TimeoutError as wrong:
        raise SlowBody from wrong
    if len(body) > bytes_max:
        raise BodyTooLarge(f"the limit is {bytes_max} bytes")
    return body


async def send_problem(send: Send, problem: Problem, *, instance: str) -> None:
    """Write a problem document as the answer."""
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    headers += [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    await _send(send, problem.status, problem.body(instance), headers)


async def _send(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise SenderWentAway
    chunk: bytes = message.get("body", b"")
    return chunk


def _check_declared_length(given: str | None, bytes_max: int) -> None:
    if given is None:
        return
    if not (given.isascii() and given.isdigit()):
        raise MalformedBody("Content-Length: must be a number of bytes")
    if len(given) > 15 or int(given) > bytes_max:
        raise BodyTooLarge(f"the limit is {bytes_max} bytes")


def _query(query_string: bytes) -> Mapping[str, str]:
    """The query's fields; of one that is there twice, the last."""
    if not query_string:
        return {}
    try:
        fields = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as wrong:
        raise MalformedBody(f"query: has more than {QUERY_FIELDS_MAX} fields") from wrong
    return dict(fields)


def _log_accepted(target: Target, envelopes: list[Envelope]) -> None:
    for envelope in envelopes:
        client = envelope.conversation.split("/", 2)[2]
        line: dict[str, Any] = {
            "event_id": envelope.id,
            "type": envelope.data.type,
            "correlation_id": envelope.correlation_id,
            "conversation": f"{target.door.project}/{target.door.channel}/{mask_client(client)}",
        }
        log.info("webhook.acknowledged", **line)
