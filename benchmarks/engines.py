"""Wall-clock of an evaluation by the plain loop and by a local Ray cluster, on a synthetic block model.

    OMP_NUM_THREADS=1 python benchmarks/engines.py                      # 64 configurations, 1 seed, 2 workers
    OMP_NUM_THREADS=1 python benchmarks/engines.py --n 20000 --workers 8

The set judged is drawn at random, so that all of the time is the evaluation's. Prints a Markdown table: the seconds from
start to figures, of which the start of the cluster is a part, and those that the workers trained. Exits with 1 where a
score differs in any bit.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from hcdc import Judge, Ray, condense_source, load, task_for
from hcdc.engine import Engine, local
from hcdc.store import hardware


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--configs", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    source = load(f"synthetic:sbm,n={arguments.n},classes=5,features=16")
    condensed = condense_source(source, task_for(source, size=20), "random")
    engines: dict[str, AbstractContextManager[Engine]] = {
        "local": nullcontext(local),
        f"ray, {arguments.workers} workers": Ray(workers=arguments.workers),
    }
    print(f"{hardware()}; {arguments.n} nodes, {arguments.configs} configurations, seeds: {arguments.seeds}\n")
    print("| engine | start, s | evaluate, s | in workers, s |\n|---|---|---|---|", flush=True)
    scores: list[torch.Tensor] = []
    for name, opening in engines.items():
        began = time.perf_counter()
        with opening as engine:
            opened = time.perf_counter()
            evaluation = Judge(arguments.configs, arguments.seeds, engine=engine)(condensed, source)
            done = time.perf_counter()
        parts = (evaluation.condensed, evaluation.full, *evaluation.floors.values())
        scores.append(torch.cat([part.loss["val"] for part in parts]))
        print(f"| {name} | {opened - began:.1f} | {done - opened:.1f} | {sum(part.seconds for part in parts):.1f} |", flush=True)
    same = torch.equal(*scores)
    print(f"\nscores {'are the same to the bit' if same else f'differ by up to {(scores[0] - scores[1]).abs().max():.1e}'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
