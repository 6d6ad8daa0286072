"""What S_train allows: nothing is condensed, models trained on it are judged by all real validation nodes.

    python recipes/bound.py --data cora --size 49
    python recipes/bound.py --data pubmed --size 30 --config-seeds 1001 1002
    python recipes/bound.py --space sign --configs 40 --config-seeds 1001 --only "centroids at 0.01" "paths at 0.01"

S_val can hardly rank better than the whole of what it stands for, so where these figures are low, S_train or how it is
trained on is what fails. Spearman correlations with two trainings of each of --configs *development* filters on the whole
graph, kept in --out; means over --seeds and --config-seeds. Prints a Markdown table as rows come in.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kept import figures
from torch import Tensor

from hcdc.bilevel import Adam
from hcdc.condense import CENTROIDS, NEIGHBOURS, PATHS, STRONG, Coreset, Task
from hcdc.data import load
from hcdc.evaluate import Scores, retrain, spearman
from hcdc.evaluate.ranking import better_half
from hcdc.run import task_for
from hcdc.store import hardware

FORMER = {"weight_decay": 3e-4}
"""The default on S when the table was measured."""

VARIANTS: dict[str, tuple[Coreset | None, Adam, dict[str, Any]]] = {
    "200 steps at 0.05, weight decay 5e-4 (default)": (CENTROIDS, Adam(200, 0.05), {}),
    "200 steps at 0.05": (CENTROIDS, Adam(200, 0.05), FORMER),
    "200 steps at 0.02": (CENTROIDS, Adam(200, 0.02), FORMER),
    "200 steps at 0.01": (CENTROIDS, Adam(200, 0.01), FORMER),
    "400 steps at 0.05": (CENTROIDS, Adam(400, 0.05), FORMER),
    "weight decay 1e-4": (CENTROIDS, Adam(200, 0.05), {"weight_decay": 1e-4}),
    "centroids of one hop": (replace(CENTROIDS, hops=1), Adam(200, 0.05), FORMER),
    "centroids of three hops": (replace(CENTROIDS, hops=3), Adam(200, 0.05), FORMER),
    "propagated real nodes": (STRONG, Adam(200, 0.05), FORMER),
    "centroids at 0.01": (CENTROIDS, Adam(200, 0.01), {}),
    "real nodes and neighbours at 0.05": (NEIGHBOURS, Adam(200, 0.05), {}),
    "paths at 0.05": (PATHS, Adam(200, 0.05), {}),
    "paths at 0.01": (PATHS, Adam(200, 0.01), {}),
    "whole graph at 0.05": (None, Adam(200, 0.05), {}),
    "whole graph at 0.01": (None, Adam(200, 0.01), {}),
}
"""What is condensed to train on (None: nothing, the whole graph, without dropout), how it is trained on, settings of S."""


def truth(task: Task, hyper: dict[str, Tensor], path: Path) -> tuple[Tensor, Tensor]:
    """Real validation losses and accuracies [n], the means of two trainings on the whole graph."""

    def measured() -> list[Any]:
        found = Scores.join([retrain(task.full, hyper, task.real.train, {"val": task.real.val}, seed=1000 + run) for run in range(2)])
        return [found.loss["val"].tolist(), found.accuracy["val"].tolist()]

    loss, accuracy = figures(path, measured)
    return torch.tensor(loss).mean(0), torch.tensor(accuracy).mean(0)


def correlations(found: Scores, loss: Tensor, accuracy: Tensor) -> list[float]:
    """By loss, by loss in its better half, by accuracy, by accuracy in its better half."""
    pairs = [(found.loss["val"][0], loss), (-found.accuracy["val"][0], -accuracy)]
    return [spearman(ours[part], real[part]) for ours, real in pairs for part in (slice(None), better_half(real))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--space", help="a family of graph filters; the default's where it is left out")
    parser.add_argument("--basis", help="of polyfilter, in whose polynomials a filter is written")
    parser.add_argument("--regularise", action="append", default=[], help="search a regulariser too")
    parser.add_argument("--size", type=int, default=49)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--config-seeds", type=int, nargs="+", default=[1001, 1002, 1003])
    parser.add_argument("--configs", type=int, default=80)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/bound"))
    arguments = parser.parse_args()
    source = load(arguments.data)
    family: dict[str, Any] = {"family": arguments.space, "regularisers": tuple(arguments.regularise)}
    if arguments.basis:
        family["basis"] = arguments.basis
    filters = "-".join(filter(None, (arguments.data, arguments.space, arguments.basis, *arguments.regularise)))
    print(f"{hardware()}; {filters}, {arguments.size} nodes, config seeds {arguments.config_seeds}, {arguments.seeds} seeds\n")
    print("| S trained | loss | better half | accuracy | better half |\n|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        coreset, solver, settings = VARIANTS[name]
        rows: list[list[float]] = []
        for seed in range(arguments.seeds):
            task = task_for(source, size=arguments.size, seed=seed, **family)
            problem: Any = task.condensed.problem
            recipe = task.condensed._replace(problem=replace(problem, **settings), solver=solver)
            train = task.real.train if coreset is None else coreset.select(task.real.train, task.budget.train, task.generator(1))
            for config_seed in arguments.config_seeds:
                hyper = task.space.relax_all(task.space.configs(arguments.configs, config_seed))
                real = truth(task, hyper, arguments.out / f"{filters}-{arguments.configs}-{config_seed}.json")
                rows.append(correlations(retrain(recipe, hyper, train, {"val": task.real.val}, seed=0), *real))
        means = torch.tensor(rows).mean(0).tolist()
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)


if __name__ == "__main__":
    main()
