"""Table 1 of the paper: does a condensed CIFAR-10 rank the cells of NAS-Bench-201?

    python recipes/table1.py --root ROOT --cells 24 --seeds 1 --methods random hcdc --out runs/table1
    python recipes/table1.py --root ROOT --cells 24 --zerocost
    python recipes/table1.py --root ROOT --cells 24 --truth-steps 400

ROOT holds cifar-10-batches-py, HCDC_DATA the tables of NAS-Bench-201. Cells with one cell a stage are drawn with --cell-seed
and trained on --size images by --recipe: dc-bench is DC-BENCH's protocol (50 epochs, shuffled batches of 64, SGD 0.025 ->
0.001, momentum 0.9, weight decay 3e-4, clipped at 5), long takes batches of 16 at 0.1, which are four times as many steps,
augmented adds flips and shifts to that; reduced is dc-bench for narrow networks (8 channels) on images of half the side, at a
fifth of the seconds. HCDC trains on the images of --train-by with the same seed, of Random unless it is said, so that
"random" is at once the row of equally many random real images as S_val; no cell that it condenses with computes what an
evaluated one does.

Rows are Spearman's correlations, positive where the set is right, by loss, by accuracy and by soft accuracy (the mean
probability of the true class) on S_val, against truth (b), the accuracy after 200 epochs in the table, and with --truth-
steps against truth (a), the same networks trained so many steps on the real training images (50 epochs are 31,250). *Real*
takes all of --real-val real validation images in the place of S_val: it says whether S_train or S_val is at fault; *train*
is the loss on S_train itself, the training loss; *half* the correlation with (b) among the better half of the cells. The pick
is by soft accuracy; after a guard it is the one of the five best that truth (a) finds most accurate. Everything is kept in
--out, condensation step by step and training cell by cell: kill it, and the same command goes on. Seconds are of the wall on
one thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from kept import figures, slug
from torch import Tensor
from torch.nn import functional

from hcdc import on
from hcdc.bilevel import SGD, Recipe
from hcdc.condense import (
    CENTROIDS,
    DC,
    DM,
    DSA,
    HERDING,
    K_CENTER,
    KIP,
    TM,
    CellBank,
    CellHCDC,
    CellMeasure,
    Condenser,
    Coreset,
    Existing,
    ImageCondenser,
    Task,
)
from hcdc.data import ImageData, NasBench201Table, Source, Splits, load
from hcdc.evaluate import CellTrainer, Guard, Scores, better_half, bill, flops, jacov, naswot, parameters, plots, spearman, synflow
from hcdc.models import NasBench201
from hcdc.run import IMAGES, condensed_at, task_for
from hcdc.spaces import Cell, sample_cells
from hcdc.store import Condensed, Ledger, hardware

FAMILY = NasBench201(10, weight_decay=3e-4, criterion="soft-accuracy")
EPOCHS_A = 50
"""Of truth (a) at its full budget, for the bill."""
SHIFTS = ("crop", "flip")


class Training(NamedTuple):
    """What differs from DC-BENCH: the solver, the augmentation, the channels of the first stage, and how many pixels make one."""

    solver: Mapping[str, Any] = MappingProxyType({})
    augmentation: tuple[str, ...] = ()
    channels: int = 16
    pixels: int = 1


RECIPES: dict[str, Training] = {
    "dc-bench": Training(), "long": Training({"lr": 0.1, "batch_size": 16}), "augmented": Training({"lr": 0.1, "batch_size": 16}, SHIFTS),
    "reduced": Training(channels=8, pixels=2),
}  # fmt: skip
SMALL: dict[str, Any] = {"width": 32, "real_batch": 64}
METHODS: dict[str, Condenser] = {
    "random": Coreset(label="random"),
    "k-center": replace(K_CENTER, trained=300),
    "herding": replace(HERDING, trained=300),
    "centroids": CENTROIDS,
    "dc": DC(steps=4, outer=10, inner=2, start="real", **SMALL),
    "dsa": replace(DSA, steps=4, outer=10, inner=2, **SMALL),
    "dm": DM(steps=60, **SMALL),
    "kip": KIP(steps=30, real_batch=1000),
    "tm": TM(steps=20, lr=100.0, experts=2, epochs=5, ahead=1, max_start=4, inner=5, batch=100, width=32),
    "hcdc": CellHCDC(),
}
"""At budgets of minutes on one core; the published ones are the defaults of the classes."""
SCORES: dict[str, Callable[[NasBench201, Cell, ImageData], float]] = {
    "params": lambda family, cell, _: parameters(family, cell), "flops": lambda family, cell, _: flops(family, cell),
    "naswot": naswot, "synflow": lambda family, cell, _: synflow(family, cell), "jacov": jacov,
}  # fmt: skip
CORRELATIONS = tuple(
    (*read, truth)
    for truth in "ba"
    for read in (*((part, each) for part in ("val", "real") for each in ("loss", "accuracy", "soft")), ("train", "loss"))
)
HALVES = ("val soft half", "train loss half")
PICKS = ("pick less best, (b)", f"after a guard of {Guard.keep}, (b)")
COLUMNS = (*(f"{'' if part == 'val' else f'{part}: '}{reading}, ({truth})" for part, reading, truth in CORRELATIONS),
           "soft, half, (b)", "train: loss, half, (b)", *PICKS, "condense, s", "a cell, s", "break-even")  # fmt: skip


class Bench(NamedTuple):
    """What every row is measured with."""

    source: Source
    cells: list[Cell]
    table: Tensor
    real: ImageData
    trainer: CellTrainer
    truth: Scores | None
    arguments: argparse.Namespace


def prepared(arguments: argparse.Namespace) -> Bench:
    settings, augmentation, channels, pixels = RECIPES[arguments.recipe]
    source, cells = shrunk(load("cifar10", arguments.root), pixels), sample_cells(arguments.cells, arguments.cell_seed)
    family, val = replace(FAMILY, shape=source.splits.train.shape, channels=channels), source.splits.val
    real = val.take(torch.randperm(val.size, generator=torch.Generator().manual_seed(0))[: arguments.real_val])
    solver = SGD.lasting(arguments.epochs, arguments.size, **settings)
    kept: dict[str, Any] = {"bf16": not arguments.float32, "ledger": Ledger(arguments.out / "trainings"), "trained": arguments.out / "networks"}
    truth = None
    if arguments.truth_steps:
        trainer = CellTrainer(family, SGD(arguments.truth_steps, 0.1, arguments.truth_batch), **kept)
        some = cells[: arguments.truth_cells or None]
        truth = trainer(some, source.splits.train, {"val": real}, seed=0, progress=partial(told, "truth (a)"))
    trainer = CellTrainer(family, solver, augmentation=augmentation, **kept)
    return Bench(source, cells, NasBench201Table.load().accuracy(cells), real, trainer, truth, arguments)


def shrunk(source: Source, pixels: int) -> Source:
    """`source` with the means of `pixels` x `pixels` pixels for pixels."""
    if pixels == 1:
        return source
    parts = (part.replace(x=functional.avg_pool2d(part.x, pixels)) for part in source.splits)
    return Source.of(f"{source.name} / {pixels}", Splits(*parts))


def told(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what}: {done} of {total} cells\n")


def task_of(bench: Bench, seed: int) -> Task:
    family = bench.trainer.family
    task = task_for(bench.source, size=bench.arguments.size, seed=seed, family="nasbench201")
    full = SGD(bench.arguments.bank_truth, 0.1) if bench.arguments.bank_truth else task.full.solver
    return replace(task, condensed=Recipe(family, bench.trainer.solver), full=Recipe(family, full))


def hcdc_of(bench: Bench, seed: int) -> CellHCDC:
    """HCDC on the images of Random, with as many points as --points, none of them an evaluated cell."""
    a = bench.arguments
    measure = CellMeasure(truth="trained" if a.bank_truth else "synthetic")
    driver = CellBank(starts=a.points, steps=a.steps, batch=min(a.points, a.batch))
    existing = Existing.of(artefact(a.train_by, bench, seed))
    return CellHCDC(
        train=existing,
        start=None if a.from_train else IMAGES,
        driver=driver,
        measure=measure,
        align=a.align,
        values=a.values,
        accuracy=a.accuracy,
        soft=a.soft,
        avoid=tuple(map(str, bench.cells)),
    )


def artefact(name: str, bench: Bench, seed: int) -> Condensed:
    """Made unless it is there."""
    method = hcdc_of(bench, seed) if name == "hcdc" else METHODS[name]
    a, pixels = bench.arguments, RECIPES[bench.arguments.recipe].pixels
    marks = [a.recipe, a.label] if name == "hcdc" else [f"halved{pixels}"] if pixels > 1 else []
    if isinstance(method, ImageCondenser) and a.effort > 1:
        method, marks = replace(method, steps=method.steps * a.effort), [*marks, f"effort{a.effort}"]
    return condensed_at(a.out / slug(name, a.size, seed, *marks), bench.source, task_of(bench, seed), method)


def truth_a(bench: Bench) -> dict[str, Tensor]:
    """{"a": the accuracies of the first cells on the real data} where they were trained there."""
    return {} if bench.truth is None else {"a": bench.truth.accuracy["val"].mean(0)}


def correlations(scores: Scores, name: str, bench: Bench) -> dict[str, float]:
    """Of the scores on `name` with both truths, signs so that right is positive."""
    truths = {"b": bench.table} | truth_a(bench)
    read = {"loss": -scores.loss[name].mean(0), "accuracy": scores.accuracy[name].mean(0), "soft": -scores.criterion[name].mean(0)}
    found = {
        f"{name} {reading} {letter}": spearman(value[: len(truth)], truth) for letter, truth in truths.items() for reading, value in read.items()
    }
    half = better_half(-bench.table)
    found |= {f"{name} {reading} half": spearman(value[half], bench.table[half]) for reading, value in read.items()}
    return found | {f"{name} {key}": value for key, value in regrets(read["soft"], bench).items()}


def regrets(score: Tensor, bench: Bench) -> dict[str, float]:
    """Points of the table by which the cell of the highest `score` is behind the best, and where truth (a) knows all cells, the
    most accurate on the real validation images of as many first ones as the library's guard trains."""
    order, truth = score.argsort(descending=True, stable=True), truth_a(bench).get("a")
    picks = {"regret": order[0]}
    if truth is not None and len(truth) == len(score):
        first = order[: Guard.keep]
        picks["guarded"] = first[truth[first].argmax()]
    return {key: float(bench.table[pick] - bench.table.max()) for key, pick in picks.items()}


