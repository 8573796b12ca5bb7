"""The bar of a replay on a terminal's standard error: events, rate and time left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """Events a second, once that is known."""

    def render(self, task: Task) -> Text:
        """Return the rate of the last moments."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def bar_is_shown(*, wanted: bool) -> bool:
    """Whether there is a terminal to show a bar on."""
    return wanted and Console(stderr=True).is_terminal


@contextlib.contextmanager
def bar(total: int, *, shown: bool, doing: str = "replaying") -> Iterator[Callable[[int], None]]:
    """Show a bar for the time of a `with`; what is given is called with how many more events were handed on."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda events: progress.advance(task, events)
