"""Distance from the floor: steps against the bare products with matrices and the convolutions that they are made of.

    OMP_NUM_THREADS=1 python -m benchmarks.floor --repeats 9

The products of one step, forward and backward, are recorded and made again alone, on the same numbers, in turns with
the step itself. What the rest is: the operations beside the products that write most, which does not depend on what else
the machine does, and in the file of results those that take longest by a profile, which does.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import DEVICE, Action, Products, in_turns, keep
from hcdc import on
from hcdc._tensors import ravel, stack
from hcdc.bilevel import Adam, SecondOrder, fit, initialise
from hcdc.condense import CENTROIDS, HCDC, STRONG, Coreset, Measure, Task
from hcdc.data import load
from hcdc.run import task_for

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.floor"
STEPS = 5
"""Steps of a training that is timed, so that its start counts for little."""
PRODUCTS = {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mkldnn_convolution", "aten::convolution_backward"}


def small_set(task: Task, points: int, start: Coreset) -> Iterator[tuple[str, Action, int]]:
    """A training of `points` models on S_train, one Hessian-vector product each, one step on S_val; with steps in each."""
    recipe, method = task.condensed, HCDC(start=start)
    train = (CENTROIDS if start is STRONG else start).select(task.real.train, task.budget.train, task.generator(1))
    hyper = stack([task.space.relax(config) for config in task.space.configs(points, 0)])
    yield training("training step on S", recipe.problem, hyper, train)
    params = fit(recipe.problem, hyper, train, Adam(20, 0.01), seed=0)
    second = SecondOrder.at(recipe.problem, params, hyper, train)
    yield "Hessian-vector product", lambda: second.hessian(ravel(params)), 1
    state = method.init(task)
    bank = Measure(method.measure.synthetic)(task, train, params, hyper, 0)
    yield "step on S_val", lambda: method._update(task, state, bank, 0), 1


def training(name: str, problem: Any, hyper: dict[str, torch.Tensor], data: Any) -> tuple[str, Action, int]:
    start = initialise(problem, hyper, 0)
    return name, lambda: fit(problem, hyper, data, Adam(STEPS, 0.01), seed=0, params=start), STEPS


def cases(data: str, points: int, images: int) -> Iterator[tuple[str, str, Action, int]]:
    """(path, what, action, steps in it) of the graph `data` and of scikit-learn's digits."""
    task = task_for(load(data), size=49)
    for name, action, steps in small_set(task, points, STRONG):
        yield f"{data}, 49 nodes, {points} models", name, action, steps
    hyper = stack([task.space.relax(config) for config in task.space.configs(points, 0)])
    name, action, steps = training("training step", task.full.problem, hyper, task.real.train)
    yield f"{data}, whole, {points} models", name, action, steps
    task = task_for(load("digits"), size=50)
    for name, action, steps in small_set(task, images, Coreset()):
        yield f"digits, 50 images, {images} models", name, action, steps


def written(bare: Products, steps: int, most: int = 4) -> str:
    return ", ".join(f"{name} {count / steps / 1e6:.1f}" for name, count in bare.written.most_common(most))


def longest(action: Action, most: int = 4) -> str:
    """The operations beside the products that take longest, each with its share of the time of all."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        action()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[event.key] += int(event.self_cpu_time_total)
    total = max(spent.total(), 1)
    named = [(name, share) for name, share in spent.most_common() if name not in PRODUCTS and name.startswith("aten::")]
    return ", ".join(f"{name.removeprefix('aten::')} {100 * share / total:.0f} %" for name, share in named[:most])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--points", type=int, default=32, help="models of the graph at once")
    parser.add_argument("--images", type=int, default=8, help="models of the digits at once")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with on(DEVICE):
        measured(given)


def measured(given: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    profiles: dict[str, str] = {}
    for path, name, action, steps in cases(given.data, given.points, given.images):
        bare = Products.of(action, keep=True)
        costs = in_turns({"step": action, "bare": bare.again}, given.repeats)
        step, floor = (costs[which].busy / steps for which in ("step", "bare"))
        rows.append(
            {
                "path": path, "what": name, "step, ms": 1e3 * step, "bare products, ms": 1e3 * floor, "share, %": round(100 * floor / step),
                "GFLOP": bare.operations / steps / 1e9, "products": len(bare.calls) // steps, "other calls": bare.others // steps,
                "the rest, MB written": written(bare, steps),
            }
        )  # fmt: skip
        profiles[f"{path}: {name}"] = longest(action)
        print(rows[-1], flush=True)
    keep("floor", COMMAND, rows, data=given.data, profiles=profiles)


if __name__ == "__main__":
    main()
