"""From plain arguments to a condensed set: what the command line and a ten-line script both call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hcdc.bilevel import CG, Implicit
from hcdc.condense import (
    GCOND_X,
    HCDC,
    HERDING,
    K_CENTER,
    RANDOM,
    Algorithm1,
    Bank,
    Budget,
    Callback,
    Condenser,
    Coreset,
    GCond,
    Measure,
    Task,
    condense,
    default_recipes,
)
from hcdc.data import Source
from hcdc.errors import InputError, SpaceError
from hcdc.models import CRITERIA
from hcdc.spaces import Space
from hcdc.store import CARD, Checkpoint, Condensed, DataCard, load_condensed

METHODS = ("hcdc", "gcond", "gcond-x", "random", "herding", "k-center")
DRIVERS = ("bank", "algorithm1")
IMAGES = Coreset(label="images")
"""Real examples, class proportions kept: what S_val starts from on all but graphs."""


def method_named(name: str, kind: str = "graph", *, steps: int | None = None, driver: str = "bank", neighbours: int | None = None) -> Condenser:
    """The condenser of `name` at its defaults for `kind` of data ("graph", "images", "table" or "examples").

    `steps` counts what the method learns in: updates of S_val for hcdc, epochs for gcond; random learns nothing.
    `neighbours` bounds how many of a node's neighbours hcdc reads for a real hypergradient; None reads all.
    """
    if steps is not None and steps < 1:
        raise InputError("steps", steps, "must be at least 1", "leave it out to take the method's own number")
    if neighbours is not None and neighbours < 1:
        raise InputError("neighbours", neighbours, "must be at least 1", "leave it out to read all of them")
    if driver not in DRIVERS:
        raise InputError("driver", driver, f"must be one of {', '.join(DRIVERS)}", "choose one of these")
    if name == "random":
        return RANDOM if kind == "graph" else replace(RANDOM, balanced=True)
    if name in ("herding", "k-center"):
        return HERDING if name == "herding" else K_CENTER
    if name in ("gcond", "gcond-x"):
        method = GCond() if name == "gcond" else GCOND_X
        return replace(method, epochs=steps or method.epochs)
    if name != "hcdc":
        raise InputError("method", name, f"must be one of {', '.join(METHODS)}", "choose one of these")
    measure = Measure(neighbours=neighbours)
    if driver == "algorithm1":
        return HCDC(measure=measure, driver=Algorithm1(repeats=-(-(steps or Algorithm1.repeats * Algorithm1.updates) // Algorithm1.updates)))
    bank = Bank() if kind == "graph" else Bank(starts=48, stages=1, chunk=48, steps=200, batch=16)
    hcdc = HCDC(measure=measure, driver=replace(bank, steps=steps or bank.steps))
    return hcdc if kind == "graph" else replace(hcdc, start=IMAGES, measure=Measure(Implicit(CG(1e-2, 10), damping=1e-3)), lr=1e-2)


def task_for(
    source: Source, *, size: int, val_size: int | None = None, seed: int = 0, family: str | None = None, space: Space | None = None, **settings: Any
) -> Task:
    """The task of condensing `source` to `size` training and `val_size` (default: the same) validation examples.

    `settings` go to the model family: `order`, `basis`, `hidden`, `criterion`, ...; `space` replaces the family's own.
    """
    _check_criterion(settings.get("criterion", "loss"))
    condensed, full = default_recipes(source.splits.train, family, **settings)
    problem: Any = condensed.problem
    own: Space = problem.space()
    if space is not None and _shapes(space) != _shapes(own):
        raise SpaceError("space", _shapes(space), f"the family reads {_shapes(own)}", "give every axis of the family, with ranges of your own")
    budget = Budget(size, size if val_size is None else val_size)
    return Task(condensed, full, source.splits.real, space or own, budget, seed)


def _shapes(space: Space) -> dict[str, list[int]]:
    """Name and shape of every hyperparameter tensor of a space."""
    return {name: list(value.shape) for name, value in sorted(space.interior(torch.Generator()).items())}


def condense_source(
    source: Source, task: Task, method: Condenser | str = "hcdc", *, checkpoint: Checkpoint | None = None, callbacks: Sequence[Callback] = ()
) -> Condensed:
    """Condense; `method` is a name of `METHODS` or a condenser."""
    chosen = method_named(method, source.kind) if isinstance(method, str) else method
    card = DataCard.of(source.name, source.sha256, source.kind, source.splits.train)
    return condense(chosen, task, card, checkpoint=checkpoint, callbacks=callbacks)


def condensed_at(folder: Path, source: Source, task: Task, method: Condenser | str) -> Condensed:
    """The artefact in `folder`, made first where there is none; one that is there is taken as it is."""
    if not (folder / CARD).exists():
        condense_source(source, task, method).save(folder)
    return load_condensed(folder)


def _check_criterion(criterion: str) -> None:
    if criterion not in CRITERIA:
        raise InputError("criterion", criterion, f"must be one of {', '.join(CRITERIA)}", "choose one of these")
