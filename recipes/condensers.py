"""Do the condensers of images condense? Accuracy of a ConvNet trained on what each makes of digits.

    python recipes/condensers.py --size 100 --trainings 5

Training images alone are condensed, 10 a class; a ConvNet of the width on which was matched is trained on them, in 300
steps of SGD at 0.01 with momentum 0.9 and weight decay 5e-4, the rate a tenth from the middle on, without augmentation,
and tested at the end. Budgets are those of the command line, for CPUs, but for the width, the batch of TM's experts, and
"flip", which changes a digit. Random is drawn --draws times; the others once, with seed 0, all from
the same real images (*start*). Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hcdc.condense import DM, Condenser, ImageCondenser, condense
from hcdc.data import Source, load
from hcdc.models import ConvNet
from hcdc.run import METHODS, method_named, task_for
from hcdc.store import DataCard, hardware

STEPS = 300
NAMES = ["start", *(name for name in METHODS if name != "hcdc" and not name.startswith("gcond"))]


@dataclass(frozen=True, kw_only=True)
class Start(DM):
    """The real images that the learned sets start from, which are the same for all of one seed."""

    def length(self) -> int:
        return 0


def method_for(name: str, width: int) -> Condenser:
    """The method of the command line, for training images of digits."""
    if name == "start":
        return Start()
    method = method_named(name, "images")
    if not isinstance(method, ImageCondenser):
        return method
    method = replace(method, width=width, both=False, augmentation=tuple(op for op in method.augmentation if op != "flip"))
    return replace(method, real_batch=64) if name == "tm" else method


def accuracy(train: Any, source: Source, width: int, seed: int) -> float:
    """Test accuracy of a ConvNet trained on `train`."""
    network = ConvNet(train.num_classes, shape=train.shape, width=width, searched=())
    params = {name: value.requires_grad_() for name, value in network.init({}, torch.Generator().manual_seed(seed)).items()}
    optimiser = torch.optim.SGD(params.values(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [STEPS // 2])
    for _ in range(STEPS):
        optimiser.zero_grad()
        network.outer(params, {}, train).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float(network.metrics(params, {}, source.splits.test)["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--methods", nargs="+", default=NAMES, choices=NAMES)
    arguments = parser.parse_args()
    source = load("digits")
    card = DataCard(name=source.name, sha256=source.sha256, kind=source.kind, num_classes=10)
    print(f"{hardware()}; digits, {arguments.size} images, ConvNet of width {arguments.width}, {arguments.trainings} trainings a set")
    print("| trained on | steps | test accuracy | condense, s |\n|---|---|---|---|", flush=True)
    for name in arguments.methods:
        method, found, seconds = method_for(name, arguments.width), list[float](), 0.0
        for seed in range(arguments.draws if name == "random" else 1):
            began = time.process_time()
            condensed = condense(method, task_for(source, size=arguments.size, seed=seed), card)
            seconds += time.process_time() - began
            found += [accuracy(condensed.train, source, arguments.width, number) for number in range(arguments.trainings)]
        print(f"| {name} | {method.length() or ''} | {np.mean(found):.4f} ± {np.std(found):.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
