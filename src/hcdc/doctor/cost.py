"""What a run will take, measured on one piece of each of its parts and multiplied out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from hcdc._tensors import as_leaves, ravel, stack, under, unravel
from hcdc._typing import Hyper, Params
from hcdc.bilevel import Recipe, SecondOrder, together
from hcdc.condense import HCDC, TM, Algorithm1, Bank, CellHCDC, Condenser, Measure, Pilot, Points, Task, narrowed, peak_memory, stages_of, timed
from hcdc.store import Groups


class Cost(NamedTuple):
    """`seconds` in all, by part of the run, and `memory` in bytes at the peak."""

    seconds: float
    parts: dict[str, float]
    memory: int


def estimate(task: Task, method: Condenser, pilot: Pilot | None = None) -> Cost:
    """The cost of `method` on `task`, and of the `pilot` before it.

    For HCDC with a bank: one step of what makes S_train, one training step of a chunk of models, one linear solve, one real
    hypergradient and one update of S_val are timed; by Algorithm 1, the first update of a repeat and the second. Of any other
    method the first step is timed, or, of TM and of HCDC on cells, that of each of its stages. All are multiplied by how often
    they are done.
    """
    began = time.perf_counter()
    state = method.init(task)
    parts = {"start": time.perf_counter() - began}
    if pilot is not None:
        parts["pilot"] = _pilot(task, method, pilot, state)
    if isinstance(method, HCDC):
        if method.train.length():
            parts["making S_train"] = sum(_steps(task, method.train, under(state, "inner/")).values())
        parts |= _bank(task, method, method.driver, state) if isinstance(method.driver, Bank) else _followed(task, method, method.driver, state)
    elif method.length():
        parts |= _steps(task, method, state)
    return Cost(sum(parts.values()), parts, peak_memory(method, task))


def _steps(task: Task, method: Condenser, state: Groups) -> dict[str, float]:
    """Seconds of every stage, from those of its first step; the stages before are taken for done."""
    parts, first = dict[str, float](), 0
    for stage, steps in stages_of(method, "steps").items():
        seconds, state = _step(task, method, state, first)
        if isinstance(method, TM | CellHCDC):
            state = method.primed(state)
        parts[stage], first = steps * seconds, first + steps
    return parts


def _step(task: Task, method: Condenser, state: Groups, number: int) -> tuple[float, Groups]:
    """(the seconds of step `number`, the state that it leads to)."""
    after: list[Groups] = []
    seconds = timed(lambda: after.append(method.step(task, state, number)[0]))
    return seconds, after[-1]


def _pilot(task: Task, method: Condenser, pilot: Pilot, state: Any) -> float:
    """Seconds of the trainings on the full data and on each S_train."""
    hyper = stack([task.space.interior(task.generator(7)) for _ in range(pilot.configs)])
    on_small = _training(task.condensed, hyper, method.extract(task, state)[0], pilot.tries(task)[-1])
    return _on_full(task, hyper) + max(1, len(pilot.trains)) * on_small


def _on_full(task: Task, hyper: Hyper) -> float:
    """Seconds of training all of `hyper` on the full data."""
    return _training(task.full, hyper, task.real.train, task.full.solver.steps)


def _training(recipe: Recipe, hyper: Hyper, data: Any, steps: int) -> float:
    """Seconds of `steps` steps of training all of `hyper` on `data`, from those of three."""
    return timed(lambda: _few(recipe).fit(hyper, data, seed=0)) * steps / 3


def _few(recipe: Recipe) -> Recipe:
    return recipe._replace(solver=replace(recipe.solver, steps=3))


def _followed(task: Task, method: HCDC, driver: Algorithm1, state: Any) -> dict[str, float]:
    """Of Algorithm 1: the first update of a repeat, which begins trajectories, and the others."""
    first = method.train.length()
    later, _ = method.step(task, state, first)
    parts = {"first updates": driver.repeats * timed(lambda: method.step(task, state, first))}
    if driver.updates > 1:
        parts["later updates"] = driver.repeats * (driver.updates - 1) * timed(lambda: method.step(task, later, first + 1))
    return parts


def _bank(task: Task, method: HCDC, driver: Bank, state: Groups) -> dict[str, float]:
    train, val = method.extract(task, state)
    chunk = min(driver.chunk, driver.starts)
    generator = task.generator(7)
    hyper = stack([task.space.interior(generator) for _ in range(chunk)])
    params = _few(task.condensed).fit(hyper, train, seed=0)
    chunks, coordinates = -(-driver.starts // chunk), ravel(hyper).shape[1]
    trainings = task.condensed.solver.steps + (driver.stages - 1) * driver.more
    measurements = chunks * driver.stages
    points = _points(task, method, params, hyper, train)
    batch = points.take(torch.arange(driver.batch) % chunk)
    full = (method.measure.values == "trained") + (method.measure.real == "trained")
    trained = {"trainings on the full data": full * measurements * _on_full(task, hyper)} if full else {}
    return trained | {
        "training": chunks * _training(task.condensed, hyper, train, trainings),
        "solves": measurements * coordinates * timed(lambda: _solve(task, method, params, hyper, train)),
        "real hypergradients": measurements * timed(lambda: _real(task, method.measure, points)),
        "updates of S_val": driver.steps * timed(lambda: _update(task, method, batch, val)),
    }


def _solve(task: Task, method: HCDC, params: Params, hyper: Hyper, train: Any) -> tuple[Params, Params]:
    """(one column of d theta/d lambda [B, ...], its basis)."""
    adjoint = method.measure.synthetic
    problem, coordinates, data, basis = narrowed(task.condensed.problem, params, train)
    second = SecondOrder.at(problem, coordinates, hyper, data, adjoint.damping)
    tangent = torch.zeros_like(ravel(hyper))
    tangent[:, 0] = 1
    return unravel(adjoint.solver.solve(second.hessian, second.mixed_transposed(unravel(tangent, hyper))).x, coordinates), basis


def _points(task: Task, method: HCDC, params: Params, hyper: Hyper, train: Any) -> Points:
    """Points of the right sizes whose sensitivities are all the first."""
    flat, k = ravel(hyper), ravel(hyper).shape[1]
    column, basis = _solve(task, method, params, hyper, train)
    sensitivity = {name: value.unsqueeze(1).expand(-1, k, *value.shape[1:]) for name, value in column.items()}
    ramp = torch.linspace(0.5, 1.5, flat.shape[0])
    return Points(params, hyper, sensitivity, torch.ones_like(flat), ramp, ramp, basis)


def _real(task: Task, measure: Measure, points: Points) -> None:
    problem, val = measure.aligned(task.condensed.problem), measure.real_val(task, 0)
    for part in together(problem, val, points.count, measure.memory):
        with torch.no_grad():
            points.take(part).slope(problem, val, measure.direct)


def _update(task: Task, method: HCDC, points: Points, val: Any) -> None:
    leaves = as_leaves({name: value for name, value in val.learnable().items() if method.structure or name != "adjacency"})
    terms = method.losses(task, points, val.replace(**leaves))
    torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(leaves.values()), allow_unused=True)