def measured(name: str, bench: Bench, seed: int) -> tuple[dict[str, Any], Scores]:
    """The figures of one condensation."""
    condensed = artefact(name, bench, seed)
    judged_on = {"val": condensed.val, "real": bench.real, "train": condensed.train}
    scores = bench.trainer(bench.cells, condensed.train, judged_on, seed=seed, progress=partial(told, f"{name}, seed {seed}"))
    facts: dict[str, Any] = {fact: value for part in judged_on for fact, value in correlations(scores, part, bench).items()}
    facts |= {"condense": condensed.card.seconds, "cell": scores.seconds / len(bench.cells), "even": None}
    if bench.truth is not None:
        seen = bench.arguments.truth_steps * bench.arguments.truth_batch / bench.source.splits.train.size
        whole = bench.truth.seconds * EPOCHS_A / seen * len(bench.cells) / len(truth_a(bench)["a"])
        facts["even"] = bill(condensed.card.seconds, scores.seconds, whole, len(bench.cells))["break_even_configs"]
    return facts, scores


def row(name: str, facts: Sequence[dict[str, Any]]) -> str:
    """Means and deviations over condensations."""
    keys = (*map(" ".join, CORRELATIONS), *HALVES, "val regret", "val guarded", "condense", "cell", "even")
    shown: list[str] = []
    for key in keys:
        values = torch.tensor([float(fact[key]) for fact in facts if fact.get(key) is not None])
        if not len(values):
            shown.append("")
        elif key in ("condense", "cell", "even"):
            shown.append(f"{float(values.median()):.0f}")
        else:
            shown.append(f"{float(values.mean()):.2f}" + (f" ± {float(values.std(correction=0)):.2f}" if len(values) > 1 else ""))
    return f"| {name} | " + " | ".join(shown) + " |"


