"""NAS-Bench-201 cells on CIFAR-10: seconds a training step, what bfloat16 changes, and our zero-cost scores against the table's.

    python benchmarks/cells.py --root ROOT steps       # N = 1, batch 64: plain, channels last, bfloat16, the soft forward
    python benchmarks/cells.py --root ROOT bf16        # 12 cells trained in float32 and in bfloat16
    python benchmarks/cells.py --root ROOT zerocost    # Spearman over 40 cells, ours against the table (HCDC_DATA)

ROOT holds cifar-10-batches-py. Seconds are of the processor, on one thread, so that they depend little on what else the
machine does.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from hcdc.bilevel import SGD, descend
from hcdc.data import ImageData, NasBench201Table, load
from hcdc.evaluate import CellTrainer, flops, jacov, naswot, parameters, spearman, synflow
from hcdc.models import NasBench201
from hcdc.spaces import OPS, Cell, sample_cells
from hcdc.store import hardware

FAMILY = NasBench201(10, weight_decay=3e-4)


def seconds(model: NasBench201, hyper: dict[str, Any], data: ImageData, *, last: bool, bf16: bool, steps: int) -> float:
    """Of a training step, the first of them not counted."""

    def laid(value: torch.Tensor) -> torch.Tensor:
        return value.contiguous(memory_format=torch.channels_last) if last and value.ndim == 4 else value

    def loss(params: Any, batch: ImageData, _: Any) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model.noisy(params, hyper, batch, {})

    params = {name: laid(value) for name, value in model.init(hyper, torch.Generator().manual_seed(0)).items()}
    data = data.replace(x=laid(data.x))
    spent: list[float] = []
    for count in (1, steps + 1):
        began = time.process_time()
        descend(loss, params, data, SGD(count), seed=0)
        spent.append(time.process_time() - began)
    return (spent[1] - spent[0]) / steps


def steps_table(train: ImageData, steps: int) -> None:
    cells = {"five 3x3": Cell.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|")}
    cells |= {f"random {number}": cell for number, cell in enumerate(sample_cells(4, 0))}
    seconds(FAMILY.network(cells["five 3x3"]), {}, train, last=False, bf16=False, steps=2)  # warms up
    print("| cell | float32 | channels last | bfloat16 | norms written out |\n|---|---|---|---|---|", flush=True)
    for name, cell in cells.items():
        network, plain = FAMILY.network(cell), FAMILY.network(cell, fused=False)
        row = [seconds(network, {}, train, last=last, bf16=bf16, steps=steps) for last, bf16 in ((False, False), (True, False), (True, True))]
        row.append(seconds(plain, {}, train, last=True, bf16=False, steps=steps))
        print(f"| {name}, {len(cell.live_edges())} edges | " + " | ".join(f"{value:.3f}" for value in row) + " |", flush=True)
    soft = {"op": torch.full((6, 5), 1 / len(OPS))}
    row = [seconds(FAMILY, soft, train, last=last, bf16=False, steps=2) for last in (False, True)]
    print("| soft forward, 24 operations | " + " | ".join(f"{value:.3f}" for value in row) + " | | |")


def bf16_table(train: ImageData, val: ImageData, cells: int, steps: int) -> None:
    drawn, losses, accuracies = sample_cells(cells, 0), dict[bool, torch.Tensor](), dict[bool, torch.Tensor]()
    for bf16 in (False, True):
        began = time.process_time()
        scores = CellTrainer(FAMILY, SGD(steps), bf16)(drawn, train, {"val": val}, seed=0)
        losses[bf16], accuracies[bf16] = scores.loss["val"][0], scores.accuracy["val"][0]
        print(f"{'bfloat16' if bf16 else 'float32'}: {time.process_time() - began:.0f} s", flush=True)
        print(" loss", [round(v, 3) for v in losses[bf16].tolist()], "\n accuracy", [round(v, 3) for v in accuracies[bf16].tolist()], flush=True)
    other = CellTrainer(FAMILY, SGD(steps))(drawn, train, {"val": val}, seed=1)
    found = {"bfloat16": (losses[True], accuracies[True]), "another seed": (other.loss["val"][0], other.accuracy["val"][0])}
    for name, (loss, accuracy) in found.items():
        change = float((loss - losses[False]).abs().mean()), float((accuracy - accuracies[False]).abs().mean())
        ranks = spearman(loss, losses[False]), spearman(accuracy, accuracies[False])
        print(f"{name} against float32: mean change of loss {change[0]:.3f}, of accuracy {change[1]:.3f}; Spearman {ranks[0]:.3f}, {ranks[1]:.3f}")


def zerocost_table(train: ImageData, count: int) -> None:
    table = NasBench201Table.load()
    family, batch = NasBench201(10, cells=5), train.take(torch.arange(64))
    scored = set(table.scored())
    cells = [cell for cell in sample_cells(1000, 0, distinct=False) if str(cell) in scored][:count]
    measures: dict[str, Any] = {
        "params": lambda cell: parameters(family, cell), "flops": lambda cell: flops(family, cell), "nwot": lambda cell: naswot(family, cell, batch),
        "synflow": lambda cell: synflow(family, cell), "jacov": lambda cell: jacov(family, cell, batch),
    }  # fmt: skip
    truth = table.accuracy(cells)
    print(f"{len(cells)} cells\n| score | ours against the table's | ours against accuracy | the table's against accuracy | seconds a cell |")
    print("|---|---|---|---|---|")
    for name, measure in measures.items():
        began = time.process_time()
        ours = torch.tensor([float(measure(cell)) for cell in cells], dtype=torch.float64)
        spent = (time.process_time() - began) / len(cells)
        theirs = table.score(cells, name)
        print(f"| {name} | {spearman(ours, theirs):.3f} | {spearman(ours, truth):.3f} | {spearman(theirs, truth):.3f} | {spent:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "bf16", "zerocost"))
    parser.add_argument("--root", help="folder with cifar-10-batches-py [default: HCDC_DATA]")
    parser.add_argument("--cells", type=int, help="[default: 12; zerocost: 40]")
    parser.add_argument("--steps", type=int, help="timed, or trained [default: 10; bf16: 100]")
    parser.add_argument("--images", type=int, default=500, help="to train on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    splits = load("cifar10", arguments.root).splits
    train, val = splits.train.take(torch.arange(arguments.images)), splits.val.take(torch.arange(1000))
    print(f"{hardware()}, one thread\n")
    if arguments.what == "steps":
        steps_table(train, arguments.steps or 10)
    elif arguments.what == "bf16":
        bf16_table(train, val, arguments.cells or 12, arguments.steps or 100)
    else:
        zerocost_table(train, arguments.cells or 40)


if __name__ == "__main__":
    main()
