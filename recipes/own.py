"""The three examples on development configurations: what S_train, the steps on it and the values matched are worth.

    python recipes/own.py tabular [--config-seeds 1001 1002 1003] [--rows pilot hcdc] [--out runs/own]

"pilot" ranks the configurations by all real validation data, and by as many of them as S_val has examples (the strong
floor), after every few steps of training on each S_train; "hcdc" condenses as the example does, with one change a row.
Figures are Spearman correlations by loss with two trainings on the full data, which are kept in --out.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from kept import figures
from torch import Tensor

import hcdc
from hcdc.condense import CENTROIDS, HCDC, STRONG, Coreset
from hcdc.evaluate import Scores, retrain, spearman
from hcdc.evaluate.ranking import ceiling
from hcdc.evaluate.retrain import measure
from hcdc.own import Own, own

EXAMPLES = Path(__file__).parent.parent / "examples"
TRAINS = {"centroids": CENTROIDS, "real examples": Coreset(), "propagated nodes": STRONG}


@dataclass(frozen=True)
class Truth:
    """Points [n] and, by two trainings on the full data, their real validation losses [2, n]."""

    hyper: dict[str, Tensor]
    losses: Tensor


def asked(name: str, **changes: Any) -> Own:
    """What an example asks `condense_model` for, made ready and not begun."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Asked(Exception):
        made: Own

    def stop(*args: Any, **settings: Any) -> None:
        error = Asked()
        error.made = own(*args, **settings | changes)
        raise error

    try:
        with patch.object(hcdc, "condense_model", stop):
            module.main()
    except Asked as error:
        return error.made
    raise AssertionError(f"{name} never called condense_model")


def truths(made: Own, name: str, count: int, seeds: list[int], out: Path) -> list[Truth]:
    task, found = made.task, list[Truth]()
    for seed in seeds:
        hyper = task.space.relax_all(task.space.configs(count, seed))

        def measured(hyper: Any = hyper) -> list[Any]:
            runs = [retrain(task.full, hyper, task.real.train, {"val": task.real.val}, seed=1000 + run) for run in range(2)]
            return [Scores.join(runs).loss["val"].tolist(), sum(run.seconds for run in runs)]

        losses, seconds = figures(out / f"{name}-{count}-{seed}.json", measured)
        found.append(Truth(hyper, torch.tensor(losses)))
        print(f"full data, seed {seed}: ceiling {ceiling(found[-1].losses):.2f}, {seconds:.0f} s", flush=True)
    return found


def pilots(made: Own, all_truths: list[Truth], every: int) -> Iterator[str]:
    """A row an S_train and length: by all real validation data, by the strong S_val."""
    task = made.task
    vals = (task.real.val, STRONG.select(task.real.val, task.budget.val, task.generator(2)))
    recipe = task.condensed
    for label, maker in TRAINS.items():
        train = maker.select(task.real.train, task.budget.train, task.generator(1))
        rows: dict[int, list[list[float]]] = {}
        for truth in all_truths:
            for number, params in enumerate(recipe.training(truth.hyper, train, seed=1000, every=every)):
                losses = [measure(recipe.problem, params, truth.hyper, val)["loss"] for val in vals]
                steps = min(every * (number + 1), recipe.solver.steps)
                rows.setdefault(steps, []).append([spearman(loss, truth.losses.mean(0)) for loss in losses])
        for steps, values in rows.items():
            means = torch.tensor(values).mean(0).tolist()
            yield f"| {label} | {steps} | {means[0]:.2f} | {means[1]:.2f} |"


def condensed(name: str, all_truths: list[Truth]) -> Iterator[str]:
    """A row a variant of HCDC: its Spearman correlation, what its pilot chose, and seconds."""
    variants: dict[str, tuple[dict[str, Any], Callable[[HCDC], HCDC]]] = {
        "no pilot": ({"pilot": 0}, lambda method: method),
        "default": ({}, lambda method: method),
        "values of models trained on T": ({}, lambda method: replace(method, measure=replace(method.measure, values="trained"))),
    }
    for label, (changes, change) in variants.items():
        made = asked(name, **changes)
        assert isinstance(made.method, HCDC)
        began = time.perf_counter()
        found = replace(made, method=change(made.method)).condense()
        seconds, task = time.perf_counter() - began, found.made.task
        values = list[float]()
        for truth in all_truths:
            runs = [retrain(task.condensed, truth.hyper, found.train, {"val": found.val}, seed=1000 + run) for run in range(2)]
            values.append(spearman(Scores.join(runs).loss["val"].mean(0), truth.losses.mean(0)))
        assert isinstance(found.made.method, HCDC)
        chosen = f"{found.made.method.train.name}, {task.condensed.solver.steps} steps"
        yield f"| {label} | {chosen} | {sum(values) / len(values):.2f} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in EXAMPLES.glob("*.py")))
    parser.add_argument("--config-seeds", type=int, nargs="+", default=[1001])
    parser.add_argument("--configs", type=int, default=24)
    parser.add_argument("--every", type=int, default=10, help="Steps on S_train between two rows.")
    parser.add_argument("--rows", nargs="+", choices=("pilot", "hcdc"), default=["pilot", "hcdc"])
    parser.add_argument("--out", type=Path, default=Path("runs/own"))
    arguments = parser.parse_args()
    made = asked(arguments.name)
    found = truths(made, arguments.name, arguments.configs, arguments.config_seeds, arguments.out)
    if "pilot" in arguments.rows:
        print("| S_train | steps | all real validation data | strong S_val |\n|---|---|---|---|")
        for row in pilots(made, found, arguments.every):
            print(row, flush=True)
    if "hcdc" in arguments.rows:
        print("| variant | S_train, steps | Spearman | seconds |\n|---|---|---|---|")
        for row in condensed(arguments.name, found):
            print(row, flush=True)


if __name__ == "__main__":
    main()
