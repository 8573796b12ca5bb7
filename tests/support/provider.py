"""The provider's stand-in for tests: in a thread of its own, with a script per client; also a program.

    with ScriptedProvider() as provider:
        provider.script("77", Answer(status=500), Answer(status=429, headers={"retry-after": "2"}))

The program prints its port and serves until it is stopped: `python -m tests.support.provider --port 0`.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import uvloop

from chatledger_cli.provider_stand_in import ACCEPTED, Answer, ProviderStandIn, ReceivedMessage, twilio_error

__all__ = ["ACCEPT_AND_HANG", "HANG", "RESET", "Answer", "ReceivedMessage", "ScriptedProvider", "twilio_error"]

RESET = Answer(instead="reset")
HANG = Answer(instead="hang")
ACCEPT_AND_HANG = Answer(instead="accept")


class ScriptedProvider:
    """Takes each client's scripted answers one by one, and gives `otherwise` when they have run out."""

    def __init__(self) -> None:
        self.otherwise = ACCEPTED
        self._scripts: dict[str, deque[Answer]] = {}
        self._server = ProviderStandIn(self._answer)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-stand-in", daemon=True)
        self.url = ""

    def script(self, client_id: str, *answers: Answer) -> None:
        """Answer this client's next messages so, one each."""
        self._scripts.setdefault(client_id, deque()).extend(answers)

    @property
    def received(self) -> list[ReceivedMessage]:
        """Everything that came so far, in order of arrival."""
        return list(self._server.received)

    @property
    def callback_statuses(self) -> list[tuple[str, int]]:
        """Of each status that was reported what the callback URL answered."""
        return list(self._server.callback_statuses)

    def texts(self, client_id: str) -> list[str]:
        """The texts that came for one client, repeated ones too."""
        return [message.text for message in self.received if message.client_id == client_id]

    def _answer(self, message: ReceivedMessage) -> Answer:
        script = self._scripts.get(message.client_id)
        return script.popleft() if script else self.otherwise

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections for the time of a `with`; afterwards listen on the same port again."""
        port = int(self.url.rsplit(":", 1)[1])
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._server.start(port), self._loop).result(10)

    def __enter__(self) -> ScriptedProvider:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        self.url = self._server.url
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _serve(port: int) -> None:
    server = await ProviderStandIn().start(port)
    print(server.url.rsplit(":", 1)[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A stand-in for the providers' HTTP APIs.")
    arguments.add_argument("--port", type=int, default=0)
    uvloop.run(_serve(arguments.parse_args().port))
