"""DARTS (Liu et al. 2019): the heaviest option of every choice, once a supernet is trained with weights over options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hcdc._typing import Config
from hcdc.search.base import Objective, Trial
from hcdc.search.supernet import Architect, Supernet, edges_of, searched
from hcdc.store import Groups


@dataclass(frozen=True)
class Darts:
    """Each of `trials` is a search with a seed of its own and the training of what it found, the best of which is taken, as
    the paper does with four. Any space with choices; its numeric axes are drawn anew for every search and held."""

    architect: Architect = field(default_factory=Architect)

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        edges_of(objective.space, "DARTS")
        return searched(self, self.architect, objective, trials, seed, checkpoint)

    def __call__(self, net: Supernet, drive: Callable[[Callable[[Groups, int], Groups], int], Groups]) -> Config:
        return net.config(drive(net.step, net.solver.steps))
