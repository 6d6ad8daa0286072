"""HCDC on images: the spaces of digits, and one change at a time to the defaults.

    python recipes/images.py --out runs/images
    python recipes/images.py --only "ConvMix" "Algorithm 1" --config-seed 1001

ConvNets are 16 wide. Fifty digits to train and fifty to validate on; --configs configurations of --config-seed, which no condensation has seen,
--trainings trainings each, one condensation (seed 0) a row. "Changes" keep the space of the first row. Resumable; prints a
Markdown table as rows come in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kept import figures, for_digits, head, row, slug

from hcdc.condense import HCDC, Condenser
from hcdc.data import Source, load
from hcdc.evaluate import Judge
from hcdc.run import IMAGE_METHODS, IMAGES, condensed_at, method_named, task_for
from hcdc.store import Ledger, hardware

SPACES: dict[str, dict[str, Any]] = {
    "ConvMix": {},
    "ConvNet: width, activation, pooling, decay": {"family": "convnet", "width": 16},
    "ConvNet: decay, smoothing, mixup, augment": {"family": "convnet", "width": 16, "searched": ("decay", "smoothing", "mixup", "augment")},
    "ConvNet: depth, width, kernel, decay": {"family": "convnet", "width": 16, "searched": ("depth", "width", "kernel", "decay")},
}
CHANGES: dict[str, Callable[[HCDC], Condenser]] = {
    "soft labels learned": lambda base: replace(base, soft=True),
    "Algorithm 1": lambda base: replace(base, driver=algorithm1()),
    "values matched, not aligned": lambda base: replace(base, align=0.0),
    "aligned, no values matched": lambda base: replace(base, values=0.0, accuracy=0.0),
    "S_train: real images": lambda base: replace(base, train=IMAGES),
    "S_train: DM": lambda base: replace(base, train=for_digits(IMAGE_METHODS["dm"])),
    "S_train: DM at half of each side": lambda base: replace(base, train=for_digits(IMAGE_METHODS["dm"], formation=2)),
    "S_train: KIP": lambda base: replace(base, train=for_digits(IMAGE_METHODS["kip"])),
    "S_train: KIP, labels of a teacher": lambda base: replace(base, train=for_digits(IMAGE_METHODS["kip"], teacher=300)),
}


def algorithm1() -> Any:
    """The driver of the command line."""
    method = method_named("hcdc", "images", driver="algorithm1")
    assert isinstance(method, HCDC)
    return method.driver


def measured(name: str, source: Source, judge: Judge, out: Path) -> dict[str, Any]:
    folder = out / slug(name)

    def measure() -> dict[str, Any]:
        task = task_for(source, size=50, **SPACES.get(name, {}))
        base = method_named("hcdc", source.kind, problem=task.condensed.problem)
        assert isinstance(base, HCDC)
        return judge(condensed_at(folder, source, task, CHANGES[name](base) if name in CHANGES else base), source).facts

    return figures(folder / f"figures-{judge.config_seed}-{judge.configs}-{judge.seeds}.json", measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SPACES, *CHANGES], default=[*SPACES, *CHANGES])
    parser.add_argument("--configs", type=int, default=24)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--config-seed", type=int, default=123)
    parser.add_argument("--out", type=Path, default=Path("runs/images"))
    arguments = parser.parse_args()
    source = load("digits")
    judge = Judge(arguments.configs, arguments.trainings, arguments.config_seed, Ledger(arguments.out / "trainings"))
    print(f"{hardware()}; {judge.configs} configurations of seed {judge.config_seed}, {judge.seeds} trainings each\n")
    print(head("digits, 50 images"), flush=True)
    for name in arguments.only:
        print(row(name, measured(name, source, judge, arguments.out)), flush=True)


if __name__ == "__main__":
    main()
