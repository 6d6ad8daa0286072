"""What matters: one change at a time to HCDC's defaults, ranked on development configurations.

    python recipes/ablations.py --data cora --size 49 --out runs/ablations

Figures are means over draws of 80 configurations with --config-seeds 1001 to 1003, on which defaults were chosen; results
proper use others. Resumable; prints a Markdown table as rows come in.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from kept import figures, slug

from hcdc.bilevel import CG, Adam, Implicit, Neumann, Nystrom, Recipe
from hcdc.condense import GCOND_X, HCDC, STRONG, Algorithm1, Bank, Condenser, Coreset, GCond, Measure, Task
from hcdc.data import Source, load
from hcdc.evaluate import Judge
from hcdc.run import condensed_at, task_for
from hcdc.store import Ledger, hardware

BASE = HCDC()
RAW = Coreset(structure="identity", label="raw")
KEYS = ("spearman_loss", "spearman_accuracy", "spearman_top_half_loss", "spearman_top_half_accuracy", "seconds_condense")


def solved_by(solver: Any) -> HCDC:
    return replace(BASE, measure=Measure(synthetic=Implicit(solver, damping=1e-3)))


VARIANTS: dict[str, Condenser] = {
    "default": BASE,
    "accuracy not matched": replace(BASE, accuracy=0.0),
    "accuracy weight 1": replace(BASE, accuracy=1.0),
    "accuracy weight 4": replace(BASE, accuracy=4.0),
    "values weight 4": replace(BASE, values=4.0),
    "2000 steps": replace(BASE, driver=Bank(steps=2000)),
    "2000 steps, values weight 4": replace(BASE, driver=Bank(steps=2000), values=4.0),
    "values matched, not aligned": replace(BASE, align=0.0),
    "aligned, no values matched": replace(BASE, values=0.0, accuracy=0.0),
    "hypergradients of the soft accuracy": replace(BASE, measure=Measure(gradients_of="criterion")),
    "S_train: propagated nodes": replace(BASE, train=STRONG),
    "S_train: real nodes, identity": replace(BASE, train=RAW),
    "S_train: GCond": replace(BASE, train=GCond(both=False)),
    "S_train: GCond-X": replace(BASE, train=replace(GCOND_X, both=False)),
    "S_val adjacency: identity, not learned": replace(BASE, structure=False),
    "direct term dropped": replace(BASE, measure=Measure(direct=False)),
    "target: Eq. (IFT) at theta^S": replace(BASE, measure=Measure(real="synthetic")),
    "128 points, none on trajectories": replace(BASE, driver=Bank(starts=128, stages=1)),
    "128 points, none on trajectories, target at theta^T": replace(BASE, driver=Bank(starts=128, stages=1), measure=Measure(real="trained")),
    "Neumann, 0 terms": solved_by(Neumann(0)),
    "Neumann, 1 term": solved_by(Neumann(1)),
    "Neumann, 5 terms": solved_by(Neumann(5)),
    "Neumann, 20 terms": solved_by(Neumann(20)),
    "Nystrom, rank 20": solved_by(Nystrom(20)),
    "CG, 50 steps": solved_by(CG(1e-4, 50)),
    "512 points, none on trajectories": replace(BASE, driver=Bank(stages=1)),
    "512 points, none on trajectories, not aligned": replace(BASE, driver=Bank(stages=1), align=0.0),
    "512 points, none on trajectories, accuracy weight 4": replace(BASE, driver=Bank(stages=1), accuracy=4.0),
    "1024 points, none on trajectories": replace(BASE, driver=Bank(starts=1024, stages=1)),
    "256 trajectories of 2 points": replace(BASE, driver=Bank(starts=256)),
    "256 trajectories of 4 points": replace(BASE, driver=Bank(starts=256, stages=4)),
    "256 trajectories of 4 points, accuracy not matched": replace(BASE, driver=Bank(starts=256, stages=4), accuracy=0.0),
    "Algorithm 1": replace(BASE, driver=Algorithm1()),
    "nothing learned (strong floor)": replace(BASE, driver=Bank(starts=1, stages=1, chunk=1, steps=1), lr=1e-12, lr_structure=1e-12),
}
TRAINED: dict[str, tuple[dict[str, Any], Adam | None]] = {
    "read by its loss": ({"criterion": "loss"}, None),
    "weight decay on S 3e-4": ({"weight_decay": 3e-4}, None),
    "weight decay on S 2e-4": ({"weight_decay": 2e-4}, None),
    "dropout 0.5 on S, as on T": ({"dropout": 0.5}, None),
    "S trained at 0.02, weight decay 3e-4": ({"weight_decay": 3e-4}, Adam(200, 0.02)),
    "S trained at 0.03": ({}, Adam(200, 0.03)),
    "S trained at 0.03, weight decay 3e-4": ({"weight_decay": 3e-4}, Adam(200, 0.03)),
    "S trained at 0.03, weight decay 4e-4": ({"weight_decay": 4e-4}, Adam(200, 0.03)),
}
"""Changes to how S is trained: settings of its problem, its solver (None: the default)."""
VAL_SIZES = {"S_val of 98 nodes": 98}


def measured(name: str, source: Source, size: int, seed: int, judges: list[Judge], out: Path) -> list[dict[str, Any]]:
    """The figures of one variant, one dictionary a draw of configurations."""
    folder = out / slug(name, size, seed)
    condensed = condensed_at(folder, source, task_of(name, source, size, seed), VARIANTS.get(name, BASE))
    paths = [folder / f"figures-{judge.config_seed}-{judge.seeds}.json" for judge in judges]
    return [figures(path, lambda judge=judge: judge(condensed, source).facts) for path, judge in zip(paths, judges, strict=True)]


def task_of(name: str, source: Source, size: int, seed: int) -> Task:
    """The task of one variant: the recipe of S may differ."""
    task = task_for(source, size=size, val_size=VAL_SIZES.get(name), seed=seed)
    settings, solver = TRAINED.get(name, ({}, None))
    problem: Any = task.condensed.problem
    return replace(task, condensed=Recipe(replace(problem, **settings), solver or task.condensed.solver))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--size", type=int, default=49)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--config-seeds", type=int, nargs="+", default=[1001, 1002, 1003])
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[*VARIANTS, *TRAINED, *VAL_SIZES])
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    arguments = parser.parse_args()
    source = load(arguments.data)
    ledger = Ledger(arguments.out / "trainings")
    judges = [Judge(80, arguments.trainings, seed, ledger) for seed in arguments.config_seeds]
    about = f"{arguments.data}, {arguments.size} nodes, config seeds {arguments.config_seeds}, {arguments.trainings} trainings"
    print(f"{hardware()}; {about}, {arguments.seeds} condensation seeds")
    print("| variant | loss | against accuracy | better half, loss | better half, accuracy | condense, s |\n|---|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        seeds = range(arguments.seeds)
        facts = [fact for seed in seeds for fact in measured(name, source, arguments.size, seed, judges, arguments.out)]
        means = {key: sum(fact[key] for fact in facts) / len(facts) for key in KEYS}
        print(f"| {name} | " + " | ".join(f"{means[key]:.3f}" if key != KEYS[-1] else f"{means[key]:.0f}" for key in KEYS) + " |", flush=True)


if __name__ == "__main__":
    main()
