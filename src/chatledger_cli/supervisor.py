"""Starts child processes, starts again what dies, and stops them one after the other.

A child that ends with code 2 has a wrong configuration: starting it again would not help, so everything is given up.
So it is when one dies more often than `DEATHS_PER_MINUTE_MAX`; a child that ends with code 75, because a broker or a
database is away, is started again for as long as that takes. Children run in sessions of their own: Ctrl-C in a
terminal reaches the supervisor only, which then stops them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chatledger.errors import ChatledgerError, ConfigurationError

EXIT_CONFIGURATION, EXIT_AWAY = 2, 75
DEATHS_PER_MINUTE_MAX = 10
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
LINE_LENGTH_MAX = 1024 * 1024
"""A child's log line beyond this is cut: it bounds what is kept of a line that never ends."""
LINES_KEPT = 20
"""The last lines of each child, to say why it was given up."""

Say = Callable[[str], None]
Log = Callable[[str, str], None]


class ChildrenFailed(ChatledgerError):
    """A service dies again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPlan:
    """One child: its name in messages, what is run, with which environment and inherited file descriptors."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()
    stop_timeout_s: float = 10.0


@dataclass(slots=True, kw_only=True)
class _Child:
    plan: ChildPlan
    process: Process | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_PER_MINUTE_MAX + 1))
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    task: asyncio.Task[None] | None = None


class Supervisor:
    """The children, from `start()` to the last `stop()`. `say` gets our own lines, `log` each line of a child."""

    def __init__(self, plans: Sequence[ChildPlan], *, say: Say, log: Log) -> None:
        self._children = {plan.name: _Child(plan=plan) for plan in plans}
        self._say, self._log = say, log
        self._given_up: asyncio.Future[None] | None = None

    @property
    def names(self) -> list[str]:
        """The children's names, in the order of the plans."""
        return list(self._children)

    def process_id(self, name: str) -> int | None:
        """The process id of a child, or None while it does not run."""
        process = self._children[name].process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start every child; from now on each is started again when it ends."""
        self._given_up = asyncio.get_running_loop().create_future()
        # Whoever does not ask any more, because it is stopping, needs no warning about it either.
        self._given_up.add_done_callback(lambda given_up: given_up.cancelled() or given_up.exception())
        for child in self._children.values():
            child.task = asyncio.create_task(self._keep_running(child), name=f"keep {child.plan.name} running")

    async def failed(self) -> None:
        """Wait until something was given up. Raises ConfigurationError or ChildrenFailed with the reason."""
        assert self._given_up is not None
        await asyncio.shield(self._given_up)

    async def stop(self, name: str) -> bool:
        """End one child in order: SIGTERM, a bounded wait, then SIGKILL. Return whether it ended by itself, with 0."""
        child = self._children[name]
        child.stopping.set()
        process, task = child.process, child.task
        if task is None:
            return True
        if process is None or process.returncode is not None:
            task.cancel()
            await asyncio.wait([task])
            return process is not None and process.returncode == 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait([task], timeout=child.plan.stop_timeout_s)
        if not done:
            self._say(f"{name} did not end within {child.plan.stop_timeout_s:g} s: killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait([task])
        return process.returncode == 0

    async def _keep_running(self, child: _Child) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not child.stopping.is_set():
            started = time.monotonic()
            code = await self._run_once(child)
            if child.stopping.is_set() or self._give_up(child, code):
                return
            if time.monotonic() - started > 60:
                backoff_s = BACKOFF_FIRST_S
            self._say(f"{child.plan.name} {_ended(code)}; starting it again in {backoff_s:g} s")
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def _run_once(self, child: _Child) -> int:
        process = await asyncio.create_subprocess_exec(
            *child.plan.command,
            env=dict(child.plan.environment),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            limit=LINE_LENGTH_MAX,
            pass_fds=child.plan.descriptors,
            start_new_session=True,
        )
        child.process = process
        assert process.stdout is not None
        if child.stopping.is_set():  # stop() came while it was being started
            process.terminate()
        while line := await _read_line(process.stdout):
            text = line.decode(errors="replace").rstrip()
            child.last_lines.append(text)
            self._log(child.plan.name, text)
        return await process.wait()

    def _give_up(self, child: _Child, code: int) -> bool:
        assert self._given_up is not None
        if code == EXIT_AWAY:
            return False
        now = time.monotonic()
        child.deaths.append(now)
        name, said = child.plan.name, "\n".join(list(child.last_lines)[-3:])
        error: ChatledgerError
        if code == EXIT_CONFIGURATION:
            error = ConfigurationError(f"{name} cannot run as it is configured: {said}")
        elif len(child.deaths) > DEATHS_PER_MINUTE_MAX and now - child.deaths[0] <= 60:
            error = ChildrenFailed(f"{name} ended {len(child.deaths)} times in a minute; it said last: {said}")
        else:
            return False
        if not self._given_up.done():
            self._given_up.set_exception(error)
        return True


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """The next line; of one that is too long, what had been read of it."""
    try:
        return await stream.readline()
    except ValueError:  # readline has dropped what it held
        return b"(a line that was too long)\n"


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
