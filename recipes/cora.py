"""Table: ranking of 80 polynomial filters on condensed graphs, HCDC beside GCond, GCond-X, Random and the strong floor.

    python recipes/cora.py --data cora --sizes 24 49 98 --seeds 3 --out runs/cora

Filters are drawn uniformly from [-1, 1]^4 with --config-seed, which no condensation sees. Trainings, artefacts and
results are kept in --out as they come: run again after an interruption and it goes on. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from hcdc.data import Source, load
from hcdc.evaluate import Judge, plots
from hcdc.run import condense_source, method_named, task_for
from hcdc.store import Ledger, hardware, load_condensed

COLUMNS = {
    "spearman_loss": "loss", "spearman_accuracy": "against accuracy", "spearman_top_half_loss": "better half, loss",
    "spearman_top_half_accuracy": "better half, accuracy", "picked_test_accuracy": "test accuracy of the pick",
    "seconds_condense": "condense, s", "seconds_search_condensed": "search on S, s",
}  # fmt: skip
FLOOR = {key: key.replace("spearman", "floor_strong") for key in list(COLUMNS)[:4]}


def measured(source: Source, method: str, size: int, seed: int, judge: Judge, out: Path) -> dict[str, Any]:
    """The figures of one artefact, made and judged unless they are there already."""
    folder = out / f"{method}-{size}-{seed}"
    result = folder / "figures.json"
    if not result.exists():
        if not (folder / "card.json").exists():
            condense_source(source, task_for(source, size=size, seed=seed), method_named(method)).save(folder)
        result.write_text(json.dumps(judge(load_condensed(folder), source).facts))
    return json.loads(result.read_text())


def row(name: str, facts: list[dict[str, Any]], columns: dict[str, str]) -> str:
    def cell(key: str) -> str:
        values = np.array([fact[key] for fact in facts], float) if key in facts[0] else np.array([])
        return f"{values.mean():.3f} ± {values.std():.3f}" if values.size else "–"

    return f"| {name} | " + " | ".join(cell(columns.get(key, key)) for key in COLUMNS) + " |"


def draw(folder: Path, source: Source, judge: Judge, path: Path) -> None:
    """The scatter of one artefact that was judged before: its trainings are taken from the ledger."""
    found = judge(load_condensed(folder), source)
    figure = plots.scatter(found.condensed.loss["val"], found.full.loss["val"], found.facts["picked_config"])
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 49, 98])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["hcdc", "random", "gcond-x", "gcond"])
    parser.add_argument("--configs", type=int, default=80)
    parser.add_argument("--config-seed", type=int, default=123)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/cora"))
    parser.add_argument("--picture", type=Path, help="write the scatter of the first artefact here")
    arguments = parser.parse_args()
    source = load(arguments.data)
    judge = Judge(arguments.configs, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    head = f"| {arguments.data} | " + " | ".join(COLUMNS.values()) + " |"
    print(f"{hardware()}; config seed {arguments.config_seed}, {arguments.trainings} trainings a filter, {arguments.seeds} condensation seeds")
    print(head + "\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
    some: dict[str, Any] = {}
    for method in arguments.methods:
        for size in arguments.sizes:
            facts = [measured(source, method, size, seed, judge, arguments.out) for seed in range(arguments.seeds)]
            some = facts[0]
            print(row(f"{method}, {size}", facts, {}), flush=True)
            if method == "hcdc":
                print(row(f"strong floor, {size}", facts, FLOOR | dict.fromkeys(list(COLUMNS)[4:], "absent")), flush=True)
    if arguments.picture:
        draw(arguments.out / f"{arguments.methods[0]}-{arguments.sizes[0]}-0", source, judge, arguments.picture)
    keys = ("ceiling_loss", "ceiling_accuracy", "ceiling_top_half_loss", "ceiling_top_half_accuracy", "own_loss_against_accuracy")
    print("full data: " + ", ".join(f"{key} {some[key]:.3f}" for key in keys), end="; ")
    print(f"best test accuracy {some['best_test_accuracy']:.4f}, search on T {some['seconds_search_full']:.0f} s")


if __name__ == "__main__":
    main()
