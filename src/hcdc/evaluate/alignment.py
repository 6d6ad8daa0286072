"""Do the hypergradients on S point where the real ones do: before it was learned, and after."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import stack, take
from hcdc._typing import Hyper
from hcdc.bilevel import together
from hcdc.condense import HCDC, Budget, CellHCDC, CellPoint, Coreset, Measure, Task, recipes_of
from hcdc.data import Source
from hcdc.errors import ConvergenceError, InputError
from hcdc.evaluate.evaluation import check_source
from hcdc.models import ModuleProblem, NasBench201, batch_of
from hcdc.store import Condensed

SEED = 1_618
"""Draws the points, which are none of those that a condensation measures."""

POINTS, CELLS = 24, 6
"""Points by default, and of NAS-Bench-201, whose cells are trained one by one."""

LEAST = 1e-12
"""A norm below which a hypergradient has no direction."""


LEARNERS = (HCDC.__name__, CellHCDC.__name__)
"""Methods whose S_val is learned from real examples."""


class Alignment(NamedTuple):
    """At n points of the space: `loss` [n] of the real validation data, and the cosines [n] of the hypergradient on S with
    the real one. `before` is that of the real examples from which S_val was learned, None for a method that learns none."""

    loss: Tensor
    before: Tensor | None
    after: Tensor


def align(condensed: Condensed, source: Source, points: int | None = None, problem: ModuleProblem | None = None) -> Alignment | None:
    """cos(g_S, g_T) at `points` points drawn from the relaxed space, theta trained on S_train; None where none is finite.

    Both are total derivatives along theta^S(lambda), as `Measure` takes them by default, whatever was condensed by. On
    NAS-Bench-201 a point is a sampled cell, measured as `CellMeasure` does; None where regularisers are searched beside cells,
    which it does not measure. `points` is by default 24, of cells 6. Raises
    `InputError` when `source` is not the data that `condensed` was made from.
    """
    check_source(condensed, source)
    if points is not None and points < 1:
        raise InputError("points", points, "must be at least 1", "ask for one point or more")
    recipes, real, card = recipes_of(condensed, problem), source.splits.real, condensed.card
    if problem is not None:
        for part in real:
            batch_of(part)  # outside of any transform, so that it is kept
    task = Task(recipes["condensed"], recipes["full"], real, condensed.space, Budget(**card.sizes), card.seed)
    start = start_of(condensed, task)
    if isinstance(task.condensed.problem, NasBench201):
        return None if task.condensed.problem.regularisers else _of_cells(task, condensed, start, points or CELLS)
    generator, count = task.generator(SEED), points or POINTS
    hyper = stack([task.space.interior(generator) for _ in range(count)])
    found: list[Alignment] = []
    for part in together(task.condensed.problem, condensed.train, count):
        with contextlib.suppress(ConvergenceError):
            found.append(_measured(task, condensed, start, take(hyper, part)))
    if not found:
        return None
    before = [each.before for each in found if each.before is not None]
    return Alignment(torch.cat([each.loss for each in found]), torch.cat(before) if before else None, torch.cat([each.after for each in found]))


def _measured(task: Task, condensed: Condensed, start: Any, hyper: Hyper) -> Alignment:
    """At the points of `hyper` that are finite throughout; `ConvergenceError` where none is."""
    measure = Measure()
    problem = measure.aligned(task.condensed.problem)
    params = task.condensed.fit(hyper, condensed.train, seed=SEED)
    points = measure(task, condensed.train, params, hyper, SEED).sound(0)

    def cosine(val: Any) -> Tensor:
        slope, _ = points.slope(problem, val)
        return functional.cosine_similarity(slope.detach(), points.target, dim=1, eps=LEAST)

    return Alignment(points.loss, None if start is None else cosine(start), cosine(condensed.val))


def _of_cells(task: Task, condensed: Condensed, start: Any, points: int) -> Alignment | None:
    """At cells sampled at flat Dirichlet weights; None where through none of them anything flows."""
    way, family = CellHCDC(), cast("NasBench201", task.condensed.problem)
    found: list[CellPoint] = []
    for at in range(SEED, SEED + points):
        point, _ = way.explored(task, condensed.train, way.path(task, at), None, (at, 0))
        if len(point.gates) and bool(torch.isfinite(point.target).all()):
            found.append(point)
    if not found:
        return None
    target = torch.stack([point.target for point in found])

    def cosine(val: Any) -> Tensor:
        slopes = torch.stack([point.slope(family, val, way.measure.chunk)[0] for point in found])
        return functional.cosine_similarity(slopes, target, dim=1, eps=LEAST)

    return Alignment(torch.stack([point.loss for point in found]), None if start is None else cosine(start), cosine(condensed.val))


def start_of(condensed: Condensed, task: Task) -> Any:
    """The real examples from which the S_val of a set made by HCDC was learned; None for other methods."""
    start = dict(condensed.card.settings.get("start") or {}) if condensed.card.settings.get("type") in LEARNERS else {}
    if start.pop("type", "") != Coreset.__name__ or set(start) != {each.name for each in fields(Coreset)}:
        return None
    return Coreset(**start).select(task.real.val, task.budget.val, task.generator(3))
