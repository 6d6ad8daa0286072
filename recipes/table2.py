"""Table 2 of the paper: ranking of polynomial filters on condensed graphs, and the filter that a search on them finds.

    python recipes/table2.py --data cora --out runs/table2
    python recipes/table2.py --data cora --methods hcdc --sizes 49 --picture docs/images/cora-49.png

Filters are drawn uniformly from [-1, 1]^4 with --config-seed, which no condensation sees. "search" is hypergradient
descent of --trials trainings on the condensed graph; the filter it finds is trained --trainings times on the whole graph,
and its test accuracy printed beside that of the filters that --seeds searches on the whole graph itself find; so is the
one that a guard of the five best recommends, 15 trainings on the whole graph more. HCDC's sets are read by their soft
accuracy, which it calibrates, all others by their loss, which ranks accuracy better where nothing is calibrated.
Artefacts, trainings and figures are kept in --out as they come: run again after an interruption and it goes on. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from kept import figures, slug

from hcdc._typing import Config
from hcdc.bilevel import Recipe
from hcdc.condense import Task
from hcdc.data import Source, load
from hcdc.evaluate import Guard, Judge, plots, retrain
from hcdc.run import METHODS, condensed_at, task_for
from hcdc.search import HypergradientDescent, Objective, Trial, ranked
from hcdc.store import Ledger, hardware, load_condensed

SIZES = {
    "cora": (24, 49, 98), "citeseer": (30, 60, 120), "pubmed": (15, 30, 60), "amazon_computers": (50, 100, 200), "coauthor_cs": (75, 150, 300),
}  # fmt: skip
"""Training nodes. Cora's are the paper's 0.9, 1.8 and 3.6 % of all nodes; the others a quarter, a half and all of the labelled
ones."""
COLUMNS = {
    "spearman_loss": "loss", "spearman_accuracy": "against accuracy", "spearman_top_half_loss": "better half, loss",
    "spearman_top_half_accuracy": "better half, accuracy", "found_test_accuracy": "test accuracy of the filter found",
    "guarded_test_accuracy": "after a guard of 5", "seconds_condense": "condense, s", "seconds_search_condensed": "{configs} x {trainings} on S, s",
}  # fmt: skip
CORRELATIONS = list(COLUMNS)[:4]


def searched(recipe: Recipe, train: Any, val: Any, task: Task, trials: int, seed: int = 0) -> tuple[Trial, ...]:
    """The trials of hypergradient descent on (train, val)."""
    return HypergradientDescent().run(Objective(recipe, task.space, train, val), trials=trials, seed=seed)


def tested(config: Config, task: Task, source: Source, arguments: argparse.Namespace) -> float:
    """Test accuracy of a filter, trained on the whole graph."""
    hyper, judged_on = task.space.relax_all([config]), {"test": source.splits.test}
    runs = [retrain(task.full, hyper, source.splits.train, judged_on, seed=seed) for seed in range(arguments.trainings)]
    return float(np.mean([float(run.accuracy["test"]) for run in runs]))


def measured(source: Source, method: str, size: int, seed: int, judge: Judge, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one artefact, made and judged unless they are there already."""
    folder = arguments.out / slug(arguments.data) / f"{method}-{size}-{seed}"

    def measure() -> dict[str, Any]:
        settings: dict[str, Any] = {} if method == "hcdc" else {"criterion": "loss"}
        task = task_for(source, size=size, seed=seed, **settings)
        condensed = condensed_at(folder, source, task, method)
        trials = searched(task.condensed, condensed.train, condensed.val, task, arguments.trials)
        guarded = Guard()(condensed, source, trials)
        chosen = {"found": ranked(trials)[0].config, "guarded": guarded.candidates[guarded.best].trial.config}
        tests = {f"{name}_test_accuracy": tested(config, task, source, arguments) for name, config in chosen.items()}
        return judge(condensed, source).facts | tests

    return figures(folder / f"figures-{judge.config_seed}-{judge.configs}-{judge.seeds}-{arguments.trials}-guarded.json", measure)