def zerocost(bench: Bench) -> None:
    """Rows of the scores that need no training, on the same networks."""
    batch, family, arguments = bench.source.splits.train.take(torch.arange(64)), bench.trainer.family, bench.arguments
    for name, score in SCORES.items():
        path = arguments.out / slug("zerocost", name, arguments.cells, arguments.cell_seed, f"{family.channels}x{family.shape[-1]}")
        found = torch.tensor(figures(path.with_suffix(".json"), lambda score=score: [float(score(family, cell, batch)) for cell in bench.cells]))
        facts: dict[str, Any] = {"val loss b": spearman(found, bench.table), "condense": 0}
        for letter, truth in truth_a(bench).items():
            facts[f"val loss {letter}"] = spearman(found[: len(truth)], truth)
        facts |= {f"val {key}": value for key, value in regrets(found, bench).items()}
        print(row(name, [facts]), flush=True)


def draw(bench: Bench, rows: Sequence[tuple[str, Scores, Condensed]], folder: Path) -> None:
    """Figures 2 and 3: strips by truth (b), and the images that each row was trained and judged on."""
    folder.mkdir(parents=True, exist_ok=True)
    strips = [plots.Row(name, scores.criterion["val"].mean(0), spearman(-scores.criterion["val"].mean(0), bench.table)) for name, scores, _ in rows]
    plots.strips(-bench.table, strips).savefig(folder / "figure2.png", dpi=160)
    for name, _, condensed in rows:
        plots.image_grid(condensed.val.x, condensed.val.classes(), limit=50).savefig(folder / f"figure3-{name}.png", dpi=160)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with cifar-10-batches-py [default: HCDC_DATA]")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=["random", "hcdc"])
    parser.add_argument("--zerocost", action="store_true", help="add the rows that need no training")
    parser.add_argument("--recipe", choices=RECIPES, default="dc-bench")
    for name, value, text in (
        ("size", 500, "training images, and as many for validation"), ("cells", 24, "cells evaluated"), ("cell-seed", 123, "draws them"),
        ("seeds", 1, "condensations and trainings of each"), ("epochs", 50, "of each training"), ("real-val", 2000, "real images judged on"),
        ("truth-steps", 0, "of truth (a) on the real training images; 0 leaves it out"), ("truth-batch", 64, "images a step of truth (a)"),
        ("truth-cells", 0, "cells that truth (a) is trained for, the first ones; 0 takes all"),
        ("points", 16, "hcdc: cells in its bank"), ("steps", 60, "hcdc: of S_val"), ("batch", 8, "hcdc: points a step of S_val"),
        ("bank-truth", 0, "hcdc: steps on the real data after which a cell of the bank is valued; 0 values it as trained on S_train"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} [default: {value}]")
    parser.add_argument("--align", type=float, default=1.0, help="hcdc: weight of the alignment")
    parser.add_argument("--values", type=float, default=1.0, help="hcdc: weight of the loss")
    parser.add_argument("--accuracy", type=float, default=1.0, help="hcdc: weight of the soft accuracy")
    parser.add_argument("--train-by", choices=[name for name in METHODS if name != "hcdc"], default="random", help="hcdc: what makes S_train")
    parser.add_argument("--effort", type=int, default=1, help="times as many steps of the condensers as their budgets here [default: 1]")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto [default: cpu]")
    parser.add_argument("--from-train", action="store_true", help="hcdc: S_val starts from the images of S_train")
    parser.add_argument("--soft", action="store_true", help="hcdc: learn labels")
    parser.add_argument("--label", default="default", help="hcdc: the name under which these settings are kept")
    parser.add_argument("--float32", action="store_true", help="train in float32 instead of bfloat16")
    parser.add_argument("--figures", type=Path, help="draw figures 2 and 3 into this folder")
    parser.add_argument("--out", type=Path, default=Path("runs/table1"))
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    with on(arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    bench = prepared(arguments)
    about = f"{arguments.cells} cells of seed {arguments.cell_seed}, {arguments.recipe}, {arguments.epochs} epochs, {arguments.size} images"
    print(f"{hardware()}; {about}, {arguments.seeds} condensation seeds\n")
    print("| cifar10 | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
    drawn: list[tuple[str, Scores, Condensed]] = []
    for name in arguments.methods:
        found = [measured(name, bench, seed) for seed in range(arguments.seeds)]
        print(row(name, [facts for facts, _ in found]), flush=True)
        drawn.append((name, Scores.join([scores for _, scores in found]), artefact(name, bench, 0)))
    if arguments.zerocost:
        zerocost(bench)
    if arguments.figures:
        draw(bench, drawn, arguments.figures)


if __name__ == "__main__":
    main()
