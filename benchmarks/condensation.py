"""Epochs of GCond by `hcdc` and by a plain loop of the published code, on the same graph, in turns.

    OMP_NUM_THREADS=1 python -m benchmarks.condensation --data cora --size 70

GraphSlim itself needs torch-sparse, torch-scatter, pygsp and deeprobust, which do not install beside this torch; see
`benchmarks.plain_gcond` for what stands for it. Both make the same `--matches` of gradients with 15 surrogate steps after
each, once for an epoch that moves the adjacency and once for one that moves the features; a published epoch has 20.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from benchmarks.measure import in_turns, keep, peak_bytes
from benchmarks.plain_gcond import PlainGCond
from hcdc.condense import GCond
from hcdc.data import load
from hcdc.run import task_for

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.condensation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--size", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--matches", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = task_for(load(given.data), size=given.size)
    method = GCond(outer=given.matches, both=False)
    state = method.init(task)
    start = state["train/learned"]["x"], state["train/labels"]["y"]
    rows: list[dict[str, Any]] = []
    for kind, epoch in (("adjacency", 0), ("features", 10)):
        plain = PlainGCond(task.real.train, *start, outer=given.matches)
        actions = {
            "hcdc": lambda epoch=epoch: method.step(task, state, epoch),
            "plain loop": lambda plain=plain, epoch=epoch: plain.epoch(epoch),
        }
        for name, cost in in_turns(actions, given.repeats).items():
            peak = peak_bytes(actions[name]) / 2**20
            rows.append({"epoch of": kind, "by": name, "clock, s": cost.wall, "processor, s": cost.busy, "peak, MiB": peak})
    ratios = {first["epoch of"]: second["processor, s"] / first["processor, s"] for first, second in zip(rows[::2], rows[1::2], strict=True)}
    keep("condensation", COMMAND, rows, data=given.data, size=given.size, matches=given.matches, plain_over_hcdc=ratios)
    for kind, ratio in ratios.items():
        print(f"an epoch of the {kind}: the plain loop takes {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
