"""What a condenser is asked to do, and the protocol by which every condenser does it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from hcdc._tensors import generator_for
from hcdc.bilevel import SGD, Adam, Recipe
from hcdc.data import GraphData, Real, TableData, check_spread
from hcdc.engine import Engine, local
from hcdc.errors import InputError
from hcdc.models import ModuleProblem, NasBench201, problem_for, sample
from hcdc.spaces import Space
from hcdc.store import Groups, space_to_card

Callback = Callable[[int, int, dict[str, float]], None]
"""Called after each step of a condensation with (steps done, steps in all, metrics)."""

CELL_EPOCHS = 50
"""Of a cell of NAS-Bench-201 on S, as in DC-BENCH."""


class Budget(NamedTuple):
    """Number of synthetic examples (nodes, images, rows) for training and for validation."""

    train: int
    val: int


@dataclass(frozen=True)
class Task:
    """A condensation job; `real` holds no test data, so no condenser can see any.

    `condensed` and `full` say how a configuration is trained on S and on the original data; they may differ in
    regularisation, noise and solver, since a few dozen examples want another recipe than thousands. `engine` does the
    pieces that are independent of each other; the answer does not depend on it.
    """

    condensed: Recipe
    full: Recipe
    real: Real[Any]
    space: Space
    budget: Budget
    seed: int = 0
    engine: Engine = local

    def __post_init__(self) -> None:
        limits = {"size": (self.budget.train, self.real.train), "val-size": (self.budget.val, self.real.val)}
        for name, (wanted, data) in limits.items():
            labels, classes = strata(data)
            most = int(labels.numel())
            if not classes <= wanted <= most:
                part = "training" if name == "size" else "validation"
                least = f"{classes} (one a class)" if data.num_classes else "1"
                if most < classes:
                    raise InputError(name, wanted, f"there are {most} {part} examples of {classes} classes", "enlarge this part of the data")
                rule = f"must lie between {least} and {most} (the {part} examples)"
                raise InputError(name, wanted, rule, "choose a number in between")
        for name, data in self.real._asdict().items():
            check_spread(data, name)
        for name, recipe in {"condensed": self.condensed, "full": self.full}.items():
            if isinstance(self.real.train, GraphData) and recipe.solver.batch_size is not None:
                rule = "cuts a graph into batches of nodes without their neighbours"
                raise InputError(f"{name}.solver", recipe.solver, rule, "write batch_size=None: a graph is trained whole")

    def identity(self) -> dict[str, Any]:
        """What a result depends on beside the data and the method, as JSON reads it back. A module of the user's own, whose code
        its `repr` does not say, stands there by what it computes of the first examples as well."""
        facts: dict[str, Any] = {
            "budget": self.budget,
            "seed": self.seed,
            "space": space_to_card(self.space),
            "recipes": [repr(self.condensed), repr(self.full)],
        }
        problem = self.condensed.problem
        if isinstance(problem, ModuleProblem):
            facts["behaviour"] = problem.behaviour(sample(self.real.train), sample(self.real.val))
        return json.loads(json.dumps(facts))

    def generator(self, *salts: int) -> torch.Generator:
        """`generator_for` the seed of the task."""
        return generator_for(self.seed, *salts)


class Condenser(Protocol):
    """A method of condensation: a state of tensors, changed step by step.

    `step` must be a pure function of (task, state, number): whatever is drawn comes from `task.generator(number)`.
    That makes every method resumable, bit for bit, without doing anything for it.
    """

    @property
    def name(self) -> str: ...
    def length(self) -> int:
        """Number of steps of a whole run."""
        ...

    def init(self, task: Task) -> Groups: ...
    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        """The next state, and metrics worth recording."""
        ...

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        """Synthetic training and validation containers."""
        ...


@runtime_checkable
class Staged(Condenser, Protocol):
    """A method whose run has parts, the steps of one unlike those of another."""

    def stages(self) -> dict[str, int]:
        """How many steps each part has, in their order."""
        ...


def default_recipes(data: Any, family: str | None = None, *, size: int = 500, **settings: Any) -> tuple[Recipe, Recipe]:
    """(condensed, full) for the family of `data`, with `settings` of the family in both.

    Where there are classes, S is read by its soft accuracy, which hcdc calibrates to the real accuracy; T by its loss.

    Graphs: on T 200 steps at 0.01, weight decay 5e-4 and dropout 0.5 (Kipf and Welling 2016); on S the same number of
    steps at 0.05, nearer to the optimum that implicit differentiation assumes, and no dropout, which on a few dozen nodes
    is mostly noise; at 0.01, as on T, for architectures and where powers of the graph have parameters of their own.
    Measured in `docs/ablations.md`. Cells of NAS-Bench-201: on S the recipe of DC-BENCH, 50 epochs of `size` images in
    batches of 64; on T as many steps at a rate of 0.1.
    """
    problem: Any = problem_for(data, family, **settings)
    own: dict[str, Any] = {"dropout": 0.0} if isinstance(data, GraphData) else {}
    if data.num_classes:
        own["criterion"] = "soft-accuracy"
    small = replace(problem, **own | settings)
    if isinstance(data, GraphData):
        return Recipe(small, Adam(200, 0.01 if problem.paced() else 0.05)), Recipe(problem, Adam(200, 0.01))
    if isinstance(problem, NasBench201):
        decay = {"weight_decay": 3e-4} | settings
        solver = SGD.lasting(CELL_EPOCHS, size)
        return Recipe(replace(small, **decay), solver), Recipe(replace(problem, **decay), replace(solver, lr=0.1))
    if isinstance(data, TableData):
        return Recipe(small, Adam(200, 0.05)), Recipe(problem, Adam(300, 0.05, batch_size=1024))
    return Recipe(small, Adam(150, 0.01)), Recipe(problem, Adam(300, 0.01, batch_size=128))


def check_settings(method: Any, *, counts: tuple[str, ...] = (), rates: tuple[str, ...] = ()) -> None:
    """Raise `InputError` where one of `counts` is less than 1, or one of `rates` is not positive and finite."""
    wrong = [name for name in counts if not getattr(method, name) >= 1] + [name for name in rates if not 0 < getattr(method, name) < math.inf]
    if wrong:
        rule = "must be at least 1" if wrong[0] in counts else "must be positive and finite"
        raise InputError(", ".join(wrong), tuple(getattr(method, name) for name in wrong), rule, "leave them at their defaults")


def strata(data: Any) -> tuple[Tensor, int]:
    """What proportions are kept of: the labels [m] and the number of classes; of a regression, all examples are one."""
    labels = data.labels()
    return (labels, data.num_classes) if data.num_classes else (torch.zeros_like(labels, dtype=torch.long), 1)


def choose(labels: Tensor, count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Positions [count] into `labels`, classes in their own proportions (largest remainders), at least one of each that is there."""
    totals = torch.bincount(labels, minlength=classes)
    exact = totals * (count / labels.numel())
    quota = exact.floor().long().clamp_min(1).minimum(totals)
    while int(quota.sum()) > count:
        quota[int((quota - exact).masked_fill(quota <= 1, float("-inf")).argmax())] -= 1
    while int(quota.sum()) < count:
        quota[int((exact - quota).masked_fill(quota >= totals, float("-inf")).argmax())] += 1
    chosen: list[Tensor] = []
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(members.numel(), generator=generator)[: int(quota[label])]
        chosen.append(members[order])
    return torch.cat(chosen)
