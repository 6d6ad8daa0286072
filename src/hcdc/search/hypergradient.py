"""Hypergradient descent (Lorraine et al. 2020) from several starts at once."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from hcdc._tensors import ravel, take, unravel
from hcdc.search.base import Objective, Trial, check_trials, collected


@dataclass(frozen=True)
class HypergradientDescent:
    """Trains at lambda, steps down the normalised hypergradient by a rate that decays as 1 / sqrt(step), and repeats.

    `trials` is shared by at most `starts` trajectories; a relaxed point is scored as the configuration nearest to it, and
    trained once more as it is where that is another point.
    """

    starts: int = 8
    rate: float = 0.3

    def run(self, objective: Objective, *, trials: int, seed: int) -> tuple[Trial, ...]:
        check_trials(trials)
        space = objective.space
        width = min(self.starts, trials)
        hyper = objective.relaxed(space.configs(width, seed))
        found: list[Trial] = []
        for step in range(-(-trials // width)):
            began = time.perf_counter()
            configs = [space.round(take(hyper, b)) for b in range(width)]
            nearest = objective.relaxed(configs)
            scores, params = objective.scores(nearest, seed)
            if any(not torch.equal(nearest[key], hyper[key]) for key in hyper):
                _, params = objective.scores(hyper, seed)
            slope = objective.slopes(params, hyper)
            found += collected(configs, scores, time.perf_counter() - began)
            slope = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
            hyper = space.project(unravel(ravel(hyper) - self.rate / (step + 1) ** 0.5 * slope, hyper))
        return tuple(found[:trials])
