"""HCDC on every family of graph filters: how each search space ranks on the condensed set.

    python recipes/families.py --data cora --size 49 --out runs/families

One condensation a row; --configs configurations of --config-seed, which it has not seen, --trainings trainings each. Of
APPNP these are a sample of its 480 architectures. Resumable; prints a Markdown table as rows come in.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept import figures, head, row, slug

from hcdc.data import Source, load
from hcdc.evaluate import Judge
from hcdc.run import condensed_at, task_for
from hcdc.store import Ledger, hardware

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "powers of Â": ("polyfilter", {}),
    "powers of L": ("polyfilter", {"basis": "laplacian"}),
    "Chebyshev": ("polyfilter", {"basis": "chebyshev"}),
    "Bernstein": ("polyfilter", {"basis": "bernstein"}),
    "personalised PageRank": ("ppr", {}),
    "heat kernel": ("heat", {}),
    "SIGN": ("sign", {}),
    "powers of Â and regularisers": ("polyfilter", {"regularisers": ("decay", "edge_drop", "smoothing")}),
    "APPNP, 480 architectures": ("appnp", {}),
}


def measured(name: str, source: Source, size: int, judge: Judge, out: Path) -> dict[str, Any]:
    family, settings = FAMILIES[name]
    folder = out / slug(source.name, name, size)

    def measure() -> dict[str, Any]:
        task = task_for(source, size=size, family=family, **settings)
        return judge(condensed_at(folder, source, task, "hcdc"), source).facts

    return figures(folder / f"figures-{judge.config_seed}-{judge.configs}-{judge.seeds}.json", measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--size", type=int, default=49)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--configs", type=int, default=48)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--config-seed", type=int, default=123)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    arguments = parser.parse_args()
    source = load(arguments.data)
    judge = Judge(arguments.configs, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    print(f"{hardware()}; {arguments.data}, {arguments.size} nodes, {judge.configs} configurations, {judge.seeds} trainings each\n")
    print(head("space"), flush=True)
    for name in arguments.only:
        print(row(name, measured(name, source, arguments.size, judge, arguments.out)), flush=True)


if __name__ == "__main__":
    main()
