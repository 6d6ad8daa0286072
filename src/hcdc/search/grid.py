"""Every combination of values on each axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hcdc._tensors import generator_for
from hcdc.search.base import Objective, Trial, check_trials
from hcdc.spaces import Space
from hcdc.store import Ledger


@dataclass(frozen=True)
class Grid:
    """The finest regular grid with at most `trials` points: the same number of values on each numeric axis.

    Of a space with so many axes that even two values a numeric axis exceed `trials`, as many points of that grid are drawn,
    each once.
    """

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        check_trials(trials)
        space, points = objective.space, 2
        while space.grid_size(points) < space.grid_size(points + 1) <= trials:
            points += 1
        configs = list(space.grid(points)) if space.grid_size(points) <= trials else _some(space, points, trials, seed)
        return objective.trials(configs, seed, Ledger(checkpoint))


def _some(space: Space, points: int, count: int, seed: int) -> list[dict[str, float | int | str]]:
    """`count` different points of the grid, of which there are more."""
    generator, found = generator_for(seed), dict[str, dict[str, float | int | str]]()
    values = {name: axis.grid(points) for name, axis in space.axes.items()}
    while len(found) < count:
        config = {name: options[int(torch.randint(len(options), (), generator=generator))] for name, options in values.items()}
        found.setdefault(str(config), config)
    return list(found.values())
