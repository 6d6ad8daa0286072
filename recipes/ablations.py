"""What matters: one change at a time to HCDC's defaults, ranked on development configurations.

    python recipes/ablations.py --data cora --size 49 --out runs/ablations

The 80 configurations are drawn with --config-seed 1001, on which defaults were chosen; results proper use others. A bank
of 512 points and 500 steps (half of the defaults) for all. Resumable; prints a Markdown table as rows come in.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hcdc.bilevel import CG, Implicit, Neumann, Nystrom
from hcdc.condense import HCDC, STRONG, Algorithm1, Bank, Condenser, Coreset, GCond, Measure
from hcdc.data import Source, load
from hcdc.evaluate import Judge
from hcdc.run import condense_source, task_for
from hcdc.store import Ledger, hardware, load_condensed

BASE = HCDC(driver=Bank(starts=128, stages=4, steps=500))
RAW = Coreset(structure="identity", label="raw")
KEYS = ("spearman_loss", "spearman_accuracy", "spearman_top_half_loss", "spearman_top_half_accuracy", "seconds_condense")


def solved_by(solver: Any) -> HCDC:
    return replace(BASE, measure=Measure(synthetic=Implicit(solver, damping=1e-3)))


VARIANTS: dict[str, Condenser] = {
    "default": BASE,
    "S_train: propagated nodes": replace(BASE, train=STRONG),
    "S_train: real nodes, identity": replace(BASE, train=RAW),
    "S_train: GCond-X": replace(BASE, train=GCond(structure=False, both=False)),
    "S_val adjacency: identity, not learned": replace(BASE, structure=False),
    "alignment alone": replace(BASE, values=0.0),
    "values alone": replace(BASE, align=0.0),
    "values: loss only": replace(BASE, accuracy=0.0),
    "values: accuracy weight 2": replace(BASE, accuracy=2.0),
    "direct term dropped": replace(BASE, measure=Measure(direct=False)),
    "target: Eq. (IFT) at theta^S": replace(BASE, measure=Measure(real="synthetic")),
    "Neumann, 0 terms": solved_by(Neumann(0)),
    "Neumann, 5 terms": solved_by(Neumann(5)),
    "Neumann, 20 terms": solved_by(Neumann(20)),
    "Nystrom, rank 20": solved_by(Nystrom(20)),
    "CG, 50 steps": solved_by(CG(1e-4, 50)),
    "uniform points, no trajectories": replace(BASE, driver=Bank(starts=512, stages=1, steps=500)),
    "Algorithm 1": replace(BASE, driver=Algorithm1()),
    "no S_val learning (strong floor)": replace(BASE, driver=Bank(starts=1, stages=1, chunk=1, steps=1), lr=0.0, lr_structure=0.0),
}


def measured(name: str, method: Condenser, source: Source, size: int, judge: Judge, out: Path) -> dict[str, Any]:
    folder = out / "".join(letter if letter.isalnum() else "-" for letter in name)
    result = folder / "figures.json"
    if not result.exists():
        if not (folder / "card.json").exists():
            condense_source(source, task_for(source, size=size), method).save(folder)
        result.write_text(json.dumps(judge(load_condensed(folder), source).facts))
    return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--size", type=int, default=49)
    parser.add_argument("--config-seed", type=int, default=1001)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    arguments = parser.parse_args()
    source = load(arguments.data)
    judge = Judge(80, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    about = f"{arguments.data}, {arguments.size} nodes, config seed {arguments.config_seed}, {arguments.trainings} trainings"
    print(f"{hardware()}; {about}, one condensation")
    print("| variant | loss | against accuracy | better half, loss | better half, accuracy | condense, s |\n|---|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        facts = measured(name, VARIANTS[name], source, arguments.size, judge, arguments.out)
        print(f"| {name} | " + " | ".join(f"{facts[key]:.3f}" if key != KEYS[-1] else f"{facts[key]:.0f}" for key in KEYS) + " |", flush=True)


if __name__ == "__main__":
    main()
