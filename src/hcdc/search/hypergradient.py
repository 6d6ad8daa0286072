"""Hypergradient descent (Lorraine et al. 2020) from several starts at once."""

from __future__ import annotations

from dataclasses import dataclass

from hcdc._tensors import ravel, stack, take, unravel
from hcdc.search.base import Objective, Trial, check_trials


@dataclass(frozen=True)
class HypergradientDescent:
    """Trains at lambda, steps down the normalised hypergradient by a rate that decays as 1 / sqrt(step), and repeats.

    `trials` is shared by at most `starts` trajectories; a relaxed point is scored as the configuration nearest to it.
    """

    starts: int = 8
    rate: float = 0.3

    def run(self, objective: Objective, *, trials: int, seed: int) -> tuple[Trial, ...]:
        check_trials(trials)
        space = objective.space
        width = min(self.starts, trials)
        hyper = stack([space.relax(config) for config in space.configs(width, seed)])
        found: list[Trial] = []
        for step in range(-(-trials // width)):
            points = [take(hyper, b) for b in range(min(width, trials - len(found)))]
            found += objective.trials([space.round(point) for point in points], seed)
            if len(found) >= trials:
                break
            _, params = objective.scores(hyper, seed)
            slope = objective.slopes(params, hyper)
            slope = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
            hyper = space.project(unravel(ravel(hyper) - self.rate / (step + 1) ** 0.5 * slope, hyper))
        return tuple(found)
