"""Points in all coordinates and in the span of S_train: seconds of measuring them and of a step on S_val.

    OMP_NUM_THREADS=1 python -m benchmarks.span

The systems of d theta / d lambda have the same solutions either way (`hcdc.bilevel.Spanned`). Both condense the same first
points of the same task by the same steps, in turns; medians of processor seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measure import keep
from hcdc.condense import HCDC, Bank, Task
from hcdc.data import load
from hcdc.models import GraphNet
from hcdc.run import method_named, task_for

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.span"
TASKS: dict[str, tuple[str, int, str | None, int]] = {
    "Cora, filters": ("cora", 49, None, 128),
    "Citeseer, filters": ("citeseer", 60, None, 128),
    "Cora, APPNP": ("cora", 49, "appnp", 8),
}
"""Data, nodes, family and points."""


@contextlib.contextmanager
def all_coordinates() -> Generator[None]:
    """As if no problem were `Spanned`."""
    spanned, GraphNet.spanned = GraphNet.spanned, lambda self, data: None
    try:
        yield
    finally:
        GraphNet.spanned = spanned


def seconds(task: Task, points: int, steps: int, repeats: int) -> list[list[float]]:
    """[of the bank, of a step on S_val] in all coordinates and in the span, in turns; medians."""
    method = method_named("hcdc", "graph", problem=task.condensed.problem)
    assert isinstance(method, HCDC)
    assert isinstance(method.driver, Bank)
    driver = replace(method.driver, starts=points, chunk=points, stages=1, steps=steps, batch=min(points, method.driver.batch))
    method = replace(method, driver=driver)
    ways, states = (all_coordinates, contextlib.nullcontext), [method.init(task)] * 2
    banks: list[list[float]] = [[], []]
    updates: list[list[float]] = [[], []]
    for number in [0] * repeats + list(range(1, method.length())):
        for way, context in enumerate(ways):
            with context():
                began = time.process_time()
                states[way], _ = method.step(task, method.init(task) if number == 0 else states[way], number)
                (updates if number else banks)[way].append(time.process_time() - began)
    return [[statistics.median(each[way]) for each in (banks, updates)] for way in (0, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in given.only:
        data, size, family, points = TASKS[name]
        (bank, step), (narrow_bank, narrow_step) = seconds(task_for(load(data), size=size, family=family), points, given.steps, given.repeats)
        rows.append(
            {
                "task": name, "points": points, "bank, s": bank, "in the span, s": narrow_bank, "step, ms": 1e3 * step,
                "in the span, ms": 1e3 * narrow_step, "bank, times": bank / narrow_bank, "step, times": step / narrow_step,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    keep("span", COMMAND, rows, steps=given.steps)


if __name__ == "__main__":
    main()
