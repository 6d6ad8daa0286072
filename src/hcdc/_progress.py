"""How far long work has come: who wants to know, and a bar on stderr for those who watch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

Progress = Callable[[str, int, int], None]
"""Called with (what is done, pieces done, pieces in all)."""


@contextlib.contextmanager
def bar(label: str, *, prefix: str = "", shown: bool = True) -> Generator[Progress]:
    """A bar that moves as it is told, by the pace of what is done now: it starts anew with every new label.

    It begins as `label`, without an end in sight where nothing is ever told, and calls what it is told of by `prefix` and the
    name given.
    """
    if not shown:
        yield lambda label, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Pieces(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Pieces(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=None)

        def told(name: str, done: int, total: int) -> None:
            if bars.tasks[0].description != prefix + name:
                bars.reset(task, description=prefix + name)
            bars.update(task, completed=done, total=total)

        yield told
        if bars.tasks[0].total is None:
            bars.update(task, completed=1, total=1)
