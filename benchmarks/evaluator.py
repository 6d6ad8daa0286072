"""Eighty filters from five seeds on 49 nodes: the batched evaluator against the same trainings one by one in plain PyTorch.

    OMP_NUM_THREADS=2 python benchmarks/evaluator.py --sample 400          # Cora; two minutes
    python benchmarks/evaluator.py                                         # 20 of the 400 one by one, scaled to 400

The set is drawn at random and has the edges between its nodes; trainings are those of hcdc's recipe for condensed graphs
(200 steps of Adam, full batch). The plain loop is a module, torch.optim.Adam and its weight decay, from the same initial
values, so that both end at the same losses; the largest difference is printed, and above 1 % the exit code is 1. Seconds
are of the wall and, summed over threads, of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hcdc import condense_source, load, on, task_for
from hcdc.bilevel import Recipe
from hcdc.data import GraphData
from hcdc.evaluate import retrain
from hcdc.store import hardware


class Filter(nn.Module):
    """Two layers of C = sum_k c_k Â^k."""

    def __init__(self, coefficients: Tensor, start: dict[str, Tensor]) -> None:
        super().__init__()
        self.coefficients = coefficients
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(start[name].clone()) for name in ("w1", "b1", "w2", "b2"))

    def filter(self, graph: Tensor, h: Tensor) -> Tensor:
        total = self.coefficients[0] * h
        for coefficient in self.coefficients[1:]:
            h = graph @ h
            total = total + coefficient * h
        return total

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        hidden = (self.filter(graph, x @ self.w1) + self.b1).relu()
        return self.filter(graph, hidden @ self.w2) + self.b2


def one(recipe: Recipe, coefficients: Tensor, train: GraphData, val: GraphData, seed: int) -> tuple[float, float]:
    """(validation loss, accuracy) of one training, as one would write it."""
    problem: Any = recipe.problem
    model = Filter(coefficients, problem.init({"filter": coefficients}, torch.Generator().manual_seed(seed)))
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.solver.lr, weight_decay=problem.weight_decay)
    for _ in range(recipe.solver.steps):
        optimiser.zero_grad()
        functional.cross_entropy(model(train.x, train.propagation)[train.mask], train.y[train.mask]).backward()
        optimiser.step()
    with torch.no_grad():
        logits, labels = model(val.x, val.propagation)[val.mask], val.y[val.mask]
        return float(functional.cross_entropy(logits, labels)), float((logits.argmax(-1) == labels).float().mean())


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(what `work` returns, seconds of the wall, seconds of the processor)."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--size", type=int, default=49)
    parser.add_argument("--configs", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=20, help="trainings of the plain loop that are run and timed")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto [default: cpu]")
    arguments = parser.parse_args()
    with on(arguments.device):
        return compared(arguments)


def compared(arguments: argparse.Namespace) -> int:
    """The two against each other; 1 where their losses are not the same."""
    source = load(arguments.data)
    task = task_for(source, size=arguments.size)
    made = condense_source(source, task, "random")
    hyper = task.space.relax_all(task.space.configs(arguments.configs, 123))
    count = arguments.configs * arguments.seeds
    sample = min(arguments.sample, count)
    pairs = [(number % arguments.seeds, number // arguments.seeds % arguments.configs) for number in range(0, count, count // sample)][:sample]

    def batched() -> Tensor:
        runs = [retrain(task.condensed, hyper, made.train, {"val": made.val}, seed=seed) for seed in range(arguments.seeds)]
        return torch.cat([run.loss["val"] for run in runs])

    def plain() -> list[tuple[float, float]]:
        return [one(task.condensed, hyper["filter"][config], made.train, made.val, seed) for seed, config in pairs]

    # Both warm up.
    one(task.condensed, hyper["filter"][0], made.train, made.val, 0)
    retrain(task.condensed._replace(solver=replace(task.condensed.solver, steps=2)), hyper, made.train, {"val": made.val}, seed=0)
    losses, wall, processor = clocked(batched)
    found, plain_wall, plain_processor = clocked(plain)
    scale = count / sample
    worst = max(abs(loss / float(losses[seed, config]) - 1) for (seed, config), (loss, _) in zip(pairs, found, strict=True))
    print(f"{hardware()}; {arguments.configs} filters x {arguments.seeds} seeds on {arguments.size} nodes of {arguments.data}")
    print(f"batched:     {wall:.1f} s, {processor:.1f} s of the processor")
    print(f"one by one:  {scale * plain_wall:.1f} s, {scale * plain_processor:.1f} s of the processor (from {sample} of {count} trainings)")
    print(f"ratio:       {scale * plain_wall / wall:.1f}, {scale * plain_processor / processor:.1f} by the processor")
    print(f"losses differ by at most {worst:.1e} of themselves")
    return int(worst > 0.01)


if __name__ == "__main__":
    sys.exit(main())
