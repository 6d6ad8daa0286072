"""Hypergradient descent (Lorraine et al. 2020) from several starts at once."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hcdc._tensors import batch_size, ravel, take, unravel
from hcdc._typing import Hyper
from hcdc.bilevel import together
from hcdc.search.base import Objective, Trial, check_trials, collected
from hcdc.store import Ledger


class Visit(NamedTuple):
    """What a step learns at its points: their trials, and the directions [B, k] in which the hypergradient points."""

    trials: tuple[Trial, ...]
    direction: Tensor


@dataclass(frozen=True)
class HypergradientDescent:
    """Trains at lambda, steps down the normalised hypergradient by a rate that decays as 1 / sqrt(step), and repeats.

    `trials` is shared by at most `starts` trajectories; a relaxed point is scored as the configuration nearest to it, and
    trained once more as it is where that is another point. A step's hypergradient is on the bill of its own trials.
    """

    starts: int = 8
    rate: float = 0.3

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        check_trials(trials)
        space, kept = objective.space, Ledger(checkpoint)
        cause = objective.cause(seed=seed, descent=repr(objective.adjoint)) if checkpoint else {}
        hyper = space.relax_all(space.configs(min(self.starts, trials), seed))
        found: list[Trial] = []

        def told(hyper: Hyper, last: bool) -> dict[str, Any]:
            return to_json(visited(objective, hyper, seed, last))

        while len(found) < trials:
            hyper = take(hyper, slice(trials - len(found)))
            last = len(found) + batch_size(hyper) == trials
            here = cause | {"hyper": {key: value.tolist() for key, value in hyper.items()}, "last": last}
            visit = from_json(kept.kept(here, functools.partial(told, hyper, last)))
            found += visit.trials
            step = len(found) // batch_size(hyper)
            if not last:
                hyper = space.project(unravel(ravel(hyper) - self.rate / step**0.5 * visit.direction.to(ravel(hyper)), hyper))
        return tuple(found)


def visited(objective: Objective, hyper: Hyper, seed: int, last: bool) -> Visit:
    """Score the configurations nearest to `hyper`, as many at once as memory holds; the `last` step needs no direction."""
    largest = max(objective.train, objective.val, key=lambda data: data.size)
    parts = [_visited(objective, take(hyper, part), seed, last) for part in together(objective.recipe.problem, largest, batch_size(hyper))]
    return Visit(tuple(trial for part in parts for trial in part.trials), torch.cat([part.direction for part in parts]))


def _visited(objective: Objective, hyper: Hyper, seed: int, last: bool) -> Visit:
    began = time.perf_counter()
    space = objective.space
    configs = [space.round(take(hyper, b)) for b in range(batch_size(hyper))]
    nearest = space.relax_all(configs)
    scores, params = objective.scores(nearest, seed)
    direction = torch.zeros_like(ravel(hyper))
    if not last:
        if any(not torch.equal(nearest[key], hyper[key]) for key in hyper):
            _, params = objective.scores(hyper, seed)
        # A slope that is not finite says nothing of where to go: that trajectory stays.
        slope = torch.nan_to_num(objective.slopes(params, hyper), nan=0.0, posinf=0.0, neginf=0.0)
        direction = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return Visit(collected(configs, scores, time.perf_counter() - began), direction)


def to_json(visit: Visit) -> dict[str, Any]:
    return {"trials": [trial._asdict() for trial in visit.trials], "direction": visit.direction.tolist()}


def from_json(value: dict[str, Any]) -> Visit:
    return Visit(tuple(Trial(**trial) for trial in value["trials"]), torch.tensor(value["direction"], dtype=torch.float64))
