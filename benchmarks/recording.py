"""Training steps on a GPU, as they are and recorded as a CUDA graph: what a step costs when it does not wait for Python.

    python -m benchmarks.recording --steps 200

Batches of models on a small set and on a whole graph, and one cell of NAS-Bench-201 on random images in batches of 64 and
256, in float32 and bfloat16. Seconds are of the wall around a training of so many steps, recording included, the median of
`--repeats` in turns; the largest difference of the parameters of both says whether they did the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.measure import keep
from hcdc import load, on, task_for
from hcdc._tensors import stack
from hcdc._typing import Params
from hcdc.bilevel import SGD, Adam, fit, initialise, recorded
from hcdc.condense import CENTROIDS, CellFit, Coreset
from hcdc.data import ImageData
from hcdc.models import NasBench201

COMMAND = "python -m benchmarks.recording"
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
Training = Callable[[], Params]


def cases(data: str, steps: int) -> Iterator[tuple[str, Training]]:
    for name, size, points, coreset in ((data, 49, 32, CENTROIDS), ("digits", 50, 8, Coreset())):
        task = task_for(load(name), size=size)
        problem: Any = task.condensed.problem
        hyper = stack([task.space.relax(config) for config in task.space.configs(points, 0)])
        sets = {f"{size} of {name}": coreset.select(task.real.train, size, task.generator(1)), f"whole {name}": task.real.train}
        for what, train in sets.items():
            start = initialise(problem, hyper, 0)
            yield f"{what}, {points} models", lambda a=problem, b=hyper, c=train, d=start: fit(a, b, c, Adam(steps), seed=0, params=d)
    network, generator = NasBench201(10).network(CELL), torch.Generator().manual_seed(0)
    images = ImageData(torch.randn(512, 3, 32, 32, generator=generator), torch.randint(10, (512,), generator=generator), 10)
    for batch in (64, 256):
        for bf16 in (False, True):
            start, trained = network.init({}, torch.Generator().manual_seed(0)), CellFit(SGD(steps, batch_size=batch), bf16)
            yield f"a cell, batches of {batch}, {'bfloat16' if bf16 else 'float32'}", lambda a=trained, b=start: a(network, b, images, seed=0)


def seconds(training: Training) -> tuple[float, Params]:
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = training()
    torch.cuda.synchronize()
    return time.perf_counter() - began, found


def plainly(training: Training) -> tuple[float, Params]:
    worth, recorded.WORTH = recorded.WORTH, 1 << 60
    try:
        return seconds(training)
    finally:
        recorded.WORTH = worth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with on("cuda"):
        for what, training in cases(given.data, given.steps):
            rounds = [(plainly(training), seconds(training)) for _ in range(given.repeats + 1)]
            plain, record = (1e3 * statistics.median(each[way][0] for each in rounds[1:]) / given.steps for way in (0, 1))
            (_, one), (_, other) = rounds[-1]
            apart = max(float((one[name] - other[name]).abs().max()) for name in one)
            rows.append(
                {
                    "training": what, "as it is, ms a step": plain, "recorded, ms a step": record, "times": plain / record,
                    "largest difference": apart,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    keep("recording", COMMAND, rows, steps=given.steps)


if __name__ == "__main__":
    main()
