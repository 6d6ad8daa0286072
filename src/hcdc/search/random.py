"""Configurations drawn uniformly (Bergstra and Bengio 2012)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hcdc.search.base import Objective, Trial, check_trials
from hcdc.store import Ledger


@dataclass(frozen=True)
class Random:
    """`trials` independent draws from the space."""

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        check_trials(trials)
        return objective.trials(objective.space.configs(trials, seed), seed, Ledger(checkpoint))
