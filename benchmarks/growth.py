"""Cost against the number of bank points, and memory against the number of Neumann terms, on a synthetic graph.

    python benchmarks/growth.py

Prints seconds for 64 to 512 points with the fitted exponent, and for 1 to 1000 terms the seconds and the most bytes of
tensors alive at once, counted at every Hessian-vector product. Exits with 1 where the exponent is over 1.2 or the bytes
of 1000 terms are over 1.05 times those of 10.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from typing import Any

import numpy as np
import torch

from hcdc._tensors import ravel, stack
from hcdc.bilevel import Adam, Implicit, Neumann, Recipe, SecondOrder, fit
from hcdc.condense import CENTROIDS, HCDC, Bank, Budget, Task
from hcdc.data import graph_splits
from hcdc.models import PolyFilter
from hcdc.store import hardware


def graph(n: int = 1500, classes: int = 5, features: int = 300) -> Any:
    """A block model with noisy class features."""
    random = np.random.default_rng(0)
    y = np.arange(n) % classes
    same = y[:, None] == y[None, :]
    edges = np.argwhere(np.triu(random.random((n, n)) < np.where(same, 8 / n, 2 / n), 1)).T
    x = random.normal(size=(n, features)) + np.eye(classes, features)[y]
    part = np.repeat([0, 1, 2], n // 3)
    random.shuffle(part)
    masks = [torch.from_numpy(part == k) for k in range(3)]
    return graph_splits(torch.from_numpy(x).float(), torch.from_numpy(edges), torch.from_numpy(y), masks[0], masks[1], masks[2])


def bank_seconds(task: Task, points: int) -> float:
    method = HCDC(driver=Bank(starts=points, stages=1, chunk=64))
    state = method.init(task)
    began = time.perf_counter()
    for number in range(points // 64):
        state, _ = method.step(task, state, number)
    return time.perf_counter() - began


def alive() -> int:
    """Bytes of all tensors that Python can reach and that have memory of their own (sparse ones are the data)."""
    gc.collect()
    storages: dict[int, int] = {}
    for item in gc.get_objects():
        if issubclass(type(item), torch.Tensor):
            with contextlib.suppress(NotImplementedError):
                storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
    return sum(storages.values())


def neumann(task: Task, terms: int) -> tuple[float, int]:
    """(seconds, most bytes alive) of a solve of `terms` terms for 8 hyperparameter points."""
    hyper = stack([task.space.relax(config) for config in task.space.configs(8, 0)])
    train = CENTROIDS.select(task.real.train, 50, task.generator(1))
    params = fit(task.condensed.problem, hyper, train, Adam(100, 0.05), seed=0)
    second = SecondOrder.at(task.condensed.problem, params, hyper, train, 1e-2)
    most, calls = 0, 0

    def counted(vector: torch.Tensor) -> torch.Tensor:
        nonlocal most, calls
        calls += 1
        if calls % max(1, terms // 10) == 0:
            most = max(most, alive())
        return second.hessian(vector)

    began = time.perf_counter()
    Implicit(Neumann(terms)).solver.solve(counted, ravel(params))
    return time.perf_counter() - began, most


def main() -> None:
    splits = graph()
    problem = PolyFilter(5, num_features=300)
    recipe = Recipe(problem, Adam(100, 0.05))
    task = Task(recipe, recipe, splits.real, problem.space(), Budget(50, 50))
    print(hardware())
    bank_seconds(task, 64)
    counts = np.array([64, 128, 256, 512])
    seconds = np.array([bank_seconds(task, int(count)) for count in counts])
    exponent = float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
    for count, value in zip(counts, seconds, strict=True):
        print(f"{count:5d} bank points: {value:6.2f} s")
    print(f"seconds grow as points^{exponent:.2f}")
    memory: dict[int, int] = {}
    for terms in (1, 10, 100, 1000):
        value, memory[terms] = neumann(task, terms)
        print(f"{terms:5d} Neumann terms: {value:6.2f} s, {memory[terms] / 2**20:.1f} MiB alive at most")
    if exponent > 1.2 or memory[1000] > 1.05 * memory[10]:
        sys.exit("cost is not linear in the points, or memory not flat in the terms")


if __name__ == "__main__":
    main()
