"""How far long work has come: who wants to know, and a bar on stderr for those who watch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

Progress = Callable[[str, int, int], None]
"""Called with (what is done, pieces done, pieces in all)."""


EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


@contextlib.contextmanager
def bar(label: str, *, prefix: str = "", shown: bool = True) -> Generator[Progress]:
    """A bar that moves as it is told, by the pace of what is done now: it starts anew with every new label.

    It begins as `label`, without an end in sight where nothing is ever told, and calls what it is told of by `prefix` and the
    name given. Where stderr is no terminal, it is a line at the end and one whenever `EVERY` seconds have passed.
    """
    if not shown:
        yield lambda label, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bars, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Pieces(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Pieces(), TimeElapsedColumn(), TimeRemainingColumn())
    console, began = Console(stderr=True), time.monotonic()
    with Bars(*columns, console=console) as bars:
        task, last = bars.add_task(label, total=None), began

        def told(name: str, done: int, total: int) -> None:
            nonlocal last
            if not console.is_terminal and time.monotonic() - last >= EVERY:
                last = time.monotonic()
                console.print(f"{prefix}{name}: {done} of {total} after {last - began:.0f} s", markup=False, highlight=False)
            if bars.tasks[0].description != prefix + name:
                bars.reset(task, description=prefix + name)
            bars.update(task, completed=done, total=total)

        yield told
        if bars.tasks[0].total is None:
            bars.update(task, completed=1, total=1)
