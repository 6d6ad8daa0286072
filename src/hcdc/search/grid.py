"""Every combination of values on each axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hcdc.search.base import Objective, Trial, check_trials
from hcdc.store import Ledger


@dataclass(frozen=True)
class Grid:
    """The finest regular grid with at most `trials` points: the same number of values on each numeric axis.

    A space with so many choices that even two values a numeric axis exceed `trials` is cut to the first `trials`.
    """

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        check_trials(trials)
        configs, points = objective.space.grid(2), 3
        while len(configs) < len(finer := objective.space.grid(points)) <= trials:
            configs, points = finer, points + 1
        return objective.trials(configs[:trials], seed, Ledger(checkpoint))
