"""Why do cells rank the wrong way round on 500 images? What networks say of themselves along their training.

    python recipes/curves.py --root ROOT
    python recipes/curves.py --root ROOT --lr 0.1
    python recipes/curves.py --root ROOT --size 40000 --steps 200

Narrow networks (8 channels, one cell a stage) of *development* cells (cell seed 1001, never evaluated on) on CIFAR-10 at half
of each side, batches of 64, the rate falling along a cosine. At 1/16, 1/8, 1/4, 1/2, 3/4 and all of the steps each network is
read: on 1,000 real validation images its accuracy, soft accuracy, loss, and loss with the logits divided by 2 and by 4; its
loss on (500 of) the images that it trains on; and the mean of its training losses so far, whose sum Ru et al. (2021) read.
A column is Spearman's correlation of a reading with the accuracy after 200 epochs in the table (HCDC_DATA), positive where
right. Kept in --out cell by cell.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kept import figures, slug
from torch import Tensor
from torch.nn import functional

from hcdc.bilevel import SGD
from hcdc.bilevel.inner import descending
from hcdc.condense import channels_last
from hcdc.condense.task import choose
from hcdc.data import ImageData, NasBench201Table, load
from hcdc.evaluate import parameters, spearman
from hcdc.models import CellNetwork, NasBench201
from hcdc.spaces import Cell, sample_cells
from hcdc.store import hardware

FAMILY = NasBench201(10, shape=(3, 16, 16), channels=8, weight_decay=3e-4)
JUDGED, SEED = 1000, 5
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
SIGNS = {"acc": 1, "soft": 1, "loss": -1, "loss2": -1, "loss4": -1, "tloss": -1, "tse": -1}
NAMES = "accuracy | soft accuracy | loss | loss, logits / 2 | loss, logits / 4 | training loss | mean training loss so far"


def images(root: Path | None, size: int) -> tuple[ImageData, ImageData]:
    """`size` training images, classes in proportion, and those judged on."""
    train, val = (part.replace(x=functional.avg_pool2d(part.x, 2)) for part in load("cifar10", root).splits.real)
    return train.take(choose(train.y, size, 10, torch.Generator().manual_seed(SEED))), val.take(torch.arange(JUDGED))


def readings(network: CellNetwork, params: dict[str, Tensor], train: ImageData, val: ImageData) -> dict[str, float]:
    """Of one network; training images are judged 500 at most."""
    some = train.take(torch.arange(0, train.size, max(1, train.size // 500)))
    with torch.no_grad():
        logits = torch.cat([network.logits(params, {}, val.take(part), {}) for part in torch.arange(val.size).split(500)])
        own = network.logits(params, {}, some, {})
        found = {f"loss{heat if heat > 1 else ''}": functional.cross_entropy(logits / heat, val.y) for heat in (1, 2, 4)}
        found["acc"] = (logits.argmax(1) == val.y).float().mean()
        found["soft"] = logits.softmax(-1).gather(1, val.y[:, None]).mean()
        found |= {"tloss": functional.cross_entropy(own, some.y), "tacc": (own.argmax(1) == some.y).float().mean()}
    return {name: float(value) for name, value in found.items()}


def curve(cell: Cell, solver: SGD, train: ImageData, val: ImageData) -> dict[str, Any]:
    """The readings of one training, and its seconds of the processor."""
    network, losses, began = FAMILY.network(cell), list[float](), time.process_time()

    def loss(params: dict[str, Tensor], batch: ImageData, _: object) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            value = network.noisy(params, {}, batch, {})
        losses.append(float(value.detach()))
        return value

    start = {name: channels_last(value) for name, value in network.init({}, torch.Generator().manual_seed(0)).items()}
    marks = sorted({max(1, int(solver.steps * share)) for share in SHARES})
    found: list[dict[str, float]] = []
    pieces = descending(loss, start, train.replace(x=channels_last(train.x)), solver, seed=0, every=marks[0])
    for piece, params in enumerate(pieces, 1):
        step = min(piece * marks[0], solver.steps)
        if step in marks:
            read = readings(network, {name: value.detach() for name, value in params.items()}, train, val)
            found.append({"step": step, "tse": sum(losses) / len(losses), **read})
    return {"cell": str(cell), "seconds": time.process_time() - began, "rec": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with cifar-10-batches-py [default: HCDC_DATA]")
    for name, value in (("size", 500), ("steps", 400), ("cells", 12), ("cell-seed", 1001)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"[default: {value}]")
    parser.add_argument("--lr", type=float, default=0.025, help="[default: 0.025]")
    parser.add_argument("--out", type=Path, default=Path("runs/curves"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    train, val = images(a.root, a.size)
    cells, solver = sample_cells(a.cells, a.cell_seed), SGD(a.steps, a.lr)
    folder = a.out / slug(a.size, a.steps, a.lr, a.cell_seed)
    rows = [figures(folder / f"{at}.json", partial(curve, cell, solver, train, val)) for at, cell in enumerate(cells)]
    truth = NasBench201Table.load().accuracy(cells)
    size = spearman(torch.tensor([float(parameters(FAMILY, cell)) for cell in cells]), truth)
    seconds = sum(row["seconds"] for row in rows) / len(rows)
    print(f"{hardware()}; {a.cells} cells of seed {a.cell_seed}, {a.size} images, lr {a.lr}; {seconds:.1f} s a cell; parameters {size:.2f}\n")
    print(f"| step | {NAMES} | mean accuracy | on what it trains on |\n" + "|---" * 10 + "|")
    for at, record in enumerate(rows[0]["rec"]):
        read = {name: torch.tensor([row["rec"][at][name] for row in rows]) for name in (*SIGNS, "tacc")}
        told = " | ".join(f"{spearman(sign * read[name], truth):.2f}" for name, sign in SIGNS.items())
        print(f"| {record['step']} | {told} | {float(read['acc'].mean()):.3f} | {float(read['tacc'].mean()):.3f} |")


if __name__ == "__main__":
    main()
