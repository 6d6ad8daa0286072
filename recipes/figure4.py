"""Figure 4 of the paper: best test accuracy against search time of GraphNAS, on condensed sets and on the whole graph.

    python recipes/figure4.py --data coauthor_cs --size 150
    python recipes/figure4.py --data arxiv-shaped --nodes 20000 --size 90
    python recipes/figure4.py --data synthetic:sbm,n=300,classes=3,features=8 --size 12 --trials 3   # a minute

"arxiv-shaped" is a block model with the classes, features and degree of ogbn-arxiv and --nodes of its 169,343 nodes. The
space is GraphNAS's with heads of --heads and widths of --widths: the published ones go to 16 and 256. On every set, made
once, GraphNAS is run from --seeds seeds for --trials trainings; whenever its best by the set's own validation criterion
changes, that one is trained on the whole graph, outside of the clock, and its test accuracy is the curve. A training
computes what its architecture chose. Artefacts and curves are kept in --out as they come: run again after an interruption
and it goes on. Prints a Markdown table (of accuracies means and deviations, of seconds medians), and writes figure4-DATA.png
beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from kept import figures, slug

from hcdc.condense import Task
from hcdc.data import Source, load
from hcdc.evaluate import retrain
from hcdc.run import condensed_at, task_for
from hcdc.search import GraphNAS, Objective, Trial
from hcdc.store import hardware

WHOLE = "whole"
ARXIV = "synthetic:sbm,n={nodes},classes=40,features=128,homophily=0.65,degree=13.7,labelled=50"


def improvements(trials: tuple[Trial, ...]) -> list[tuple[float, Trial]]:
    """(seconds spent, the best so far) whenever the best changes."""
    found: list[tuple[float, Trial]] = []
    spent = 0.0
    for trial in trials:
        spent += trial.seconds
        if not found or trial.score < found[-1][1].score:
            found.append((spent, trial))
    return found


def curve(source: Source, task: Task, method: str, seed: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """{"condense", "search"} in seconds and "points": (seconds of search, test accuracy on the whole graph)."""
    if method == WHOLE:
        goal, condensing = Objective(task.full, task.space, *task.real), 0.0
    else:
        made = condensed_at(folder / method, source, task, method)
        goal, condensing = Objective(task.condensed, task.space, made.train, made.val), made.card.seconds
    trials = GraphNAS().run(goal, trials=arguments.trials, seed=seed, checkpoint=folder / f"{method}-search-{seed}")
    best = improvements(trials)
    hyper = task.space.relax_all([trial.config for _, trial in best])
    accuracy = retrain(task.full, hyper, source.splits.train, {"test": source.splits.test}, seed=seed).accuracy["test"][0]
    points = [(seconds, float(value)) for (seconds, _), value in zip(best, accuracy, strict=True)]
    return {"condense": condensing, "search": sum(trial.seconds for trial in trials), "points": points}


def draw(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.5))
    for number, (name, searches) in enumerate(curves.items()):
        for seed, found in enumerate(searches):
            times = [seconds for seconds, _ in found["points"]] + [found["search"]]
            values = [accuracy for _, accuracy in found["points"]]
            axes.step(times, [*values, values[-1]], where="post", color=f"C{number}", alpha=0.8, label="_" if seed else name)
            axes.plot(times[-1], values[-1], "o", color=f"C{number}")
    axes.set(xscale="log", xlabel="seconds of search, condensing left out", ylabel="test accuracy of the best so far")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="coauthor_cs")
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=150)
    parser.add_argument("--methods", nargs="+", default=["hcdc", "gcond-x", "random", WHOLE])
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="searches")
    parser.add_argument("--out", type=Path, default=Path("runs/figure4"))
    arguments = parser.parse_args()
    source = load(ARXIV.format(nodes=arguments.nodes) if arguments.data == "arxiv-shaped" else arguments.data)
    space: dict[str, Any] = {"heads": tuple(arguments.heads), "widths": tuple(arguments.widths), "pool": 16}
    task = task_for(source, size=arguments.size, family="graphnas", **space)
    folder = arguments.out / slug(source.name, arguments.size, *arguments.heads, *arguments.widths)
    print(f"{hardware()}; {source.name}, {arguments.size} nodes, {arguments.trials} trainings, {arguments.seeds} searches\n")
    print("| search on | test accuracy at the end | best reached after, s | search, s | with condensing, s |\n|---|---|---|---|---|", flush=True)
    curves: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for method, found in curves.items():
        for seed in range(arguments.seeds):
            path = folder / f"{method}-{arguments.trials}-{seed}.json"
            found.append(figures(path, lambda method=method, seed=seed: curve(source, task, method, seed, folder, arguments)))
        reached, search = np.array([each["points"][-1][1] for each in found]), median(each["search"] for each in found)
        after = median(each["points"][-1][0] for each in found)
        total = search + found[0]["condense"]
        print(f"| {method} | {reached.mean():.3f} ± {reached.std():.3f} | {after:.0f} | {search:.0f} | {total:.0f} |", flush=True)
    draw(curves, folder / f"figure4-{slug(arguments.data)}.png")


if __name__ == "__main__":
    main()
