"""Where condensing works and where it does not: one graph, one property of it or of the filters changed at a time.

    python recipes/limits.py --out runs/limits
    python recipes/limits.py --only "heterophilic (0.05)" --methods hcdc "hcdc on paths" gcond

Block models of 3,000 nodes, five classes, mean degree 8, condensed to 50 nodes (to as many as there are labels where these
are fewer) by hcdc, by hcdc whose S_train are paths in the place of edgeless centroids, or by another method; judged on
--configs filters of --config-seed, against the floors and the ceiling. "real S_val" are models trained on S_train and ranked
by all real validation nodes: where it is low, S_train is what fails. Resumable; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import torch
from kept import figures, slug

from hcdc.condense import HCDC, PATHS, recipe_from_card
from hcdc.data import Source, load
from hcdc.evaluate import Judge, retrain, spearman
from hcdc.evaluate.verdict import light_of
from hcdc.run import METHODS, condensed_at, task_for
from hcdc.store import Condensed, Ledger, hardware

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "as it should be": ("", {}),
    "homophily 0.5": (",homophily=0.5", {}),
    "no homophily (0.2)": (",homophily=0.2", {}),
    "heterophilic (0.05)": (",homophily=0.05", {}),
    "features without signal": (",signal=0", {}),
    "5 labels a class": (",labelled=5", {}),
    "2 labels a class": (",labelled=2", {}),
    "order 6": ("", {"order": 6}),
    "order 12": ("", {"order": 12}),
    "order 12, Chebyshev": ("", {"order": 12, "basis": "chebyshev"}),
}
"""Options of the block model, and settings of the filters."""
SIZE = 50
ON_PATHS = "hcdc on paths"


def judged(condensed: Condensed, source: Source, judge: Judge) -> dict[str, Any]:
    """The judge's facts, and the correlation that S_train has with nothing synthetic to validate on."""
    evaluation = judge(condensed, source)
    recipe = recipe_from_card(condensed.card.recipes["condensed"])
    hyper = condensed.space.relax_all(evaluation.configs)
    runs = [retrain(recipe, hyper, condensed.train, {"val": source.splits.val}, seed=1000 + seed) for seed in range(judge.seeds)]
    real = torch.stack([run.loss["val"].mean(0) for run in runs]).mean(0)
    return evaluation.facts | {"real_val": spearman(real, evaluation.full.loss["val"].mean(0))}


def measured(name: str, method: str, seed: int, judge: Judge, out: Path) -> dict[str, Any]:
    options, settings = CASES[name]
    folder = out / slug(name, *([] if method == "hcdc" else [method]), seed)

    def measure() -> dict[str, Any]:
        source = load(f"synthetic:sbm,n=3000,degree=8{options},seed={seed}")
        task = task_for(source, size=min(SIZE, int(source.splits.train.labels().numel())), val_size=SIZE, seed=seed, **settings)
        return judged(condensed_at(folder, source, task, HCDC(train=PATHS) if method == ON_PATHS else method), source, judge)

    return figures(folder / f"figures-{judge.config_seed}-{judge.configs}-{judge.seeds}.json", measure)


COLUMNS = {
    "spearman_loss": "loss", "floor_strong_loss": "strong floor", "floor_random_loss": "random", "real_val": "real S_val",
    "ceiling_loss": "ceiling", "spearman_accuracy": "against accuracy", "ceiling_accuracy": "its ceiling", "best_test_accuracy": "best accuracy",
    "regret_top1": "regret", "regret_top5": "of the best of five",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, ON_PATHS], default=["hcdc"])
    parser.add_argument("--seeds", type=int, default=2, help="graphs, one condensation each")
    parser.add_argument("--configs", type=int, default=60)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--config-seed", type=int, default=123)
    parser.add_argument("--out", type=Path, default=Path("runs/limits"))
    arguments = parser.parse_args()
    judge = Judge(arguments.configs, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    print(f"{hardware()}; {judge.configs} filters, {judge.seeds} trainings each, {arguments.seeds} graphs a row\n")
    print("| case | method | " + " | ".join([*COLUMNS.values(), "verdict"]) + " |\n" + "|---" * (len(COLUMNS) + 3) + "|", flush=True)
    for name, method in itertools.product(arguments.only, arguments.methods):
        facts = [measured(name, method, seed, judge, arguments.out) for seed in range(arguments.seeds)]
        cells = [[fact[key] for fact in facts] for key in COLUMNS]
        shown = ["none" if None in cell else f"{sum(cell) / len(cell):.3f}" for cell in cells]
        shown.append(", ".join(light_of(fact)[0] for fact in facts))
        print(f"| {name} | {method} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
