"""Points in all coordinates and in the span of S_train: seconds of measuring them and of a step on S_val.

    OMP_NUM_THREADS=1 python -m benchmarks.span

The systems of d theta / d lambda have the same solutions either way (`hcdc.bilevel.Spanned`). Both measure the same first
points of the same task and make the same step, in turns; medians of processor seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.measure import in_turns, keep
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


def in_all_coordinates(action: Callable[[], Any]) -> Callable[[], Any]:
    """`action` as if no problem were `Spanned`."""

    def call() -> Any:
        spanned, GraphNet.spanned = GraphNet.spanned, lambda self, data: None
        try:
            return action()
        finally:
            GraphNet.spanned = spanned

    return call


def seconds(task: Task, points: int, repeats: int) -> list[float]:
    """Of the bank in all coordinates and in the span, and of a step on S_val in both; the first step is made again and again."""
    method = method_named("hcdc", "graph", problem=task.condensed.problem)
    assert isinstance(method, HCDC)
    assert isinstance(method.driver, Bank)
    driver = replace(method.driver, starts=points, chunk=points, stages=1, batch=min(points, method.driver.batch))
    method = replace(method, driver=driver)
    start, found = method.init(task), list[float]()
    bank = partial(method.step, task, start, 0)
    updates = [partial(method.step, task, made, 1) for made, _ in (in_all_coordinates(bank)(), bank())]
    for whole, narrow, times in ((in_all_coordinates(bank), bank, repeats), (*updates, 10 * repeats)):
        costs = in_turns({"whole": whole, "narrow": narrow}, times)
        found += [costs[name].busy for name in ("whole", "narrow")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in given.only:
        data, size, family, points = TASKS[name]
        bank, narrow_bank, step, narrow_step = seconds(task_for(load(data), size=size, family=family), points, given.repeats)
        rows.append(
            {
                "task": name, "points": points, "bank, s": bank, "in the span, s": narrow_bank, "step, ms": 1e3 * step,
                "in the span, ms": 1e3 * narrow_step, "bank, times": bank / narrow_bank, "step, times": step / narrow_step,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    keep("span", COMMAND, rows)


if __name__ == "__main__":
    main()