def row(name: str, facts: list[dict[str, Any]], prefix: str = "spearman") -> str:
    """Means and deviations over condensations (of seconds, medians); with another prefix, the correlations of a floor."""
    keys = [key.replace("spearman", prefix) for key in CORRELATIONS]
    keys += list(COLUMNS)[len(CORRELATIONS) :] if prefix == "spearman" else []
    cells = {key: np.array([fact[key] for fact in facts], float) for key in keys}
    shown = [f"{np.median(cell):.0f}" if key.startswith("seconds") else f"{cell.mean():.3f} ± {cell.std():.3f}" for key, cell in cells.items()]
    return f"| {name} | " + " | ".join(shown + [""] * (len(COLUMNS) - len(shown))) + " |"


def whole(source: Source, some: dict[str, Any], judge: Judge, arguments: argparse.Namespace) -> str:
    """What the full data itself reaches, by as many searches as there are condensations."""

    def measure(seed: int) -> float:
        task = task_for(source, size=source.splits.train.num_classes)  # what is trained on the whole graph does not depend on the size
        trials = searched(task.full, source.splits.train, source.splits.val, task, arguments.trials, seed)
        return tested(ranked(trials)[0].config, task, source, arguments)

    folder, name = arguments.out / slug(arguments.data), f"whole-{arguments.trials}-{arguments.trainings}"
    reached = [figures(folder / f"{name}-{seed}.json", lambda seed=seed: measure(seed)) for seed in range(arguments.seeds)]
    keys = ("ceiling_loss", "ceiling_accuracy", "ceiling_top_half_loss", "ceiling_top_half_accuracy")
    ceilings = " | ".join("" if some[key] is None else f"{some[key]:.3f}" for key in keys)
    spent = f"{judge.configs} x {judge.seeds} on T {some['seconds_search_full']:.0f} s"
    own = f"own loss against own accuracy {some['own_loss_against_accuracy']:.3f}; {spent}"
    best = f"best of the {judge.configs} has test accuracy {some['best_test_accuracy']:.3f}"
    return f"| whole graph, one seed against the others | {ceilings} | {np.mean(reached):.3f} ± {np.std(reached):.3f} | | | |\n\n{own}; {best}"


def draw(folder: Path, source: Source, judge: Judge, path: Path) -> None:
    """The scatter of one artefact that was judged before: its trainings are taken from the ledger."""
    found = judge(load_condensed(folder), source)
    figure = plots.scatter(found.condensed.loss["val"], found.full.loss["val"], found.facts["picked_config"])
    figure.savefig(path, dpi=160)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=3, help="condensations")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["hcdc", "gcond", "gcond-x", "random", "herding", "k-center"])
    parser.add_argument("--configs", type=int, default=80)
    parser.add_argument("--config-seed", type=int, default=123)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--out", type=Path, default=Path("runs/table2"))
    parser.add_argument("--picture", type=Path, help="write the scatter of the first artefact here")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    source, sizes = load(arguments.data), arguments.sizes or SIZES.get(arguments.data)
    if sizes is None:
        raise SystemExit(f"--sizes: no default for {arguments.data}; name them")
    judge = Judge(arguments.configs, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    print(f"{hardware()}; config seed {judge.config_seed}, {judge.seeds} trainings a filter, {arguments.seeds} condensation seeds\n")
    heads = " | ".join(COLUMNS.values()).format(configs=judge.configs, trainings=judge.seeds)
    print(f"| {arguments.data} | {heads} |\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
    facts: list[dict[str, Any]] = []
    for method in arguments.methods:
        for size in sizes:
            facts = [measured(source, method, size, seed, judge, arguments) for seed in range(arguments.seeds)]
            print(row(f"{method}, {size}", facts), flush=True)
            if method == arguments.methods[0]:
                print(row(f"strong floor, {size}", facts, "floor_strong"), flush=True)
    if arguments.picture:
        draw(arguments.out / slug(arguments.data) / f"{arguments.methods[0]}-{sizes[0]}-0", source, judge, arguments.picture)
    print(whole(source, facts[0], judge, arguments))


if __name__ == "__main__":
    main()
