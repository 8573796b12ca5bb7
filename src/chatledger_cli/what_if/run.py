"""The process that asks: it starts the child without a secret, hands history on to it, and waits as long as is of use.

The child gets a stripped environment and no open file but its pipes: no URL of a database or a broker, no token, and no
home folder with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from mmap import mmap
from typing import IO, Any

import orjson

from chatledger.errors import ConfigurationError
from chatledger_cli.what_if.pipe import END_OF_EVENTS, MARK_BYTES, NO_MARK, Asked
from chatledger_cli.what_if.source import Line, Source
from chatledger_cli.what_if_child import WHERE_ARE_YOU

PROGRAM = "chatledger_cli.what_if_child"
KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TZ")
"""What Python itself may need to start; none of it is a secret."""
HANDED_OVER_BYTES = 1 << 16
"""As much as a pipe holds."""
LINE_BYTES_MAX = 1 << 30
"""A report with the whole texts of many conversations is one line."""
PATIENCE_S = 15.0
"""How much longer than a few decisions may take the child may say nothing, before it counts as hung."""
LAST_WORDS_S = 1.0
"""For a child that hangs to say where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the child said: what it compared with, and the report."""

    ready: dict[str, Any]
    report: dict[str, Any]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the child sees of these variables: no setting, no credential, no home."""
    kept = {name: environment[name] for name in KEPT_VARIABLES if name in environment}
    return kept | {
        # The modules that this process sees, wherever they come from.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


async def ask(asked: Asked, source: Source, *, advance: Callable[[int], None]) -> Answer:
    """Run the child over history. `advance` is called with how many more events were read.

    Raises ConfigurationError where the changed code or a project file is not usable, and where the child hangs or dies.
    """
    with tempfile.TemporaryFile() as file:
        file.write(NO_MARK)
        file.flush()
        with mmap(file.fileno(), MARK_BYTES) as mark:
            async with _child(file, replace(asked, mark=file.fileno()), mark) as child:
                ready = await child.said("ready")
                if ready["with_inventory"]:
                    await child.hand_over(source.inventory(), _nothing)
                await child.hand_over(source.history(), advance)
                await child.hand_over_end()
                wanted = await child.said("examples")
                await child.hand_over(source.of_conversations(wanted), _nothing)
                await child.hand_over_end()
                return Answer(ready=ready, report=await child.said("report"))


class _Child:
    """The process, and what was agreed with it about time."""

    def __init__(self, process: asyncio.subprocess.Process, mark: mmap, *, silence_max_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._in = process.stdin
        self._out = process.stdout
        self._mark = mark
        self._silence_max_s = silence_max_s
        self._heard_at = time.monotonic()
        self._said: dict[str, Any] = {}
        self._heard = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    async def said(self, what: str) -> Any:
        """Wait for one of the child's lines. Raises ConfigurationError where another end comes first."""
        self._heard_at = time.monotonic()
        while not self._said.keys() & {what, "refused", "ended"}:
            if time.monotonic() - self._heard_at > self._silence_max_s:
                raise await self._hung()
            self._heard.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), self._silence_max_s / 4)
        if what not in self._said:
            self._require_alive()
        return self._said[what]

    async def hand_over(self, lines: AsyncIterator[Line], advance: Callable[[int], None]) -> None:
        """Write these lines, as fast as the child takes them."""
        waiting: list[bytes] = []
        size = read = 0
        async for line in lines:
            read += 1
            if line is not None:
                waiting.append(line)
                size += len(line)
            if size >= HANDED_OVER_BYTES or read >= HANDED_OVER_BYTES:
                await self._write(b"".join(waiting))
                advance(read)
                waiting.clear()
                size = read = 0
        await self._write(b"".join(waiting))
        advance(read)

    async def hand_over_end(self) -> None:
        """Say that these were all."""
        await self._write(END_OF_EVENTS)

    async def first_words(self, asked: Asked) -> None:
        """Say what to do."""
        await self._write(orjson.dumps(asdict(asked)) + b"\n")

    async def end(self) -> None:
        """End the process, if it has not ended."""
        self._listening.cancel()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._in.close()

    async def _write(self, data: bytes) -> None:
        self._require_alive()
        try:
            self._in.write(data)
            await asyncio.wait_for(self._in.drain(), self._silence_max_s)
        except TimeoutError:
            raise await self._hung() from None
        except (BrokenPipeError, ConnectionResetError):
            # It has ended, and may have said why.
            await asyncio.wait({self._listening})
            self._require_alive()
            raise

    async def _listen(self) -> None:
        """Note what the child says, up to its end."""
        while line := await self._out.readline():
            self._heard_at = time.monotonic()
            self._said |= orjson.loads(line)
            self._heard.set()
        self._said["ended"] = await self._process.wait()
        self._heard.set()

    def _require_alive(self) -> None:
        if "refused" in self._said:
            raise ConfigurationError(self._said["refused"])
        if "ended" in self._said and "report" not in self._said:
            code = self._said["ended"]
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise ConfigurationError(f"the process of the flow code ended {how}{self._where()}")

    async def _hung(self) -> ConfigurationError:
        """Ask the child where it is, which it says on standard error, and return what is to be raised."""
        where = self._where()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(WHERE_ARE_YOU)
        await asyncio.wait({self._listening}, timeout=LAST_WORDS_S)
        return ConfigurationError(f"the flow code did not come back for {self._silence_max_s:g} s{where}; it was ended")

    def _where(self) -> str:
        event_id = bytes(self._mark[:]).strip().decode(errors="replace")
        return f" while it decided about the input {event_id}" if event_id else ""


@contextlib.asynccontextmanager
async def _child(file: IO[bytes], asked: Asked, mark: mmap) -> AsyncIterator[_Child]:
    # Safe mode: neither the current folder nor the user's own site-packages are searched for modules.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-s", "-m", PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=child_environment(os.environ),
        cwd=os.sep,
        pass_fds=(file.fileno(),),
        limit=LINE_BYTES_MAX,
    )
    # A few decisions in a row may take their whole time before the child gives up by itself.
    child = _Child(process, mark, silence_max_s=4 * asked.limit_s + PATIENCE_S)
    try:
        await child.first_words(asked)
        yield child
    finally:
        await child.end()


def _nothing(events: int) -> None:
    """Who is not shown how far it has come."""
