"""Do the condensers of images condense? Accuracy of a ConvNet trained on what each makes of digits.

    python recipes/condensers.py --size 100 --trainings 5
    python recipes/condensers.py --size 10 --full
    python recipes/condensers.py --published --root ROOT --seconds 400 --device cuda --methods dc dsa dm

Training images alone are condensed, 10 a class; a ConvNet of the width on which was matched is trained on them, in 300
steps of SGD at 0.01 with momentum 0.9 and weight decay 5e-4, the rate a tenth from the middle on, without augmentation,
and tested at the end. Budgets are those of the command line, for CPUs, but for the width, the batch of TM's experts, and
"flip", which changes a digit; with --full they are the published ones, but for the width, "flip", TM's rate, which is
published by dataset, and KIP's number of steps, which is not. Random is drawn --draws times; the others once, with seed
0, all from the same real images (*start*). Seconds are of processor time.

With --published, CIFAR-10 is condensed by DC, DSA and DM in their published settings, on ConvNets of depth 3 and width 128,
for as many of their steps as --seconds of the wall allow; then networks are trained on it as published, 300 epochs, after
DSA and DM 1,000 under their augmentation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from kept import for_digits

from hcdc import on
from hcdc.condense import DC, DM, DSA, KIP, TM, Condenser, ImageCondenser, Task, condense
from hcdc.data import ImageData, load
from hcdc.models import ConvNet, augment, draw
from hcdc.run import METHODS, ONLY, method_named, task_for
from hcdc.store import DataCard, hardware

STEPS = 300
NAMES = ["start", *(name for name in METHODS if name not in ("hcdc", *ONLY["graph"]))]
FULL: dict[str, ImageCondenser] = {"dc": DC(start="real"), "dsa": DSA, "dm": DM(), "kip": KIP(), "tm": TM(lr=10.0)}
"""What stands for a method of the command line with --full."""
PUBLISHED: dict[str, tuple[ImageCondenser, int, str]] = {
    "dc": (DC(), 300, "0.449 ± 0.005"),
    "dsa": (DSA, 1000, "0.521 ± 0.005"),
    "dm": (DM(), 1000, "0.489 ± 0.006"),
}
"""The method, epochs of the networks that test it, and what its authors print for ten images a class."""


@dataclass(frozen=True, kw_only=True)
class Start(DM):
    """The real images that the learned sets start from, which are the same for all of one seed."""

    def length(self) -> int:
        return 0


def method_for(name: str, width: int, effort: int, full: bool) -> Condenser:
    """The method of the command line or in `full`, for training images of digits, with `effort` times as many steps."""
    if name == "start":
        return Start()
    method = FULL[name] if full and name in FULL else method_named(name, "images")
    if not isinstance(method, ImageCondenser):
        return method
    own: dict[str, int] = {} if name == "kip" else {"width": width}
    return for_digits(method, steps=effort * method.steps, **own, **({"real_batch": 64} if name == "tm" and not full else {}))


def accuracy(train: Any, test: ImageData, width: int, seed: int, steps: int = STEPS, augmentation: tuple[str, ...] = ()) -> float:
    """On `test`, of a ConvNet trained on `train`."""
    network, generator = ConvNet(train.num_classes, shape=train.shape, width=width, searched=()), torch.Generator().manual_seed(seed)
    params = {name: value.requires_grad_() for name, value in network.init({}, generator).items()}
    optimiser = torch.optim.SGD(params.values(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [steps // 2])
    for _ in range(steps):
        optimiser.zero_grad()
        seen = train.replace(x=augment(train.x, draw(augmentation, generator))) if augmentation else train
        network.outer(params, {}, seen).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float(network.metrics(params, {}, test)["accuracy"])


def condensed_within(method: ImageCondenser, task: Task, seconds: float) -> tuple[ImageData, int, float]:
    """S_train after as many steps as `seconds` allow, how many these were, and the seconds they took."""
    state, number, began = method.init(task), 0, time.monotonic()
    while number < method.length() and time.monotonic() - began < seconds:
        state, _ = method.step(task, state, number)
        number += 1
    return method.extract(task, state)[0], number, time.monotonic() - began


def published(arguments: argparse.Namespace) -> None:
    source = load("cifar10", arguments.root)
    task = task_for(source, size=arguments.size, family="convnet")
    print(f"{hardware()}; {source.splits.train.size} images of CIFAR-10, {arguments.size} condensed, {arguments.trainings} trainings a set")
    print("| trained on | steps | of | test accuracy | published | condense, s |\n|---|---|---|---|---|---|", flush=True)
    for name in arguments.methods:
        method, epochs, known = PUBLISHED[name]
        train, steps, seconds = condensed_within(replace(method, both=False), task, arguments.seconds)
        found = [accuracy(train, source.splits.test, 128, seed, epochs, method.augmentation) for seed in range(arguments.trainings)]
        print(f"| {name} | {steps} | {method.stretch()} | {np.mean(found):.3f} ± {np.std(found):.3f} | {known} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--effort", type=int, default=1, help="times as many steps as the budgets of the command line [default: 1]")
    parser.add_argument("--full", action="store_true", help="digits: the published numbers of steps, and of epochs and matches in them")
    parser.add_argument("--methods", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--published", action="store_true", help="CIFAR-10 in the published settings, by dc, dsa and dm")
    parser.add_argument("--root", help="published: folder with cifar-10-batches-py [default: HCDC_DATA]")
    parser.add_argument("--seconds", type=float, default=400, help="published: of condensing, a method [default: 400]")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto [default: cpu]")
    arguments = parser.parse_args()
    if arguments.published and not set(arguments.methods) <= set(PUBLISHED):
        parser.error(f"--published takes --methods of {', '.join(PUBLISHED)}")
    with on(arguments.device):
        (published if arguments.published else on_digits)(arguments)


def on_digits(arguments: argparse.Namespace) -> None:
    source = load("digits")
    card = DataCard(name=source.name, sha256=source.sha256, kind=source.kind, num_classes=10)
    print(f"{hardware()}; digits, {arguments.size} images, ConvNet of width {arguments.width}, {arguments.trainings} trainings a set")
    print("| trained on | steps | test accuracy | condense, s |\n|---|---|---|---|", flush=True)
    for name in arguments.methods:
        method, found, seconds = method_for(name, arguments.width, arguments.effort, arguments.full), list[float](), 0.0
        for seed in range(arguments.draws if name == "random" else 1):
            began = time.process_time()
            condensed = condense(method, task_for(source, size=arguments.size, seed=seed), card)
            seconds += time.process_time() - began
            found += [accuracy(condensed.train, source.splits.test, arguments.width, number) for number in range(arguments.trainings)]
        print(f"| {name} | {method.length() or ''} | {np.mean(found):.4f} ± {np.std(found):.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
