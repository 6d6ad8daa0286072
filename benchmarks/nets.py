"""Networks of images trained per minute: many together, one by one, and in a plain loop of PyTorch.

    OMP_NUM_THREADS=2 python benchmarks/nets.py

Architectures and weight decays of the digits' family on 50 images and on 200, by the recipe of S: together as a search
trains them, by the same code one by one, and as a module of the chosen operations alone, torch.optim.Adam and its weight decay.
All start from the same values and end at the same losses; the largest difference is printed, and above 10 % the exit
code is 1: Adam amplifies rounding.
Cells of NAS-Bench-201, one a stage, on random images of CIFAR's size in batches of 64: as hcdc trains them (channels last,
bfloat16) against a plain float32 loop, and as many runs of the first of them together (vmap) against such a loop of it.
Medians of --repeats rounds in turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hcdc import load, task_for
from hcdc._tensors import stack, take
from hcdc.bilevel import SGD, Recipe, fit
from hcdc.condense import CellFit, Coreset
from hcdc.data import ImageData
from hcdc.evaluate import retrain
from hcdc.models import NasBench201
from hcdc.models.convmix import OPERATIONS, instance_norm
from hcdc.spaces import sample_cells
from hcdc.store import hardware

BATCH = 64


def forward(x: Tensor, ops: list[str], params: dict[str, Tensor]) -> Tensor:
    """The network of the chosen operations and nothing else."""
    h = functional.silu(functional.conv2d(x, params["stem"], padding=1))
    for b, op in enumerate(ops):
        h = functional.avg_pool2d(h, 2) if min(h.shape[-2:]) >= 4 else h
        if op == "conv3x3":
            h = functional.conv2d(h, params[f"conv3x3.{b}"], padding=1)
        elif op == "conv1x1":
            h = functional.conv2d(h, params[f"conv1x1.{b}"][:, :, None, None])
        elif op == "pool3x3":
            h = functional.avg_pool2d(h, 3, stride=1, padding=1)
        h = functional.silu(instance_norm(h, params[f"scale.{b}"], params[f"shift.{b}"]))
    return h.mean((-2, -1)) @ params["head"] + params["bias"]


def plain(recipe: Recipe, hyper: dict[str, Tensor], train: ImageData, val: ImageData) -> list[float]:
    """Validation losses [n], one training after the other, as one would write it."""
    found: list[float] = []
    for number in range(hyper["log10_decay"].shape[0]):
        point = take(hyper, number)
        ops = [OPERATIONS[int(row.argmax())] for row in point["op"]]
        params = {name: value.clone().requires_grad_() for name, value in recipe.problem.init(point, torch.Generator().manual_seed(0)).items()}
        decay = 10 ** float(point["log10_decay"])
        optimiser = torch.optim.Adam(params.values(), lr=recipe.solver.lr, weight_decay=decay)
        for _ in range(recipe.solver.steps):
            optimiser.zero_grad()
            functional.cross_entropy(forward(train.x, ops, params), train.y).backward()
            optimiser.step()
        with torch.no_grad():
            found.append(float(functional.cross_entropy(forward(val.x, ops, params), val.y)))
    return found


def compared(ways: dict[str, Callable[[], Any]], count: int, repeats: int) -> dict[str, Any]:
    """What each way returned last; prints a row of networks a minute."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for name, way in ways.items():  # warms up
        found[name] = way()
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            found[name] = way()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: 60 * count / median(spent) for name, spent in seconds.items()}
    print("  " + ", ".join(f"{name}: {rate:.0f} a minute" for name, rate in rates.items()), flush=True)
    last = list(rates.values())[-1]
    print("  times the plain loop: " + ", ".join(f"{name} {rate / last:.2f}" for name, rate in list(rates.items())[:-1]), flush=True)
    return found


def digits(count: int, size: int, repeats: int) -> float:
    """Trains `count` networks on `size` digits; the largest relative difference of their losses."""
    source = load("digits")
    task = task_for(source, size=50)
    problem: Any = task.condensed.problem
    recipe = task.condensed._replace(problem=replace(problem, criterion="loss"))
    train = Coreset(structure="identity").select(task.real.train, size, torch.Generator().manual_seed(0))
    hyper, judged_on = task.space.relax_all(task.space.configs(count, 123)), {"val": task.real.val}
    print(f"{count} networks, {recipe.solver.steps} steps on {size} digits", flush=True)

    def batched() -> list[float]:
        return retrain(recipe, hyper, train, judged_on, seed=0).loss["val"].flatten().tolist()

    def alone() -> list[float]:
        parts = [take(hyper, slice(at, at + 1)) for at in range(count)]
        return [float(retrain(recipe, part, train, judged_on, seed=0).loss["val"]) for part in parts]

    found = compared({"together": batched, "one by one": alone, "plain loop": lambda: plain(recipe, hyper, train, task.real.val)}, count, repeats)
    apart = (torch.tensor(found[name]) / torch.tensor(found["plain loop"]) - 1 for name in ("together", "one by one"))
    return max(float(each.abs().max()) for each in apart)


def cells(count: int, steps: int, repeats: int) -> None:
    """Trains `count` cells from random images, `steps` steps each."""
    generator = torch.Generator().manual_seed(0)
    data = ImageData(torch.randn((8 * BATCH, 3, 32, 32), generator=generator), torch.arange(8 * BATCH) % 10, 10)
    family = NasBench201(10, weight_decay=3e-4)
    solver = SGD(steps, batch_size=BATCH)
    networks = [family.network(cell) for cell in sample_cells(count, 1)]
    starts = [network.init({}, torch.Generator().manual_seed(0)) for network in networks]
    print(f"{count} cells, {steps} steps of {BATCH} images", flush=True)

    def ours() -> None:
        for network, start in zip(networks, starts, strict=True):
            CellFit(solver, bf16=True)(network, start, data, seed=0)

    def together() -> None:
        fit(networks[0], {"seed": torch.zeros(count, 1)}, data, solver, seed=0, params=stack([starts[0]] * count))

    def plainly(which: Sequence[int]) -> None:
        for at in which:
            params = {name: value.clone().requires_grad_() for name, value in starts[at].items()}
            optimiser = solver.optimiser(list(params.values()))
            for step in range(steps):
                index = torch.arange(BATCH) + BATCH * (step % 8)
                optimiser.zero_grad()
                networks[at].noisy(params, {}, data.take(index), {}).backward()
                optimiser.step()

    compared({"channels last, bfloat16": ours, "plain loop": lambda: plainly(range(count))}, count, repeats)
    print(f"{count} runs of the first cell", flush=True)
    compared({"together": together, "plain loop": lambda: plainly([0] * count)}, count, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200], help="digits trained on")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="of a cell")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(hardware())
    worst = max(digits(arguments.configs, size, arguments.repeats) for size in arguments.sizes)
    print(f"  losses differ by at most {worst:.1e} of themselves")
    cells(arguments.cells, arguments.steps, arguments.repeats)
    return int(worst > 0.1)


if __name__ == "__main__":
    sys.exit(main())
