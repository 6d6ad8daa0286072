"""What a run will need, before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from hcdc._memory import LIBRARIES, machine_memory
from hcdc.bilevel import Spanned, Weighed, together
from hcdc.condense.hcdc import HCDC, Algorithm1, Bank
from hcdc.condense.hcdc_cells import CellHCDC
from hcdc.condense.kip import KIP
from hcdc.condense.points import narrowed
from hcdc.condense.task import Condenser, Task
from hcdc.condense.tm import TM
from hcdc.errors import InputError

BANK = 6 * 2**30
"""Bytes that a bank may need."""

LEAST = 8
"""Points of a batch of the smallest bank."""

LONG = 0.3
"""Seconds beside which warming up does not count."""


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call; of the second where the first is so short that warming up would count."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        action()
        seconds = time.perf_counter() - began
        if seconds > LONG:
            break
    return seconds


def fitted(method: Condenser, task: Task, memory: int = BANK) -> Condenser:
    """`method` with as many trajectories in its bank as `memory` bytes hold, but no more than it has and no fewer than one;
    where they are fewer, a batch is at most a third of the points, or `LEAST`.

    Depends on the task alone and not on the machine, so that a seed gives the same set everywhere.
    """
    if not (isinstance(method, HCDC) and isinstance(method.driver, Bank)):
        return method
    driver, starts = method.driver, max(1, memory // (method.driver.stages * _point(task, method.driver)))
    if driver.starts <= starts:
        return method
    return replace(method, driver=replace(driver, starts=starts, batch=min(driver.batch, max(LEAST, starts * driver.stages // 3))))


def peak_memory(method: Condenser, task: Task) -> int:
    """Bytes that `method` on `task` is expected to need at its peak: libraries, data, bank, experts or kernel, and models at work."""
    total = LIBRARIES + sum(_bytes(data) for data in task.real)
    if isinstance(method, TM | KIP | CellHCDC):
        return total + method.memory(task)
    if not isinstance(method, HCDC):
        return total
    driver = method.driver
    points = driver.starts * driver.stages if isinstance(driver, Bank) else driver.trajectories
    return total + points * _point(task, driver, spanned=True) + _at_work(task, points, method.measure.memory)


def check_memory(method: Condenser, task: Task, available: int | None = None) -> int:
    """`peak_memory`; raises `InputError` where it exceeds `available` (default: the machine's)."""
    wanted, limit = peak_memory(method, task), machine_memory() if available is None else available
    if wanted > limit:
        rule = f"needs about {wanted / 2**30:.1f} GiB, of {limit / 2**30:.1f} GiB"
        raise InputError("method", method.name, rule, "take fewer bank points, a smaller space or a machine with more memory")
    return wanted


def _point(task: Task, driver: Bank | Algorithm1, *, spanned: bool = False) -> int:
    """Bytes of one point of P parameters and k coordinates: P (1 + k) numbers, in a bank twice while its parts are joined.

    Where the problem is `Spanned` the k columns hold fewer; a bank is `fitted` as if they did not, since its steps take as
    long as its parameters are many.
    """
    problem, hyper = task.condensed.problem, task.space.relax(task.space.sample(torch.Generator().manual_seed(0)))
    column = params = problem.init(hyper, torch.Generator().manual_seed(0))
    if spanned and isinstance(problem, Spanned):
        _, column, _, _ = narrowed(problem, params, task.real.train.take(torch.arange(task.budget.train)))
    whole, each, k = (sum(value.numel() for value in tensors.values()) for tensors in (params, column, hyper))
    return 4 * (whole + k * each) * (2 if isinstance(driver, Bank) else 1)


def _at_work(task: Task, points: int, memory: int) -> int:
    problem = task.condensed.problem
    if not isinstance(problem, Weighed):
        return 0
    first = together(problem, task.real.val, points, memory)[0]
    return problem.footprint(task.real.val) * (first.stop - first.start)


def _bytes(data: Any) -> int:
    return sum(value.numel() * value.element_size() for value in data.tensors().values())
