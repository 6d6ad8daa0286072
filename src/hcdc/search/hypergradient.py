"""Hypergradient descent (Lorraine et al. 2020) from several starts at once."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import torch

from hcdc._tensors import batch_size, ravel, take, unravel
from hcdc.search.base import Objective, Trial, check_trials, collected


@dataclass(frozen=True)
class HypergradientDescent:
    """Trains at lambda, steps down the normalised hypergradient by a rate that decays as 1 / sqrt(step), and repeats.

    `trials` is shared by at most `starts` trajectories; a relaxed point is scored as the configuration nearest to it, and
    trained once more as it is where that is another point. A step's hypergradient is on the bill of the trials after it.
    """

    starts: int = 8
    rate: float = 0.3

    def run(self, objective: Objective, *, trials: int, seed: int) -> tuple[Trial, ...]:
        check_trials(trials)
        space = objective.space
        width = min(self.starts, trials)
        hyper = space.relax_all(space.configs(width, seed))
        found: list[Trial] = []
        began = time.perf_counter()
        for step in itertools.count(1):
            hyper = take(hyper, slice(trials - len(found)))
            configs = [space.round(take(hyper, b)) for b in range(batch_size(hyper))]
            nearest = space.relax_all(configs)
            scores, params = objective.scores(nearest, seed)
            found += collected(configs, scores, time.perf_counter() - began)
            if len(found) == trials:
                break
            began = time.perf_counter()
            if any(not torch.equal(nearest[key], hyper[key]) for key in hyper):
                _, params = objective.scores(hyper, seed)
            slope = objective.slopes(params, hyper)
            slope = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
            hyper = space.project(unravel(ravel(hyper) - self.rate / step**0.5 * slope, hyper))
        return tuple(found)
