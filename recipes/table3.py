"""Table 3 of the paper: cells that DARTS-PT and REINFORCE find on condensed and on original CIFAR-10.

    python recipes/table3.py --root ROOT --out runs/table3
    python recipes/table3.py --root ROOT --size 50 --original 500 --epochs 4 --reinforce-trials 4 --seeds 1 --channels 4   # minutes

ROOT holds cifar-10-batches-py; the accuracies of NAS-Bench-201 are read from HCDC_DATA. A search is run --seeds times on
every set; the accuracy of the cell it found is that of the table after 200 epochs. Cells are networks of one cell a stage,
trained for --epochs on --size images (original: on --original images of the whole, which is a budget, not the paper's)
with batches of 64. A cell is scored by its validation accuracy. The supernet of DARTS-PT is trained for --supernet
epochs, with --tuning between two choices; published are 100 and 5. Condensing is paid once a set, and the last column
adds it to each search. Artefacts and searches are kept in --out as they come: run again after an interruption and it goes
on. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import figures

from hcdc._typing import Config
from hcdc.bilevel import SGD, Recipe
from hcdc.condense import Task
from hcdc.data import ImageData, NasBench201Table, Source, load
from hcdc.evaluate import CellTrainer
from hcdc.run import IMAGE_METHODS, condensed_at, task_for
from hcdc.search import Architect, DartsPT, Objective, Reinforce, Searcher, Trial
from hcdc.spaces import Cell
from hcdc.store import Ledger, hardware

ORIGINAL = "original"
BUDGETED = {"dc": replace(IMAGE_METHODS["dc"], width=32, real_batch=64)}
"""Networks of 32 channels and 64 real images a class: with 128 and 256, which are published, 25 steps take more than an hour of
a core."""
CHANCE = 10.0
"""Accuracy in per cent of a cell that learned nothing."""


@dataclass(frozen=True)
class Cells(Objective):
    """Trains the network of each cell alone, a fifth of the cost of the supernet at its one-hot weights, and scores it by its
    validation error."""

    def trials(self, configs: Sequence[Config], seed: int, kept: Ledger | None = None) -> tuple[Trial, ...]:
        family: Any = self.recipe.problem
        trainer = CellTrainer(family, self.recipe.solver, ledger=kept or Ledger(None))
        found: list[Trial] = []
        for config in configs:
            scores = trainer([Cell.of(config)], self.train, {"val": self.val}, seed=seed)
            found.append(Trial(dict(config), 1 - float(scores.accuracy["val"]), scores.seconds))
        return tuple(found)


def some(data: ImageData, count: int) -> ImageData:
    return data.take(torch.randperm(data.size, generator=torch.Generator().manual_seed(0))[:count])


def objective(source: Source, task: Task, method: str, arguments: argparse.Namespace) -> tuple[Cells, float]:
    """(the search on the set of `method`, the seconds that the set took)."""
    problem = task.condensed.problem
    if method == ORIGINAL:
        train, val = (some(data, arguments.original) for data in task.real)
        return Cells(Recipe(problem, SGD.lasting(arguments.epochs, train.size)), task.space, train, val), 0.0
    made = condensed_at(arguments.out / f"{method}-{arguments.size}-{arguments.channels}", source, task, BUDGETED.get(method, method))
    return Cells(Recipe(problem, SGD.lasting(arguments.epochs, made.train.size)), task.space, made.train, made.val), made.card.seconds


def searcher(name: str, size: int, arguments: argparse.Namespace) -> tuple[Searcher, int]:
    """(the algorithm, its trials)."""
    if name == "darts-pt":
        return DartsPT(Architect(SGD.lasting(arguments.supernet, size)), arguments.tuning), 1
    return Reinforce(), arguments.reinforce_trials


def searched(name: str, method: str, goal: Cells, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """{"cell", "seconds"} of one search, kept."""
    algorithm, trials = searcher(name, goal.train.size, arguments)
    settings = f"{arguments.size}-{arguments.original}-{arguments.epochs}-{arguments.supernet}-{arguments.tuning}-{trials}-{arguments.channels}"
    folder = arguments.out / f"{name}-{method}-{settings}-{seed}"

    def measure() -> dict[str, Any]:
        found = algorithm.run(goal, trials=trials, seed=seed, checkpoint=folder)
        best = min(found, key=lambda trial: trial.score)
        return {"cell": str(Cell.of(best.config)), "seconds": sum(trial.seconds for trial in found)}

    return figures(folder.with_suffix(".json"), measure)


def row(name: str, method: str, found: list[dict[str, Any]], condensing: float, table: NasBench201Table) -> str:
    accuracy = table.accuracy([each["cell"] for each in found]).numpy()
    seconds = float(np.median([each["seconds"] for each in found]))
    lost = f", {int((accuracy <= CHANCE).sum())} of chance" if (accuracy <= CHANCE).any() else ""
    return f"| {name} | {method} | {accuracy.mean():.2f} ± {accuracy.std():.2f}{lost} | {seconds:.0f} | {seconds + condensing:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with cifar-10-batches-py [default: HCDC_DATA]")
    parser.add_argument("--methods", nargs="+", default=["random", "dc", "hcdc", ORIGINAL])
    parser.add_argument("--algorithms", nargs="+", choices=("darts-pt", "reinforce"), default=["darts-pt", "reinforce"])
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--original", type=int, default=5000, help="images to train and images to validate on")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=50, help="of a cell")
    parser.add_argument("--supernet", type=int, default=20, help="epochs of DARTS-PT's supernet")
    parser.add_argument("--tuning", type=int, default=1, help="epochs after each of its choices")
    parser.add_argument("--reinforce-trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/table3"))
    arguments = parser.parse_args()
    source, table = load("cifar10", arguments.root), NasBench201Table.load()
    task = task_for(source, size=arguments.size, family="nasbench201", channels=arguments.channels, weight_decay=3e-4)
    task = replace(task, condensed=Recipe(task.condensed.problem, SGD.lasting(arguments.epochs, arguments.size)))
    print(f"{hardware()}; {arguments.size} images, original {arguments.original}; {arguments.seeds} searches a row\n")
    print("| search | on | accuracy of the cell, % | search, s | with condensing, s |\n|---|---|---|---|---|", flush=True)
    for name in arguments.algorithms:
        for method in arguments.methods:
            goal, condensing = objective(source, task, method, arguments)
            found = [searched(name, method, goal, seed, arguments) for seed in range(arguments.seeds)]
            print(row(name, method, found, condensing, table), flush=True)


if __name__ == "__main__":
    main()
